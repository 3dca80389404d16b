"""Weights of other programs, read as our models.

A reader takes a path and returns a model, or raises PixelarError: a file is trusted only as far as
it has been checked.
"""

from pathlib import Path

from pixelar.errors import ConfigError, StorageError, did_you_mean
from pixelar.io.foreign.imagegpt import export_imagegpt, import_imagegpt
from pixelar.io.foreign.lmconv import WEIGHTS, import_lmconv, is_lmconv
from pixelar.io.foreign.pixelcnnpp import import_pixelcnnpp
from pixelar.io.foreign.state import read_state
from pixelar.model import PixelModel

__all__ = [
    "FORMATS",
    "export_imagegpt",
    "import_imagegpt",
    "import_lmconv",
    "import_model",
    "import_pixelcnnpp",
]

FORMATS = ("imagegpt", "pixelcnnpp", "lmconv")
CHECKPOINTS = (".pt", ".pth")


def import_model(
    path: str | Path, *, format: str | None = None, size: tuple[int, int] | None = None
) -> PixelModel:
    """Imports a model that another program wrote.

    Arguments:
        path: A folder of `transformers`, or a checkpoint.
        format: One of `FORMATS`; None decides by the path: a folder is an ImageGPT, and for a file
            that ends in .pt or .pth the names of its tensors decide.
        size: The height and width of the images of a PixelCNN++ or LMConv.

    Raises:
        PixelarError: If there is no such folder or file, it is damaged or of another net, or a size
            is given for an ImageGPT.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise ConfigError(f"format: {did_you_mean(format, FORMATS)}")
    format = format or _format_of(path)
    if format == "pixelcnnpp":
        return import_pixelcnnpp(path, size=size)
    if format == "lmconv":
        return import_lmconv(path, size=size)
    if size is not None:
        raise ConfigError(
            f"--size is for PixelCNN++ and LMConv only: {path} is read as an ImageGPT, whose "
            "folder says how large its images are"
        )
    return import_imagegpt(path)


def _format_of(path: Path) -> str:
    """Returns the format of a path, by its content."""
    if path.suffix in CHECKPOINTS and not path.is_dir():
        return "lmconv" if is_lmconv(read_state(path, prefer=WEIGHTS)) else "pixelcnnpp"
    if path.is_file():
        raise StorageError(
            f"{path} is neither a folder of transformers nor a checkpoint (.pt, .pth); "
            "say what it is with --format"
        )
    return "imagegpt"
