"""Loading by name or path: the packaged models, folders and checkpoints."""

from collections.abc import Mapping
from pathlib import Path

from pixelar.hub.index import find, is_packaged
from pixelar.io.folders import load_checkpoint, load_checkpoints, load_folder
from pixelar.io.plain import Weights, read_config
from pixelar.model import PixelModel

__all__ = ["load", "load_all"]


def load(path: str | Path, *, trust: Mapping[str, type] | None = None) -> PixelModel:
    """Loads a model, in evaluation mode on the CPU; it computes in float32, or in float64 if its
    weights are stored so.

    Arguments:
        path: A model folder, the name of a packaged model, or a checkpoint, NAME.ckpt. Of a
            checkpoint, the averaged weights are taken, or the last step's if it has no averaged
            ones.
        trust: The classes of nets, heads and quantizers from outside of pixelar that the model may
            be built of, by name: `{"MyNet": MyNet}`. They are called with the folder's arguments.

    Raises:
        PixelarError: If the folder is missing, damaged, not a model of pixelar, or needs a class
            that is not trusted.

    Example:
        >>> load("digits-gated-pixelcnn").image_shape
        (1, 8, 8)
    """
    folder = find(path)
    if folder.suffix == ".ckpt":
        return load_checkpoint(folder, weights=None, trust=trust)
    return load_folder(folder, trust=trust, own=is_packaged(folder))


def load_all(path: Path, *, trust: Mapping[str, type] | None = None) -> dict[Weights, PixelModel]:
    """Loads the models of a folder (which has one) or of a checkpoint, by kind of weights."""
    if path.suffix == ".ckpt":
        return load_checkpoints(path, trust=trust)
    model = load_folder(path, trust=trust, own=is_packaged(path))
    return {read_config(path)["weights"]: model}
