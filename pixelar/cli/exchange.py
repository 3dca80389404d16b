"""The commands `import` and `export`: they write model folders from weights of other programs and
from checkpoints, and models for other programs.
"""

from argparse import Namespace
from pathlib import Path

from pixelar.cli.describe import run_of
from pixelar.cli.inputs import open_model
from pixelar.cli.trust import trusted
from pixelar.data.record import copy_record
from pixelar.errors import ConfigError
from pixelar.hub.index import find
from pixelar.io.folders import Weights, load_checkpoint, save
from pixelar.io.foreign import export_imagegpt, import_model
from pixelar.nets import LMConv, PixelCNNPP

__all__ = ["export_model", "import_weights"]


def import_weights(options: Namespace) -> int:
    """Writes a model folder from weights of another program."""
    _check_apart(Path(options.path), options.output)
    model = import_model(options.path, format=options.format, size=options.size)
    save(model, options.output)
    size = " × ".join(map(str, model.image_shape))
    count = sum(p.numel() for p in model.parameters())
    print(f"{options.output}: {type(model.net).__name__}, images of {size}, {count:,} parameters")
    if options.size is None and isinstance(model.net, (PixelCNNPP, LMConv)):
        _, height, width = model.image_shape
        print(f"the weights do not show the size: {height}×{width} is assumed, or give --size HxW")
    return 0


def export_model(options: Namespace) -> int:
    """Writes a model folder from a training checkpoint, or a model for another program."""
    weights: Weights = options.weights or "ema"
    trust = trusted(options.trust)
    if options.format == "pixelar":
        model = load_checkpoint(options.model, weights=weights, trust=trust)
        save(model, options.output, weights=weights)
        copy_record(run_of(Path(options.model)), Path(options.output))
        print(f"{options.output}: {weights} weights of {options.model}")
        return 0
    path = find(options.model)
    _check_apart(path, options.output)
    if path.suffix == ".ckpt":
        model = load_checkpoint(path, weights=weights, trust=trust)
    elif options.weights:
        raise ConfigError(f"--weights chooses between those of a .ckpt; {path} holds only one set")
    else:
        model = open_model(options.model, trust)
    export_imagegpt(model, options.output)
    print(f"{options.output}: {options.model} as an ImageGPT of transformers")
    return 0


def _check_apart(path: Path, output: str) -> None:
    """Raises PixelarError if a model would be written over the files that it is read from."""
    if path.resolve() == Path(output).resolve():
        raise ConfigError(f"-o must be another folder than {path}, which it would overwrite")
