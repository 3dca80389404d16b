"""Components that several tabs of the page share."""

from collections.abc import Mapping

import gradio as gr
from PIL import Image

from pixelar.model import PixelModel

__all__ = [
    "RESULT",
    "RUN",
    "buttons",
    "downloads",
    "drawing_options",
    "gallery",
    "model_choice",
    "picture",
    "progress",
]

RESULT = "of-a-result"
"""The CSS class of boxes that are filled when a run has ended; the style sheet hides them, in a
column of class `RUN`, while another run is under way, and after it was stopped."""

RUN = "of-a-run"

THUMBNAIL = 112  # pixels


def model_choice(models: Mapping[str, PixelModel]) -> gr.Dropdown:
    """Returns the dropdown for a model by its name."""
    return gr.Dropdown([*models], value=next(iter(models)), label="Model")


def buttons(text: str, name: str) -> tuple[gr.Button, gr.Button]:
    """Returns a button that begins work, and one that stops it."""
    with gr.Row(elem_classes="buttons"):
        go = gr.Button(text, variant="primary", scale=3, min_width=80, elem_id=f"{name}-go")
        stop = gr.Button("Stop", variant="stop", scale=1, min_width=70, elem_id=f"{name}-stop")
    return go, stop


def downloads() -> tuple[gr.DownloadButton, gr.DownloadButton]:
    """Returns the buttons to download a picture of all results, and all files; hidden at first."""
    with gr.Row(elem_classes=["buttons", RESULT]):
        picture = gr.DownloadButton("Picture (PNG)", visible=False, size="sm", min_width=90)
        everything = gr.DownloadButton("All files (ZIP)", visible=False, size="sm", min_width=90)
    return picture, everything


def drawing_options() -> tuple[gr.Slider, gr.Slider, gr.Textbox]:
    """Returns the choices of temperature, top-p and seed."""
    temperature = gr.Slider(0, 2, 1, step=0.05, label="Temperature", info="below 1: less varied")
    top_p = gr.Slider(0.05, 1, 1, step=0.05, label="Top-p", info="below 1: drops unlikely levels")
    # a number field would turn into 0 when it is first shown
    seed = gr.Textbox("", label="Seed", info="a whole number; empty: a new one", max_lines=1)
    return temperature, top_p, seed


def picture(label: str, name: str, value: Image.Image | None = None) -> gr.Image:
    """Returns the component for a picture that the demo makes."""
    return gr.Image(
        value,
        label=label,
        format="png",
        image_mode=None,
        interactive=False,
        buttons=["fullscreen"],
        alt_text=label,
        elem_id=name,
        elem_classes="pixels",
    )


def gallery(pictures: list[tuple[Image.Image, str]]) -> gr.Gallery:
    """Returns a gallery of small pictures to choose from."""
    return gr.Gallery(
        thumbnails(pictures),
        label="Examples",
        show_label=False,
        container=False,
        columns=8,
        object_fit="contain",
        allow_preview=False,
        interactive=False,
        buttons=[],
        format="png",
        elem_classes="thumbnails",
    )


def thumbnails(pictures: list[tuple[Image.Image, str]]) -> list[tuple[Image.Image, str]]:
    """Returns pictures at the size of the gallery."""
    nearest = Image.Resampling.NEAREST
    return [(picture.resize((THUMBNAIL, THUMBNAIL), nearest), name) for picture, name in pictures]


def progress(done: float) -> str:
    """Returns a progress bar in HTML; an empty text when all is done."""
    if done >= 1:
        return ""
    return f'<progress aria-label="Drawn so far" max="1" value="{done:.3f}"></progress>'
