"""Checkpoints of PixelCNN++ as its PyTorch port saves them, renamed to be a model of ours.

    up_layers.0.ul_stream.2.conv_input.conv.weight_v     up.0.2.ul.inner, v
    └ stage     └ stream  └ block

The names of all tensors are made from the sizes, and none may be missing or left over. The weights
are those of `PixelCNNPP` to the letter. The head's parameters come in another order, by colour
there and by component here, and each coupling stands with another colour.

References:
    PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
    https://github.com/pclucas14/pixel-cnn-pp, the port whose checkpoints these are
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pixelar.errors import PixelarError
from pixelar.importing.imagegpt import FLOATS
from pixelar.model import PixelModel, build_model
from pixelar.restore import restore

__all__ = ["import_pixelcnnpp"]

SIDES = {1: 28, 3: 32}  # of the images the port trains on: MNIST and CIFAR-10
PARTS = {  # of a layer: there and here
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
    "bias": "bias",
}


def import_pixelcnnpp(path: Path | str, *, size: tuple[int, int] | None = None) -> PixelModel:
    """Returns the model in a checkpoint of pclucas14/pixel-cnn-pp, in evaluation mode.

    Its likelihoods are those of that code but for the levels whose mass there falls below 1e-5,
    where it takes a density for the mass.

    Arguments:
        path: The file; only tensors are read from it, nothing is executed.
        size: The height and width of the images, which the weights do not tell: 32×32 for three
            colours and 28×28 for grey where it is None.

    Raises:
        PixelarError: If the file is no such checkpoint, in one sentence.
    """
    state = _read(Path(path))
    try:
        description = _description(state, size)
        with torch.device("meta"):  # nothing is allocated before all tensors are there
            model = build_model(description)
        expected, renamed = model.state_dict(), {}
        for there, here in _names(description["net"]["args"]):
            for part, ours in PARTS.items():
                value = _take(state, f"{there}.{part}", tuple(expected[f"net.{here}.{ours}"].shape))
                renamed[f"net.{here}.{ours}"] = value
        if state:
            raise PixelarError(f"it has a tensor that PixelCNN++ has not: {min(state)!r}")
    except PixelarError as error:
        raise PixelarError(f"{path} cannot be read as a PixelCNN++: {error}") from error
    order = torch.tensor(_order(description))
    for ours in PARTS.values():
        renamed[f"net.out.{ours}"] = renamed[f"net.out.{ours}"][order]
    return restore(description, renamed, Path(path))


def _read(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a file by name, without the prefix of models trained on many GPUs."""
    if not path.is_file():
        raise PixelarError(f"no checkpoint at {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise PixelarError(f"{path} is not a readable checkpoint: {reason}") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise PixelarError(f"{path} cannot be read as a PixelCNN++: it holds no tensors by name")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _description(state: Mapping[str, Tensor], size: tuple[int, int] | None) -> dict[str, Any]:
    """Returns the description of the model, with sizes by the shapes and the names of tensors."""
    first, last = (_shape(state, name) for name in ("u_init.conv.weight_v", "nin_out.lin_a.bias"))
    if len(first) != 4 or len(last) != 1:
        raise PixelarError("its first layer is no convolution or its last no linear layer")
    width, colours = first[0], first[1] - 1
    if colours not in SIDES:
        raise PixelarError(f"images must have 1 or 3 colours; got {colours}")
    each = {1: 3, 3: 10}[colours]
    if not last[0] or last[0] % each:
        raise PixelarError(f"a mixture has {each} numbers per component; got {last[0]} in all")
    stages = _count(state, "up_layers.{}.u_stream.0.conv_input.conv.bias")
    blocks = _count(state, "up_layers.0.u_stream.{}.conv_input.conv.bias")
    net = {"width": width, "blocks": blocks, "stages": stages}
    height, columns = size or (SIDES[colours],) * 2
    return {
        "image_shape": [colours, height, columns],
        "scan": "raster",
        "quantizer": {"name": "Identity", "args": {}},
        "head": {"name": "LogisticMixture", "args": {"components": last[0] // each}},
        "net": {"name": "PixelCNNPP", "args": net},
    }


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in state:
        raise PixelarError(f"it lacks the tensor {name!r}")
    return tuple(state[name].shape)


def _count(state: Mapping[str, Tensor], name: str) -> int:
    """Returns how many tensors have this name with the numbers 0, 1, 2 … in it."""
    count = 0
    while name.format(count) in state:
        count += 1
    if not count:
        raise PixelarError(f"it lacks the tensor {name.format(0)!r}")
    return count


def _names(sizes: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yields the layers of a net of these sizes as they are called there and here."""
    stages, blocks = sizes["stages"], sizes["blocks"]
    yield "u_init.conv", "u_stem"
    yield "ul_init.0.conv", "ul_stem_above"
    yield "ul_init.1.conv", "ul_stem_left"
    for s in range(stages):
        for way, count in (("up", blocks), ("down", blocks + (s > 0))):
            for r in range(count):
                for stream in ("u", "ul"):
                    there = f"{way}_layers.{s}.{stream}_stream.{r}"
                    here = f"{way}.{s}.{r}.{stream}"
                    yield f"{there}.conv_input.conv", f"{here}.inner"
                    yield f"{there}.conv_out.conv", f"{here}.outer"
                    if (way, stream) != ("up", "u"):
                        yield f"{there}.nin_skip.lin_a", f"{here}.short"
    for s in range(stages - 1):
        for stream in ("u", "ul"):
            yield f"downsize_{stream}_stream.{s}.conv", f"halve_{stream}.{s}"
            yield f"upsize_{stream}_stream.{s}.deconv", f"double_{stream}.{s}"
    yield "nin_out.lin_a", "out"


def _take(state: dict[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    """Takes a tensor out of the state, in the shape it has here: linear layers are 1×1 there."""
    found = _shape(state, name)
    if "lin_a.weight" in name and len(found) == 2:
        found = (*found, 1, 1)
    if found != shape:
        raise PixelarError(f"tensor {name!r} has the shape {found} where {shape} is expected")
    value = state.pop(name)
    if value.layout is not torch.strided or value.dtype not in FLOATS or value.is_meta:
        raise PixelarError(f"tensor {name!r} holds no floating-point numbers")
    if not value.isfinite().all():
        raise PixelarError(f"tensor {name!r} holds numbers that are not finite")
    return value.reshape(shape)


def _order(description: Mapping[str, Any]) -> list[int]:
    """Returns where each parameter of our head is among those of the port.

    There, after the logits, each colour has K means, K log-scales and, of three colours, K
    couplings: those of green to red, of blue to red, and of blue to green. Here, all means come
    first, then all log-scales, then all couplings, each by component.
    """
    components = description["head"]["args"]["components"]
    colours = description["image_shape"][0]
    kinds = 3 if colours == 3 else 2
    by_component = [
        components * (1 + kinds * colour + kind) + k
        for kind in range(kinds)
        for k in range(components)
        for colour in range(colours)
    ]
    return [*range(components), *by_component]
