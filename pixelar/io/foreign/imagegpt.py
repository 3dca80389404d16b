"""Import and export of ImageGPT for the `transformers` library of Hugging Face.

    FOLDER/  config.json                                sizes
             model.safetensors, or pytorch_model.bin    weights
             preprocessor_config.json                   the size of images, and their colours

Differences in `transformers`: the start vector is the last row of the table of tokens; the weights
of a block are stored as (inputs, outputs), and there are biases, which are zero in the released
weights; colours are on the scale -1 … 1.

References:
    Generative Pretraining from Pixels (Chen et al., 2020),
    https://proceedings.mlr.press/v119/chen20s.html
"""

from pathlib import Path

import torch
from torch import Tensor

from pixelar.errors import DataError
from pixelar.heads import Categorical
from pixelar.io.foreign.imagegpt_folder import (
    CONFIG,
    Sizes,
    read_processor,
    read_sizes,
    read_tensors,
    write_folder,
)
from pixelar.io.foreign.state import FLOATS
from pixelar.io.restore import restore
from pixelar.model import PixelModel
from pixelar.nets import ImageGPT
from pixelar.quantizers import Palette

__all__ = ["export_imagegpt", "import_imagegpt"]


NORMS = {"ln_1": "attention_norm", "ln_2": "mlp_norm"}
# our name, and the inputs and outputs in multiples of the width
LINEARS = {
    "attn.c_attn": ("qkv", 1, 3),
    "attn.c_proj": ("project", 1, 1),
    "mlp.c_fc": ("expand", 1, 4),
    "mlp.c_proj": ("contract", 4, 1),
}


def import_imagegpt(path: str | Path) -> PixelModel:
    """Imports the model in a folder of `transformers`, in evaluation mode on the CPU.

    Its net has biases if any of them is not zero. Dropout rates, which evaluation does not use, are
    not imported: the paper has none.

    Arguments:
        path: The folder of an `ImageGPTForCausalImageModeling`, with its image processor.

    Raises:
        PixelarError: If a file is missing or damaged, or is of a net that differs from ours.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(
            f"no folder at {folder}: name one with config.json, weights and "
            "preprocessor_config.json; pixelar itself downloads nothing"
        )
    sizes = read_sizes(folder)
    size, colours = read_processor(folder, sizes)
    file, tensors = read_tensors(folder)
    if sizes.depth > len(tensors):
        raise DataError(
            f"{folder / CONFIG} requires {sizes.depth} blocks, "
            f"but {file} has only {len(tensors)} tensors"
        )
    places = _places(sizes)
    _check(tensors, {theirs: shape for theirs, (_, shape) in places.items()}, file)
    state = {name: _turned(name, tensors[theirs]) for theirs, (name, _) in places.items()}
    tokens = state.pop("tokens")
    state |= {"embed.table.weight": tokens[:-1], "start": tokens[-1]}
    biases = [name for name in state if name.endswith(".bias")]
    bias = any(bool(state[name].any()) for name in biases)
    if not bias:
        state = {name: tensor for name, tensor in state.items() if name not in biases}
    args = {"width": sizes.width, "depth": sizes.depth, "heads": sizes.heads, "bias": bias}
    description = {
        "image_shape": [3, *size],
        "scan": "raster",
        "quantizer": {"name": "Palette", "args": {"levels": sizes.colours}},
        "head": {"name": "Categorical", "args": {}},
        "net": {"name": "ImageGPT", "args": args},
    }
    named = {f"net.{name}": tensor for name, tensor in state.items()}
    return restore(description, {**named, "quantizer.colours": colours}, folder)


def export_imagegpt(model: PixelModel, path: str | Path) -> None:
    """Writes a folder that `ImageGPTForCausalImageModeling` and `ImageGPTImageProcessor` load.

    Arguments:
        model: An ImageGPT without classes over a palette, in raster order.
        path: The folder; files of the same names are replaced.

    Raises:
        PixelarError: If it is any other model, which `transformers` could not load.
    """
    net, palette = model.net, model.quantizer
    plain = type(model.head) is Categorical and model.scan.name == "raster" and not model.classes
    if type(net) is not ImageGPT or type(palette) is not Palette or not plain:
        raise DataError(
            "transformers has ImageGPT without classes, with Categorical, Palette and raster; this "
            f"model has {type(net).__name__} with {model.classes} classes, "
            f"{type(model.head).__name__}, {type(palette).__name__} and {model.scan.name}"
        )
    if palette.colours.isnan().any():
        raise DataError("the palette has no colours yet: train the model before it is exported")
    sizes = Sizes(palette.levels, net.scan.sites, net.width, net.depth, net.heads)
    ours = {name: tensor.cpu() for name, tensor in net.state_dict().items()}
    ours["tokens"] = torch.cat((ours["embed.table.weight"], ours["start"][None]))
    tensors = {}
    for theirs, (name, shape) in _places(sizes).items():
        tensor = _turned(name, ours[name]) if name in ours else ours["start"].new_zeros(shape)
        tensors[theirs] = tensor.contiguous()
    write_folder(Path(path), sizes, tensors, palette.colours, model.image_shape[1:], net.dropout)


def _places(sizes: Sizes) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Maps the name of each tensor in `transformers` to our name and to its shape there."""
    width = sizes.width
    places: dict[str, tuple[str, tuple[int, ...]]] = {
        "transformer.wte.weight": ("tokens", (sizes.colours + 1, width)),
        "transformer.wpe.weight": ("position", (sizes.sites, width)),
        "transformer.ln_f.weight": ("norm.weight", (width,)),
        "lm_head.weight": ("out.weight", (sizes.colours, width)),
    }
    for k in range(sizes.depth):
        theirs, ours = f"transformer.h.{k}", f"blocks.{k}"
        for key, name in NORMS.items():
            places[f"{theirs}.{key}.weight"] = f"{ours}.{name}.weight", (width,)
        for key, (name, into, out) in LINEARS.items():
            shape = into * width, out * width
            places[f"{theirs}.{key}.weight"] = f"{ours}.{name}.weight", shape
            places[f"{theirs}.{key}.bias"] = f"{ours}.{name}.bias", shape[1:]
    return places


def _turned(name: str, tensor: Tensor) -> Tensor:
    """Transposes the matrices of blocks, given our name, from the layout there to ours or back."""
    return tensor.T if name.startswith("blocks.") and tensor.ndim == 2 else tensor


def _check(tensors: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], file: Path) -> None:
    """Raises PixelarError unless these are exactly the tensors that are expected."""
    unknown, missing = tensors.keys() - shapes.keys(), shapes.keys() - tensors.keys()
    if unknown:
        raise DataError(f"{file} has {_some(unknown)}: no part of an ImageGPT of this size")
    if missing:
        raise DataError(f"{file} has no {_some(missing)}, which an ImageGPT must have")
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.layout is not torch.strided or tensor.dtype not in FLOATS or tensor.is_meta:
            raise DataError(f"{file}: {name} holds no floating-point numbers")
        if tensor.shape != shape:
            raise DataError(
                f"{file}: {name} has shape {tuple(tensor.shape)} where {CONFIG} requires {shape}"
            )
    # a tensor may claim to be larger than its storage
    if sum(tensor.nbytes for tensor in tensors.values()) > file.stat().st_size:
        raise DataError(f"{file} holds fewer numbers than its tensors claim")
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise DataError(f"{file}: {name} holds numbers that are not finite")


def _some(names: set[str]) -> str:
    """Returns the first of some untrusted names, quoted and shortened."""
    first = ", ".join(f"{name!r:.80}" for name in sorted(names)[:3])
    return first + (f" and {len(names) - 3} more" if len(names) > 3 else "")
