"""Errors as the page shows them to users."""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from pixelar.errors import PixelarError

__all__ = ["reporting_errors", "sentence"]


def sentence(error: PixelarError) -> str:
    """Returns the message of an error, as the page shows it."""
    text = str(error)
    return text[:1].upper() + text[1:]


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Shows the message of a PixelarError to the user who made the mistake, and does not log it."""
    try:
        yield
    except PixelarError as error:
        raise gr.Error(sentence(error), print_exception=False) from error
