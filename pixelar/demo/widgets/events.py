"""Events that several tabs share: a run begins, shows its results, and can be stopped."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

__all__ = ["MODEL", "PRIVATE", "begin", "end", "reveal"]

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Queue options of events that compute with a model: one at a time, for all users together."""

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Options of events that only the page uses."""

STOPPED = "Stopped. The picture shows what was drawn until then."


def reveal(run: Dependency, results: Sequence[Component]) -> None:
    """Shows the components that hold results, once a run has succeeded."""
    seen = [gr.update(visible=True)] * len(results)
    run.success(lambda: seen, None, [*results], queue=False, **PRIVATE)


def begin(go: gr.Button, note: gr.Markdown) -> None:
    """Clears the note on how the last run ended; must be connected before the button's run."""
    go.click(None, None, note, js="() => ''", **PRIVATE)


def end(stop: gr.Button, run: Dependency, note: gr.Markdown) -> None:
    """Makes a button stop a run, and writes a note that late frames cannot overwrite.

    What was drawn stays visible; the style sheet hides the bar while there is a note.
    """
    stop.click(None, None, note, js=f"() => '{STOPPED}'", cancels=[run], **PRIVATE)
