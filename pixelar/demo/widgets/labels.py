"""The dropdown for a class, for models with classes."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from pixelar.demo.tasks.labels import choices_of
from pixelar.model import PixelModel

__all__ = ["label_choice", "label_update"]


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
