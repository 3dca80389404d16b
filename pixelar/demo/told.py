"""Mistakes of people, told to them in the page."""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from pixelar.errors import PixelarError

__all__ = ["told"]


@contextmanager
def told() -> Iterator[None]:
    """Shows the sentence of a PixelarError to the one who made the mistake, and to no log."""
    try:
        yield
    except PixelarError as error:
        text = str(error)
        raise gr.Error(text[:1].upper() + text[1:], print_exception=False) from error
