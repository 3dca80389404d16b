"""`pixelar demo`: the named models, or all packaged ones, in a web page."""

import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from pixelar.cli.inputs import open_model, placed
from pixelar.cli.trust import trusted
from pixelar.errors import ConfigError
from pixelar.hub.index import packaged
from pixelar.model import PixelModel

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["demo"]


def demo(options: Namespace) -> NoReturn:
    """Serves the demo until it is interrupted, and ends the process."""
    if find_spec("gradio") is None:  # reported before models are read
        raise ModuleNotFoundError(name="gradio")
    from pixelar.demo.server.serve import serve

    models = {
        name: placed(model, options, quiet=number > 0)
        for number, (name, model) in enumerate(
            open_models(options.models, trusted(options.trust)).items()
        )
    }

    def build() -> "gr.Blocks":
        # importing Gradio takes seconds, so mistakes are reported first
        from pixelar.demo.app import build_demo

        return build_demo(models)

    code = serve(
        build,
        host=options.host,
        port=options.port,
        public=options.public,
        open_browser=options.open,
        root_path=options.root_path,
    )
    os._exit(code)  # a normal exit would wait for an image that is being drawn


def open_models(
    names: Sequence[str], trust: Mapping[str, type] | None = None
) -> dict[str, PixelModel]:
    """Returns models by the given names, folders or files; by default all packaged ones.

    Raises:
        PixelarError: If one cannot be loaded, or there is none.
    """
    models = {name: open_model(name, trust) for name in names or packaged()}
    if not models:
        raise ConfigError(
            "no models are packaged with this pixelar; name a model folder: pixelar demo FOLDER"
        )
    for name, model in models.items():
        if model.image_shape[0] not in (1, 3):
            raise ConfigError(
                f"{name} takes {model.image_shape[0]} channels; the demo shows grey and RGB images"
            )
        if model.quantizer.values != (0, 255):
            least, most = model.quantizer.values
            raise ConfigError(
                f"{name} takes the values {least} … {most}; the demo shows pictures of 8 bits"
            )
    return models
