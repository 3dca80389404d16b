"""The classes of a model: their names, the chosen one, and the probability of each."""

import torch
from torch import Tensor

from pixelar.errors import DataError
from pixelar.model import PixelModel, evaluating

__all__ = [
    "LIKELIEST",
    "TURNS",
    "choices_of",
    "class_probabilities",
    "label_of",
    "labels_of",
    "read_label",
]

LIKELIEST = "likeliest"
TURNS = "each in turn"


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


def labels_of(model: PixelModel, choice: str, count: int) -> Tensor | None:
    """Returns the classes of samples with shape (N,), None for a model without classes."""
    if not model.classes:
        return None
    if choice == TURNS:
        return torch.arange(count) % model.classes
    return torch.full((count,), read_label(model, choice))


@torch.no_grad()
def class_probabilities(model: PixelModel, picture: Tensor) -> Tensor:
    """Returns p(class | picture), with shape (classes,), under a uniform prior.

    By Bayes' rule: p(c | x) ∝ p(x | c), which the model computes exactly.
    """
    with evaluating(model):
        x = model.encode(picture.expand(model.classes, -1, -1, -1))
        return model(x, torch.arange(model.classes)).double().softmax(0).cpu()
