"""The tab that shows the score of a picture: its layout, and what its components do."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
import torch
from PIL import Image

from pixelar.demo.inputs.canvas import settle
from pixelar.demo.inputs.examples import counterpart, examples
from pixelar.demo.inputs.pictures import LIMITS
from pixelar.demo.render import plots
from pixelar.demo.render.pictures import block, heat, ring, show
from pixelar.demo.tasks.labels import LIKELIEST, label_of
from pixelar.demo.tasks.understand import (
    Pixel,
    Reading,
    histogram_of,
    look_at_pixel,
    read,
    share_below,
)
from pixelar.demo.widgets import components, events
from pixelar.demo.widgets.errors import reporting_errors
from pixelar.demo.widgets.labels import label_choice, label_update
from pixelar.demo.widgets.picture import PictureBox
from pixelar.errors import DataError
from pixelar.model import PixelModel
from pixelar.quantizers import Palette

__all__ = ["UnderstandTab"]

SIDE = 336  # pixels of the page
NO_PICTURE = "there is no picture yet: upload one, paste one or take an example"


class UnderstandTab:
    """Lays the tab out, and connects its components.

    Arguments:
        models: The models by name.
    """

    def __init__(self, models: Mapping[str, PixelModel]) -> None:
        self.models = models
        self.pictures = {name: examples(name, model) for name, model in models.items()}
        first = next(iter(models))
        picture = self.pictures[first][0][0]
        reading = self.understand(picture, first, LIKELIEST)
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                self._lay_out_inputs(picture)
            with gr.Column(scale=7, min_width=320):
                self._lay_out_reading(reading)
        self._lay_out_pixel(*most_surprising(reading[-1]), picture, first)
        self._connect()

    def _lay_out_inputs(self, picture: Image.Image) -> None:
        first = next(iter(self.models))
        self.picture = PictureBox(
            picture,
            label="Picture",
            sources=["upload", "clipboard"],
            height=320,
            alt_text="Picture",
            buttons=[],
            format="png",
            elem_id="understand-picture",
            elem_classes="pixels",
        )
        self.shelf = components.gallery(self.pictures[first])
        gr.Markdown(f"{LIMITS}.", elem_classes="note")
        self.name = components.model_choice(self.models)
        self.label = label_choice(self.models, LIKELIEST)

    def _lay_out_reading(self, first: tuple[Any, ...]) -> None:
        headline, seen, surprise, plots_first, numbers = first
        self.headline = gr.HTML(headline, elem_id="understand-headline")
        with gr.Row(equal_height=True):
            with gr.Column(min_width=150):
                self.seen = components.picture("Model input", "understand-seen", seen)
            with gr.Column(min_width=150):
                self.surprise = components.picture("Surprise", "understand-surprise", surprise)
        self.plots = gr.HTML(plots_first, elem_id="understand-plots")
        with gr.Accordion("Numbers", open=False):
            self.numbers = gr.JSON(numbers, show_label=False, open=False)

    def _lay_out_pixel(self, row: int, column: int, picture: Image.Image, name: str) -> None:
        text, marked, chart, looked, numbers = self.pixel(picture, name, LIKELIEST, row, column)
        gr.HTML(ABOUT_PIXELS)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=150):
                self.marked = components.picture("The pixel", "understand-marked", marked)
                with gr.Row():
                    self.row = whole_number(row, "Row")
                    self.column = whole_number(column, "Column")
                self.look = gr.Button("Look", size="sm", elem_id="pixel-look")
            with gr.Column(scale=3, min_width=300):
                self.text = gr.Markdown(text, elem_id="pixel-text")
                self.chart = gr.HTML(chart, elem_id="pixel-chart")
            with gr.Column(scale=2, min_width=150):
                self.looked = components.picture("What it depends on", "pixel-looked", looked)
        with gr.Accordion("Numbers of the pixel", open=False):
            self.pixel_numbers = gr.JSON(numbers, show_label=False, open=False)

    def _connect(self) -> None:
        private = {"queue": False, **events.PRIVATE}
        work = {"show_progress": "minimal", **events.MODEL}
        what = [self.picture, self.name, self.label]
        reading = [self.headline, self.seen, self.surprise, self.plots, self.numbers]
        pixel = [self.text, self.marked, self.chart, self.looked, self.pixel_numbers]
        place = [self.row, self.column]
        gr.on(
            [self.picture.change, self.label.input],
            self.understand,
            what,
            reading,
            api_name="understand",
            **work,
        )
        gr.on(
            [self.look.click, self.row.submit, self.column.submit],
            self.pixel,
            [*what, *place],
            pixel,
            api_name="pixel",
            **work,
        )
        hidden = {**work, "api_visibility": "private"}
        for image in (self.seen, self.surprise, self.marked):
            image.select(self.place, self.name, place, **private).then(
                self.pixel, [*what, *place], pixel, **hidden
            )
        self.shelf.select(self.take, self.name, [self.picture, self.shelf], **private)
        shown = [self.shelf, self.label, self.picture, *place]
        self.name.change(self.switch, [self.name, self.picture], shown, **private).then(
            self.understand, what, reading, **hidden
        ).then(self.pixel, [*what, *place], pixel, **hidden)

    def understand(
        self, picture: Image.Image | None, model: str, label: str
    ) -> tuple[str, Image.Image, Image.Image, str, dict[str, Any]]:
        """Scores a picture: the bits in all, in each row and at each pixel.

        The label matters only for models with classes; "likeliest" takes the class under which the
        picture is likeliest. Returns a headline, the model's input, the bits of each pixel as a
        picture, plots of the rows and of the test set, and all the numbers.
        """
        with reporting_errors():
            net = self.models[model]
            found = read(net, self._settled(picture, net), label)
        return (
            headline(found, histogram_of(model)),
            show(found.image, side=SIDE),
            heat(found.bits, float(found.bits.max()), side=SIDE),
            charts(found, histogram_of(model)),
            found.numbers,
        )

    def pixel(
        self, picture: Image.Image | None, model: str, label: str, row: float, column: float
    ) -> tuple[str, Image.Image, str, Image.Image, dict[str, Any]]:
        """Returns the prediction at a pixel, given the pixels before it.

        Rows and columns count from 0. Returns a sentence, the picture with the pixel marked, the
        distribution as a plot, how much the prediction changes with each pixel as a picture (dark:
        not at all), and all the numbers.
        """
        with reporting_errors():
            if row is None or column is None:
                raise DataError("a pixel has a row and a column; one of them is empty")
            net, at = self.models[model], (int(row), int(column))
            image = self._settled(picture, net)
            chosen = label_of(net, label, image)
            found = look_at_pixel(net, image, chosen, *at)
        seen = show(net.decode(net.encode(image)).cpu(), side=SIDE)
        k = block(image.shape[2], image.shape[3], SIDE)
        looked = heat(found.seen.sqrt(), float(found.seen.max()) ** 0.5, side=SIDE)
        numbers = {
            "row": at[0],
            "column": at[1],
            "true": found.true.tolist(),
            "bits": found.bits.tolist(),
            "probabilities": found.probabilities.tolist(),
            "seen": found.seen.tolist(),
        }
        picture_marked, looked_marked = ring(seen, *at, k), ring(looked, *at, k)
        return (
            sentence(found, *at),
            picture_marked,
            pixel_charts(found, net),
            looked_marked,
            numbers,
        )

    def place(self, name: str, event: gr.SelectData) -> tuple[int, int]:
        """Returns row and column of a click."""
        _, height, width = self.models[name].image_shape
        k = block(height, width, SIDE)
        return min(int(event.index[1]) // k, height - 1), min(int(event.index[0]) // k, width - 1)

    def take(self, name: str, event: gr.SelectData) -> tuple[Any, ...]:
        """Takes an example."""
        return self.pictures[name][event.index][0], gr.update(selected_index=None)

    def switch(self, name: str, picture: Image.Image | None) -> tuple[Any, ...]:
        """Shows another model's examples, replaces one of the last model's, and selects the middle
        pixel.
        """
        model = self.models[name]
        _, height, width = model.image_shape
        thumbnails = components.thumbnails(self.pictures[name])
        swap = None if picture is None else counterpart(picture, self.pictures, name)
        shown = gr.skip() if swap is None else swap
        return thumbnails, label_update(model, LIKELIEST), shown, height // 2, width // 2

    def _settled(self, picture: Image.Image | None, model: PixelModel) -> torch.Tensor:
        if picture is None:
            raise DataError(NO_PICTURE)
        return settle(picture, model)


def most_surprising(numbers: dict[str, Any]) -> tuple[int, int]:
    """Returns row and column of the pixel with the most bits, from the numbers of a reading."""
    bits = torch.tensor(numbers["bits_of_pixels"])
    return divmod(int(bits.argmax()), bits.shape[1])


def whole_number(value: int, label: str) -> gr.Number:
    """Returns a field for the row or the column of a pixel."""
    name = f"pixel-{label.lower()}"
    return gr.Number(value, label=label, precision=0, minimum=0, min_width=60, elem_id=name)


ABOUT_PIXELS = (
    "<h2>One pixel</h2><p>Click a pixel of a picture above, or give its row and column, to see the "
    "model's prediction there, given only the pixels before it in the model's order.</p>"
)


def headline(found: Reading, bars: tuple[list[float], list[int]] | None) -> str:
    """Returns in HTML the score of a picture, and where it stands in the test set."""
    if bars is None:
        where = "This model's card has no histogram of a test set to compare with."
    else:
        share = share_below(*bars, found.per_dim)
        where = f"More surprising than {share:.0%} of the test set's images."
    if found.classes is not None and found.label is not None:
        where += f" Scored as class {found.label}, p = {float(found.classes[found.label]):.2f}."
    return (
        f'<p class="figure"><strong>{found.per_dim:.3f}</strong> {found.unit}'
        f"<span>{float(found.bits.sum()):.0f} bits in all. {where}</span></p>"
    )


def charts(found: Reading, bars: tuple[list[float], list[int]] | None) -> str:
    """Returns the colour scale of the surprise map, and plots of a reading."""
    both = plots.rows(found.bits.sum(1).tolist())
    if bars is not None:
        both += plots.histogram(*bars, found.per_dim, found.unit)
    scale = plots.legend(float(found.bits.max()), found.map_unit)
    return f'{scale}<div class="plots">{both}</div>'


def sentence(found: Pixel, row: int, column: int) -> str:
    """Returns in Markdown the prediction at a pixel."""
    each = [
        f"{name} ".lstrip() + f"level {int(v)} has p = {float(p[v]):.3f}, {float(b):.2f} bits"
        for name, p, v, b in zip(
            found.names, found.probabilities, found.true, found.bits, strict=True
        )
    ]
    looked = int((found.seen > 0).sum())
    return (
        f"Row {row}, column {column}: {'; '.join(each)}. The prediction depends on {looked} pixels."
    )


def pixel_charts(found: Pixel, model: PixelModel) -> str:
    """Returns the distributions of a pixel's symbols as plots."""
    colours = None
    if isinstance(model.quantizer, Palette):
        rgb = model.quantizer.colours.round().clamp(0, 255).int().tolist()
        colours = [f"rgb({r},{g},{b})" for r, g, b in rgb]
    each = zip(found.names, found.probabilities.tolist(), found.true.tolist(), strict=True)
    inside = "".join(
        plots.distribution(p, true, f"Prediction {name}".rstrip(), colours)
        for name, p, true in each
    )
    return f'<div class="plots">{inside}</div>'
