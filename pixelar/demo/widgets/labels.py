"""The choice of a class on the page, for models with classes."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from pixelar.errors import DataError
from pixelar.model import PixelModel, evaluating

__all__ = [
    "LIKELIEST",
    "TURNS",
    "class_probabilities",
    "label_choice",
    "label_of",
    "label_update",
    "read_label",
]

LIKELIEST = "likeliest"
TURNS = "each in turn"


def label_choice(models: Mapping[str, PixelModel], first: str) -> gr.Dropdown:
    """Returns the dropdown for a class, `first` or a number; hidden if the first model has none."""
    most = max(model.classes for model in models.values())
    # with the classes of all models: a program that calls chooses the model as well
    named = choices_of(next(iter(models.values())))
    return gr.Dropdown(
        [(first, first), *named, *((str(k), str(k)) for k in range(len(named), most))],
        value=first,
        label="Class",
        visible=bool(next(iter(models.values())).classes),
    )


def label_update(model: PixelModel, first: str) -> dict[str, Any]:
    """Returns the update of the dropdown for a model: hidden if the model has no classes."""
    choices = [(first, first), *choices_of(model)]
    return gr.update(visible=bool(model.classes), choices=choices, value=first)


def choices_of(model: PixelModel) -> list[tuple[str, str]]:
    """Returns the classes of a model, each by its name, if it has one, and its number."""
    numbers = [str(number) for number in range(model.classes)]
    return [*zip(model.class_names or numbers, numbers, strict=True)]


def read_label(model: PixelModel, choice: str) -> int:
    """Parses the number of a class, and checks that the model has it."""
    if not (str(choice).isdecimal() and int(choice) < model.classes):
        raise DataError(f"class must be from 0 to {model.classes - 1}; got {choice!r:.30}")
    return int(choice)


def label_of(model: PixelModel, choice: str, picture: Tensor) -> int | None:
    """Returns the chosen or the likeliest class of a picture (1, C, H, W), if there are classes."""
    if not model.classes:
        return None
    if choice == LIKELIEST:
        return int(class_probabilities(model, picture).argmax())
    return read_label(model, choice)


@torch.no_grad()
def class_probabilities(model: PixelModel, picture: Tensor) -> Tensor:
    """Returns p(class | picture), with shape (classes,), under a uniform prior.

    By Bayes' rule: p(c | x) ∝ p(x | c), which the model computes exactly.
    """
    with evaluating(model):
        x = model.encode(picture.expand(model.classes, -1, -1, -1))
        return model(x, torch.arange(model.classes)).double().softmax(0).cpu()
