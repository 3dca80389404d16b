"""The tab that completes pictures: its layout, and what its components do."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from gradio.components.image_editor import EditorValue
from PIL import Image

from pixelar.demo.assets import read_asset
from pixelar.demo.inputs.canvas import CANVAS, INKS, MARKER, Canvas, read_canvas, without_marks
from pixelar.demo.inputs.examples import blank, counterpart, examples
from pixelar.demo.inputs.pictures import LIMITS, open_picture
from pixelar.demo.inputs.regions import CHOICES, PAINTED, known_pixels
from pixelar.demo.render.pictures import faint
from pixelar.demo.server.storage import work_folder
from pixelar.demo.tasks.complete import complete_picture, preview, sheet, write_files
from pixelar.demo.tasks.drawing import Task, blank_frame, first_frame, read_seed
from pixelar.demo.tasks.labels import LIKELIEST, label_of
from pixelar.demo.widgets import components, events
from pixelar.demo.widgets.editor import Editor
from pixelar.demo.widgets.errors import reporting_errors, sentence
from pixelar.demo.widgets.labels import label_choice, label_update
from pixelar.errors import ConfigError, PixelarError
from pixelar.model import PixelModel
from pixelar.names import Method

__all__ = ["CompleteTab"]

METHODS = ("auto", "prefix", "known_first", "particles", "clamp")
ABOUT_METHODS = (
    "prefix: exact, where what is kept comes first in the model's order. known_first: exact, for "
    "nets that take any order. particles: any region, exact as their number grows. clamp: any "
    "region, quick and biased. auto: the first of them that applies."
)
ABOUT_CANVAS = (
    f"{LIMITS}. The brush marks in **pink** what should be redrawn; in its other colours it draws. "
    "Empty the canvas with its bin to paste a picture."
)
EMPTY = "No picture yet: upload one, paste one, draw one or take an example."
NOTHING_KEPT = "nothing of the picture is kept: the tab Sample draws pictures from nothing"
MOST = 8
LARGEST_SIDE = 1024  # pixels


def fresh(picture: Image.Image) -> EditorValue:
    """Returns the value of an image editor that holds a picture and no strokes."""
    return {"background": picture, "layers": [], "composite": None}


class CompleteTab:
    """Lays the tab out, and connects its components.

    Arguments:
        models: The models by name.
    """

    def __init__(self, models: Mapping[str, PixelModel]) -> None:
        self.models = models
        self.pictures = {
            name: [*examples(name, m), (blank(m), "blank")] for name, m in models.items()
        }
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self._lay_out_inputs()
            with gr.Column(scale=6, min_width=320, elem_classes=components.RUN):
                self._lay_out_outputs()
        self._connect_view()
        self._connect_work()

    def _lay_out_inputs(self) -> None:
        first = next(iter(self.models))
        self.canvas = Editor(
            fresh(self.pictures[first][0][0]),
            type="pil",
            format="png",  # Gradio's default, WebP, changes colours, and so the model's input
            label="Picture",
            sources=("upload", "clipboard"),
            transforms=(),
            layers=False,
            brush=gr.Brush(
                default_size=36, colors=[MARKER, *INKS], default_color=MARKER, color_mode="fixed"
            ),
            eraser=gr.Eraser(default_size=36),
            canvas_size=(CANVAS, CANVAS),
            fixed_canvas=True,
            height=520,
            buttons=[],
            elem_id="complete-canvas",
        )
        self.shelf = components.gallery(self.pictures[first])
        self.upload = gr.UploadButton(
            "Upload a picture", file_types=["image"], size="sm", elem_id="complete-upload"
        )
        self.refusal = gr.Markdown(elem_id="complete-refusal", elem_classes="refusal")
        gr.Markdown(ABOUT_CANVAS, elem_classes="note")
        self.name = components.model_choice(self.models)
        self.label = label_choice(self.models, LIKELIEST)
        with gr.Accordion("Options", open=False):
            self.method = gr.Radio([*METHODS], value="auto", label="Method", info=ABOUT_METHODS)
            self.n = gr.Slider(1, MOST, 4, step=1, label="Completions")
            self.particles = gr.Slider(2, 256, 32, step=1, label="Particles of each completion")
            self.options = components.drawing_options()

    def _lay_out_outputs(self) -> None:
        first = next(iter(self.models))
        picture = fresh(self.pictures[first][0][0])
        seen, caption = preview(picture, CHOICES[0], self.models[first])
        with gr.Row(equal_height=False):
            with gr.Column(min_width=240):
                self.seen = components.picture("Model input", "complete-seen", value=seen)
            with gr.Column(min_width=240):
                self.region = gr.Radio([*CHOICES], value=CHOICES[0], label="Redraw")
                self.go, self.stop = components.buttons("Complete", "complete")
                self.caption = gr.Markdown(caption, elem_classes="note")
        self.result = components.picture(
            "Completions", "complete-result", faint(sheet(blank_frame(self.models[first], 4)))
        )
        self.bar = gr.HTML(elem_classes="done")
        self.status = gr.Markdown(elem_id="complete-status", elem_classes=components.RESULT)
        self.note = gr.Markdown(elem_id="complete-note", elem_classes="stopped")
        self.files = components.downloads()
        self.command = gr.Code(
            label="The same from the command line, with picture.png and mask.png from the ZIP",
            interactive=False,
            visible=False,
            lines=1,
            wrap_lines=True,
            show_line_numbers=False,
            elem_id="complete-command",
            elem_classes=components.RESULT,
        )

    def _connect_view(self) -> None:
        shape = [self.canvas, self.region, self.name]
        view: dict[str, Any] = {"fn": self.look, "inputs": shape, "queue": False, **events.PRIVATE}
        view |= {"outputs": [self.seen, self.caption], "trigger_mode": "always_last"}
        gr.on(
            [self.canvas.input, self.canvas.change, self.canvas.clear, self.canvas.upload],
            None,
            self.canvas,  # this request makes the editor drop what it kept half updated
            None,
            js=read_asset("debounce.js"),
            trigger_mode="multiple",
            **events.PRIVATE,
        ).success(
            self.notice_paint,
            [self.canvas, self.name],
            self.region,
            queue=False,
            trigger_mode="always_last",
            **events.PRIVATE,
        ).then(**view)
        self.region.input(
            self.choose, [self.canvas, self.region], self.canvas, queue=False, **events.PRIVATE
        ).then(**view)
        self.shelf.select(
            self.take, self.name, [self.canvas, self.shelf], queue=False, **events.PRIVATE
        ).then(**view)
        self.upload.upload(
            self.bring,
            self.upload,
            [self.canvas, self.refusal],
            queue=False,
            **events.PRIVATE,
        ).then(**view)
        # What the editor kept of its canvas may be half updated. One request makes it drop that and
        # return the picture itself where nothing was painted.
        self.name.change(None, self.canvas, None, js="() => {}", **events.PRIVATE).then(
            self.switch,
            [self.name, self.canvas],
            [self.shelf, self.label, self.canvas],
            queue=False,
            **events.PRIVATE,
        ).then(**view)

    def _connect_work(self) -> None:
        what = [self.canvas, self.region, self.name, self.label, self.method, self.n]
        events.begin(self.go, self.note)
        run = self.go.click(
            self.complete,
            [*what, self.particles, *self.options],
            [self.result, self.bar, self.status, self.command, *self.files],
            api_name="complete",
            show_progress="hidden",
            **events.MODEL,
        )
        events.reveal(run, [self.command, *self.files])
        events.end(self.stop, run, self.note)

    def look(self, canvas: Canvas, region: str, name: str) -> tuple[Image.Image, str]:
        """Shows the model's input."""
        if not canvas or (canvas.get("background") is None and not canvas.get("layers")):
            return faint(sheet(blank_frame(self.models[name], 1))), EMPTY
        with reporting_errors():
            return preview(canvas, region, self.models[name])

    def notice_paint(self, canvas: Canvas, name: str) -> Any:  # noqa: ANN401
        """Selects the region "Painted" if the marker was used.

        Otherwise the choice is left alone, since it may have changed since the event.
        """
        if not (canvas and canvas.get("layers")):
            return gr.skip()
        with reporting_errors():
            return PAINTED if read_canvas(canvas, self.models[name])[1].any() else gr.skip()

    def choose(self, canvas: Canvas, region: str) -> Any:  # noqa: ANN401
        """Removes the marks from the canvas when a predefined region is chosen instead."""
        if region == PAINTED or not (canvas and canvas.get("layers")):
            return gr.skip()
        with reporting_errors():
            return fresh(without_marks(canvas))

    def bring(self, path: str) -> tuple[Any, str]:
        """Puts an uploaded file on the canvas, no larger than a page needs.

        An error is shown next to the button: Gradio's page shows no errors of events that do not
        wait in the queue.
        """
        try:
            picture = open_picture(Path(path))
        except PixelarError as error:
            return gr.skip(), sentence(error)
        picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        return fresh(picture), ""

    def take(self, name: str, event: gr.SelectData) -> tuple[Any, ...]:
        """Puts an example on the canvas."""
        return fresh(self.pictures[name][event.index][0]), gr.update(selected_index=None)

    def switch(self, name: str, canvas: Canvas) -> tuple[Any, ...]:
        """Shows another model's examples, and replaces an unchanged example on the canvas."""
        value, swap = canvas or {}, None
        painted = any(layer.getchannel("A").getbbox() for layer in value.get("layers") or ())
        if value.get("background") is not None and not painted:
            swap = counterpart(value["background"], self.pictures, name)
        return (
            components.thumbnails(self.pictures[name]),
            label_update(self.models[name], LIKELIEST),
            gr.skip() if swap is None else fresh(swap),
        )

    def complete(
        self,
        canvas: Canvas,
        region: str,
        model: str,
        label: str,
        method: Method,
        completions: int,
        particles: int,
        temperature: float,
        top_p: float,
        seed: str,
    ) -> Iterator[tuple[Any, ...]]:
        """Completes a picture; every frame shows what is drawn so far.

        The canvas is a dict of background, layers and composite. Strokes in its layers that are
        #ff2e93 mark what is redrawn, instead of the region; white, black and the other inks belong
        to the picture. The label matters only for models with classes. An empty seed draws a new
        one. Returns the completions as one picture, an empty text when all is done, how they were
        made, the command that draws the same, and two files: the picture, and a ZIP of everything.
        """
        with reporting_errors(), work_folder() as folder:
            net, count = self.models[model], int(completions)
            picture, paint = read_canvas(canvas, net)
            images, known = picture.repeat(count, 1, 1, 1), known_pixels(region, paint)
            if not bool(known.any()):
                raise ConfigError(NOTHING_KEPT)
            # before anything is computed, so that there is something to see at once
            yield sheet(first_frame(net, images, known)), components.progress(0), "", "", None, None
            chosen = label_of(net, label, picture)
            task = Task(
                model=net,
                images=images,
                known=known,
                labels=None if chosen is None else torch.full((count,), chosen),
                method=method,
                particles=int(particles),
                temperature=temperature,
                top_p=top_p,
                seed=read_seed(seed),
            )
            for frame, text, words in complete_picture(task, model, chosen):
                if words:
                    files = write_files(folder, task, frame, words)
                    yield sheet(frame), "", text, words, *map(str, files)
                else:
                    yield sheet(frame), components.progress(frame.done), *[gr.skip()] * 4
