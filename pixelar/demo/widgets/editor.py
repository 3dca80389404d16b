"""Gradio's image editor within bounds.

The editor's canvas reaches the server in parts, through an address that anyone may post to, before
the event that uses it. The parts wait in memory. Gradio limits neither how many wait nor the layer
number that a part claims, up to which it allocates layers; here both are bounded, and the canvases
that have waited longest are dropped. Pictures are decoded within the demo's limits, and errors are
reported in a sentence.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.base import server
from gradio.components.image_editor import AcceptBlobs, EditorDataBlobs
from gradio.data_classes import FileData
from starlette.exceptions import HTTPException

from pixelar.demo.inputs.pictures import open_picture
from pixelar.demo.widgets.errors import reporting_errors
from pixelar.demo.widgets.metaclass import OwnComponent

__all__ = ["Editor"]

MOST_LAYERS = 4
MOST_WAITING = 32  # canvases
LARGEST = 5_000_000  # bytes of a part
LARGEST_STORE = 64_000_000  # bytes of all that wait
KINDS = ("background", "layer", "composite")
STORE = threading.Lock()  # parts posted at the same time are stored one by one


class Editor(gr.ImageEditor, metaclass=OwnComponent):
    """An image editor with a bounded store of unused canvases, which shows why it refuses one.

    Takes the arguments of `gr.ImageEditor`. `type` must be "pil": background, layers and composite
    are PIL images, upright, in mode RGBA.
    """

    def get_block_name(self) -> str:
        return "imageeditor"  # the part of the page that draws it

    @server  # type: ignore[untyped-decorator]
    def accept_blobs(self, data: AcceptBlobs) -> None:
        """Keeps a part of a canvas until the event that uses it."""
        fault = _fault(data)
        if fault:
            raise HTTPException(400, fault)
        with STORE:
            super().accept_blobs(data)
            while len(self.blob_storage) > 1 and not _within_bounds(self.blob_storage):
                self.blob_storage.pop(next(iter(self.blob_storage)), None)

    def convert_and_format_image(
        self, file: FileData | bytes | None, flatten_on_white: bool = False
    ) -> Any:  # noqa: ANN401
        """Returns a part of the canvas as an RGBA image, None where there is none."""
        if file is None:
            return None
        with reporting_errors():
            image = open_picture(Path(file.path) if isinstance(file, FileData) else file)
        return image.convert("RGBA")


def _fault(data: AcceptBlobs) -> str | None:
    """Returns what is wrong with a posted part, or None if nothing is."""
    part, files = getattr(data, "data", None), getattr(data, "files", None)
    if not isinstance(part, dict) or not files or part.get("type") not in KINDS:
        return "This is not a part of a canvas."
    if len(files) > 1 or len(files[0][1]) > LARGEST or not 0 < len(str(part.get("id", ""))) <= 64:
        return f"A part of a canvas is one file of at most {LARGEST:,} bytes, with a short id."
    # the page sends numbers as text, and none as "null"
    if str(part.get("index") or "null") not in ("null", *map(str, range(MOST_LAYERS))):
        return f"A canvas has at most {MOST_LAYERS} layers."
    return None


def _within_bounds(store: Mapping[str, EditorDataBlobs]) -> bool:
    """Returns whether the waiting canvases are within the limits of number and size."""
    parts = [p for c in store.values() for p in (c.background, *c.layers, c.composite) if p]
    return len(store) <= MOST_WAITING and sum(map(len, parts)) <= LARGEST_STORE
