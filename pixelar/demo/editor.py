"""Gradio's image editor within bounds.

The editor's canvas reaches the server in parts, through an address that anyone may post to, before
the event that uses it. The parts wait in memory. Gradio sets no limit to how many wait, nor to the
number of the layer that a part claims to be, for which it makes room; here both are bounded, and
what waits longest makes way. Pictures are decoded within the demo's limits, and what is wrong with
one is told in a sentence.
"""

from abc import ABCMeta
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta
from gradio.components.base import server
from gradio.components.image_editor import AcceptBlobs
from gradio.data_classes import FileData

from pixelar.demo.intake import open_picture
from pixelar.errors import PixelarError

__all__ = ["Editor"]

MOST_LAYERS = 4
MOST_WAITING = 32  # canvases
LARGEST = 5_000_000  # bytes of a part
PARTS = ("background", "layer", "composite")


class _Unwritten(ComponentMeta):
    """Makes component classes without writing a stub file beside their source, as Gradio does."""

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> type:
        return ABCMeta.__new__(cls, name, bases, attributes)


class Editor(gr.ImageEditor, metaclass=_Unwritten):
    """An image editor whose store of unused canvases is bounded, and whose refusals are told.

    Takes the arguments of `gr.ImageEditor`. `type` must be "pil": background, layers and composite
    are PIL images, upright, in mode RGBA.
    """

    def get_block_name(self) -> str:
        return "imageeditor"  # the part of the page that draws it

    @server  # type: ignore[untyped-decorator]
    def accept_blobs(self, data: AcceptBlobs) -> None:
        """Keeps a part of a canvas until the event that uses it."""
        part = data.data
        if part.get("type") not in PARTS or len(data.files) != 1 or not part.get("id"):
            raise gr.Error("This is no part of a canvas.")
        if len(data.files[0][1]) > LARGEST or len(str(part["id"])) > 64:
            raise gr.Error("The canvas is larger than 5 MB.")
        if not _is_layer_number(part.get("index")):
            raise gr.Error(f"A canvas has at most {MOST_LAYERS} layers.")
        while part["id"] not in self.blob_storage and len(self.blob_storage) >= MOST_WAITING:
            self.blob_storage.pop(next(iter(self.blob_storage)), None)
        super().accept_blobs(data)

    def convert_and_format_image(
        self, file: FileData | bytes | None, flatten_on_white: bool = False
    ) -> Any:  # noqa: ANN401
        """Returns a part of the canvas as an RGBA image, None where there is none."""
        if file is None:
            return None
        try:
            image = open_picture(Path(file.path) if isinstance(file, FileData) else file)
        except PixelarError as error:
            raise gr.Error(str(error)) from error
        return image.convert("RGBA")


def _is_layer_number(text: object) -> bool:
    """Whether this names a layer, or none: the page sends numbers as text, none as "null"."""
    return text in (None, "", "null") or str(text) in map(str, range(MOST_LAYERS))
