"""The tab that draws samples."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr
import torch

from pixelar.demo.render.pictures import faint
from pixelar.demo.server.storage import work_folder
from pixelar.demo.tasks.drawing import Task, blank_frame, first_frame, frames, paced, read_seed
from pixelar.demo.tasks.labels import TURNS, labels_of
from pixelar.demo.tasks.sample import sheet, summary, write_files
from pixelar.demo.widgets import components, events
from pixelar.demo.widgets.errors import reporting_errors
from pixelar.demo.widgets.labels import label_choice, label_update
from pixelar.model import PixelModel

__all__ = ["SampleTab"]

MOST, FIRST = 32, 20  # samples


class SampleTab:
    """Lays the tab out, and connects its components.

    Arguments:
        models: The models by name.
    """

    def __init__(self, models: Mapping[str, PixelModel]) -> None:
        self.models = models
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=280):
                self.name = components.model_choice(models)
                self.label = label_choice(models, TURNS)
                self.n = gr.Slider(1, MOST, FIRST, step=1, label="Samples")
                go, stop = components.buttons("Sample", "sample")
                with gr.Accordion("Options", open=False):
                    self.options = components.drawing_options()
            with gr.Column(scale=8, min_width=320, elem_classes=components.RUN):
                first = next(iter(models.values()))
                result = components.picture(
                    "Samples", "sample-result", faint(sheet(blank_frame(first, FIRST)))
                )
                bar = gr.HTML(elem_classes="done")
                status = gr.Markdown(elem_id="sample-status", elem_classes=components.RESULT)
                note = gr.Markdown(elem_id="sample-note", elem_classes="stopped")
                files = components.downloads()
        events.begin(go, note)
        run = go.click(
            self.sample,
            [self.name, self.label, self.n, *self.options],
            [result, bar, status, *files],
            api_name="sample",
            show_progress="hidden",
            **events.MODEL,
        )
        events.reveal(run, files)
        events.end(stop, run, note)
        self.name.change(self.switch, self.name, self.label, queue=False, **events.PRIVATE)

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
        with reporting_errors(), work_folder() as folder:
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
            yield sheet(start), components.progress(0), "", None, None
            for frame in paced(frames(task)):
                if frame.done >= 1:
                    seconds = time.monotonic() - begin
                    files = write_files(folder, frame)
                    yield sheet(frame), "", summary(task, seconds), *map(str, files)
                else:
                    yield sheet(frame), components.progress(frame.done), *[gr.skip()] * 3
