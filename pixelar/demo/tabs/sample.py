"""The tab that draws samples."""

import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from PIL import Image
from torch import Tensor

from pixelar.demo.render.pictures import GAP, faint, show, to_picture
from pixelar.demo.server.storage import work_folder
from pixelar.demo.tasks.drawing import (
    Frame,
    Task,
    blank_frame,
    first_frame,
    frames,
    paced,
    read_seed,
)
from pixelar.demo.widgets import components as parts
from pixelar.demo.widgets.errors import told
from pixelar.demo.widgets.labels import TURNS, label_choice, label_update, read_label
from pixelar.model import PixelModel

__all__ = ["SampleTab", "labels_of", "sheet", "write_files"]

MOST, FIRST = 32, 20  # samples
WIDTH, HEIGHT = 920, 560  # pixels of the page, at most, of all samples together


class SampleTab:
    """Lays the tab out, and connects its components.

    Arguments:
        models: The models by name.
    """

    def __init__(self, models: Mapping[str, PixelModel]) -> None:
        self.models = models
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=280):
                self.name = parts.model_choice(models)
                self.label = label_choice(models, TURNS)
                self.n = gr.Slider(1, MOST, FIRST, step=1, label="Samples")
                go, stop = parts.buttons("Sample", "sample")
                with gr.Accordion("Options", open=False):
                    self.options = parts.drawing_options()
            with gr.Column(scale=8, min_width=320, elem_classes=parts.RUN):
                first = next(iter(models.values()))
                result = parts.picture(
                    "Samples", "sample-result", faint(sheet(blank_frame(first, FIRST)))
                )
                bar = gr.HTML(elem_classes="done")
                status = gr.Markdown(elem_id="sample-status", elem_classes=parts.RESULT)
                note = gr.Markdown(elem_id="sample-note", elem_classes="stopped")
                files = parts.downloads()
        parts.begin(go, note)
        run = go.click(
            self.sample,
            [self.name, self.label, self.n, *self.options],
            [result, bar, status, *files],
            api_name="sample",
            show_progress="hidden",
            **parts.MODEL,
        )
        parts.reveal(run, files)
        parts.end(stop, run, note)
        self.name.change(self.switch, self.name, self.label, queue=False, **parts.PRIVATE)

    def switch(self, name: str) -> dict[str, Any]:
        """Offers another model's classes."""
        return label_update(self.models[name], TURNS)

    def sample(
        self,
        model: str,
        label: str,
        samples: int,
        temperature: float,
        top_p: float,
        seed: str,
    ) -> Iterator[tuple[Any, ...]]:
        """Draws samples; every frame shows what is drawn so far.

        The label matters only for models with classes: "each in turn", or a number. An empty seed
        draws a new one. Returns the samples as one picture, an empty text when all is done, how
        they were made, and two files: the picture, and a ZIP of all samples.
        """
        with told(), work_folder() as folder:
            net, count, begin = self.models[model], int(samples), time.monotonic()
            task = Task(
                model=net,
                images=torch.zeros(count, *net.image_shape, dtype=torch.uint8),
                known=torch.zeros(1, *net.image_shape[1:], dtype=torch.bool),
                labels=labels_of(net, label, count),
                method="prefix",
                particles=1,
                temperature=temperature,
                top_p=top_p,
                seed=read_seed(seed),
            )
            start = first_frame(net, task.images, task.known)
            yield sheet(start), parts.progress(0), "", None, None
            for frame in paced(frames(task)):
                if frame.done >= 1:
                    seconds = time.monotonic() - begin
                    files = write_files(folder, frame)
                    yield sheet(frame), "", summary(task, seconds), *map(str, files)
                else:
                    yield sheet(frame), parts.progress(frame.done), *[gr.skip()] * 3


def labels_of(model: PixelModel, choice: str, count: int) -> Tensor | None:
    """Returns the classes of samples with shape (N,), None for a model without classes."""
    if not model.classes:
        return None
    if choice == TURNS:
        return torch.arange(count) % model.classes
    return torch.full((count,), read_label(model, choice))


def sheet(frame: Frame) -> Image.Image:
    """Returns the samples of a frame as one picture."""
    count = len(frame.images)
    columns = next(c for c in range(1, count + 1) if c * c >= count and (count % c == 0 or c > 5))
    side = min(WIDTH // columns, HEIGHT // -(-count // columns)) - GAP
    return show(frame.images, frame.hidden, side=side, columns=columns)


def summary(task: Task, seconds: float) -> str:
    """Returns in a line how samples were made."""
    count = len(task.images)
    return f"{count} sample{'s' * (count > 1)} in {seconds:.1f} s · seed {task.seed}"


def write_files(folder: Path, frame: Frame) -> tuple[Path, Path]:
    """Writes the files to download: one picture of all samples, and a ZIP of all of them."""
    picture, archive = folder / "samples.png", folder / "samples.zip"
    sheet(frame).save(picture)
    with zipfile.ZipFile(archive, "w") as file:
        file.write(picture, picture.name)
        for number, image in enumerate(frame.images, 1):
            path = folder / f"{number}.png"
            to_picture(image).save(path)
            file.write(path, path.name)
    return picture, archive
