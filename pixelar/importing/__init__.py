"""Weights of other programs, read as our models.

A reader takes a path and returns a model, or raises PixelarError: a file is believed only as far as
it has been looked at.
"""

from collections.abc import Callable
from pathlib import Path

from pixelar.errors import PixelarError, did_you_mean
from pixelar.importing.imagegpt import export_imagegpt, import_imagegpt
from pixelar.importing.pixelcnnpp import import_pixelcnnpp
from pixelar.model import PixelModel

__all__ = [
    "IMPORTERS",
    "export_imagegpt",
    "import_imagegpt",
    "import_model",
    "import_pixelcnnpp",
]

CHECKPOINTS = (".pt", ".pth")


IMPORTERS: dict[str, Callable[[Path], PixelModel]] = {
    "imagegpt": import_imagegpt,
    "pixelcnnpp": import_pixelcnnpp,
}


def import_model(
    path: str | Path, *, format: str | None = None, size: tuple[int, int] | None = None
) -> PixelModel:
    """Returns the model that another program wrote.

    Arguments:
        path: A folder of `transformers`, or a checkpoint.
        format: One of `IMPORTERS`; None tells by the path: a folder is an ImageGPT, a file that
            ends in .pt or .pth a PixelCNN++.
        size: The height and width of a PixelCNN++'s images, as for `import_pixelcnnpp`.

    Raises:
        PixelarError: If there is nothing of that kind, or it is damaged or another net, or a size
            is given for an ImageGPT.
    """
    path = Path(path)
    if format is not None and format not in IMPORTERS:
        raise PixelarError(f"format: {did_you_mean(format, IMPORTERS)}")
    if format is None and path.is_file() and path.suffix not in CHECKPOINTS:
        raise PixelarError(
            f"{path} is neither a folder of transformers nor a checkpoint (.pt, .pth); "
            "say what it is with --format"
        )
    if format is None:
        checkpoint = path.suffix in CHECKPOINTS and not path.is_dir()
        format = "pixelcnnpp" if checkpoint else "imagegpt"
    if size is None:
        return IMPORTERS[format](path)
    if format != "pixelcnnpp":
        raise PixelarError(
            f"--size is for PixelCNN++ only: {path} is read as an ImageGPT, whose folder says how "
            "large its images are"
        )
    return import_pixelcnnpp(path, size=size)
