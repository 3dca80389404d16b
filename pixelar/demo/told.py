"""Mistakes of people, told to them in the page."""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from pixelar.errors import PixelarError

__all__ = ["sentence", "told"]


def sentence(error: PixelarError) -> str:
    """Returns what an error says, as the page says it."""
    text = str(error)
    return text[:1].upper() + text[1:]


@contextmanager
def told() -> Iterator[None]:
    """Shows the sentence of a PixelarError to the one who made the mistake, and to no log."""
    try:
        yield
    except PixelarError as error:
        raise gr.Error(sentence(error), print_exception=False) from error
