"""The page of the demo: three tabs over the same models."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from pixelar.demo.tabs.complete import CompleteTab
from pixelar.demo.tabs.sample import SampleTab
from pixelar.demo.tabs.understand import UnderstandTab
from pixelar.demo.theme import css, script, theme
from pixelar.model import PixelModel

__all__ = ["Page", "build_demo"]

HEADER = """
<header class="masthead">
  <h1>pixelar</h1>
  <p>Image models that draw one pixel at a time. Let them complete a picture, see which pixels
  surprise them, or draw samples.</p>
</header>
"""
FOOTER = """
<p class="colophon">Everything is computed on the machine that serves this page.</p>
"""


class Page(gr.Blocks):
    """Blocks that always launch with the demo's theme, style sheet and script."""

    def get_block_name(self) -> str:
        return "blocks"

    def launch(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """Launches as `gr.Blocks` does, in the demo's style."""
        style = {"theme": theme(), "css": css(), "js": script(), "footer_links": ["api"]}
        return super().launch(*arguments, **options | style)


def build_demo(models: Mapping[str, PixelModel]) -> gr.Blocks:
    """Returns the page.

    Arguments:
        models: At least one model of grey or RGB images, by the name that it has in commands.
    """

    def describe_models() -> list[dict[str, Any]]:
        """Lists the models: name, shape of an image, levels of a value, number of classes."""
        return [describe(name, model) for name, model in models.items()]

    with Page(title="pixelar", analytics_enabled=False, delete_cache=(60, 3600)) as page:
        gr.HTML(HEADER)
        with gr.Tabs():
            with gr.Tab("Complete"):
                CompleteTab(models)
            with gr.Tab("Understand"):
                UnderstandTab(models)
            with gr.Tab("Sample"):
                SampleTab(models)
        gr.HTML(FOOTER)
        gr.api(describe_models, api_name="models", queue=False)  # type: ignore[attr-defined]
    return page


def describe(name: str, model: PixelModel) -> dict[str, Any]:
    """Returns what a program needs to know about a model to call the demo, as plain values."""
    return {
        "name": name,
        "image_shape": list(model.image_shape),
        "levels": model.quantizer.levels,
        "classes": model.classes,
        "scan": model.scan.name,
    }
