"""Gradio's image component, which shows why it refuses a picture."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from pixelar.demo.inputs.pictures import open_picture
from pixelar.demo.widgets.errors import reporting_errors
from pixelar.demo.widgets.metaclass import OwnComponent

__all__ = ["PictureBox"]


class PictureBox(gr.Image, metaclass=OwnComponent):
    """Takes the arguments of `gr.Image`, and returns a PIL image, upright, within the limits."""

    def get_block_name(self) -> str:
        return "image"  # the part of the page that draws it

    def preprocess(self, payload: ImageData | None) -> Any:  # noqa: ANN401
        """Returns the user's picture, or None if there is none."""
        if payload is None or payload.path is None:
            return None
        with reporting_errors():
            return open_picture(Path(payload.path))
