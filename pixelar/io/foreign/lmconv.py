"""Import of LMConv checkpoints saved by its authors' code: tensors are renamed to ours.

    down_layers.1.u_stream.2.conv_input.weight     down.1.2.first.weight
    └ stage      └ block
    down_layers.1.u_stream.2.nin_skip.lin_a        down.1.2.join, its weight norm multiplied out

Masks and PONO have no weights, so only the training options, where the file has them, show the
order and the normalization. Like the authors' code, the import takes the weights of the last step,
not their average, `ema_state_dict`.

References:
    Locally Masked Convolution for Autoregressive Models (Jain et al., 2020),
    https://arxiv.org/abs/2006.12486
    https://github.com/ajayjain/lmconv, the code whose checkpoints these are
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pixelar.errors import DataError, PixelarError
from pixelar.io.foreign.pixelcnnpp import SIDES, mixture_components, mixture_order
from pixelar.io.foreign.state import State, read_state
from pixelar.io.restore import restore
from pixelar.model import PixelModel, build_model

__all__ = ["WEIGHTS", "import_lmconv", "is_lmconv"]

WEIGHTS = "model_state_dict"  # the set of weights that the authors' code loads
SCANS = {"raster_scan": "raster", "s_curve": "snake"}
TURNS = ("base_order_transpose", "base_order_reflect_rows", "base_order_reflect_cols")


def is_lmconv(state: State) -> bool:
    """Returns whether weights have the names of an LMConv."""
    return "downsize_u_stream.0.weight" in state.tensors


def import_lmconv(path: Path | str, *, size: tuple[int, int] | None = None) -> PixelModel:
    """Imports the model in a checkpoint of ajayjain/lmconv, in evaluation mode.

    Arguments:
        path: The file; only tensors and plain values are read from it, nothing is executed.
        size: The height and width of the images, which the weights do not show; None is 32×32 for
            three colors and 28×28 for grey.

    Raises:
        PixelarError: If the file is not such a checkpoint; the message is one sentence.
    """
    state = read_state(Path(path), prefer=WEIGHTS)
    try:
        description = _description(state, size)
        with torch.device("meta"):  # nothing is allocated before all tensors are checked
            expected = build_model(description).state_dict()
        renamed = {}
        for there, here in _names(description["net"]["args"]["depth"]):
            shape = tuple(expected[f"net.{here}.weight"].shape)
            renamed[f"net.{here}.weight"] = _weight(state, there, shape)
            renamed[f"net.{here}.bias"] = state.take(f"{there}.bias", shape[0])
        state.check_empty("LMConv with PONO")
    except PixelarError as error:
        raise DataError(f"{path} cannot be read as an LMConv: {error}") from error
    if description["head"]["name"] == "LogisticMixture":
        order = torch.tensor(mixture_order(description))
        for part in ("weight", "bias"):
            renamed[f"net.out.{part}"] = renamed[f"net.out.{part}"][order]
    return restore(description, renamed, Path(path))


def _description(state: State, size: tuple[int, int] | None) -> dict[str, Any]:
    """Returns the description of the model, from shapes, names and its training options."""
    options = _options(state.rest.get("args"))
    if options.get("normalization", "pono") != "pono":
        raise DataError(
            f"it was trained with --normalization {options['normalization']!r:.40}, and LMConv "
            "here has PONO"
        )
    first, last = state.shape("u_init.weight"), state.shape("nin_out.lin_a.bias")
    if len(first) != 4 or len(last) != 1:
        raise DataError("its first layer is not a convolution, or its last is not linear")
    width, colors, kernel = first[0], first[1] - 1, first[2]
    if colors not in SIDES:
        raise DataError(f"images must have 1 or 3 colors; got {colors}")
    binary = colors == 1 and last[0] == 2  # of black and white pixels, by two logits
    head: dict[str, Any] = {"name": "Categorical", "args": {}}
    if not binary:
        components = mixture_components(colors, last[0])
        head = {"name": "LogisticMixture", "args": {"components": components}}
    side, bits = SIDES[colors], _whole(options, "n_bits", 8)
    if options.get("dataset") == "celebahq":
        side = _whole(options, "celeba_size", side)
    quantizer: dict[str, Any] = {"name": "BitDepth", "args": {"bits": bits}}
    if binary or bits == 8:
        quantizer = {"name": "StochasticBinarisation" if binary else "Identity", "args": {}}
    depth = state.count("up_layers.0.u_stream.{}.conv_input.bias")
    net = {"width": width, "depth": depth, "kernel_size": kernel, "version": 2}
    net["dilation"] = _whole(options, "max_dilation", 2)
    return {
        "image_shape": [colors, *(size or (side, side))],
        "scan": _scan(options),
        "quantizer": quantizer,
        "head": head,
        "net": {"name": "LMConv", "args": net},
    }


def _options(found: object) -> Mapping[str, Any]:
    """Returns the training options, where a file has any."""
    if isinstance(found, argparse.Namespace):
        return vars(found)
    return found if isinstance(found, Mapping) else {}


def _whole(options: Mapping[str, Any], name: str, default: int) -> int:
    """Returns an option that is a whole number from 1."""
    value = options.get(name, default)
    if type(value) is not int or value < 1:
        raise DataError(f"its option {name} must be a whole number from 1; got {value!r:.60}")
    return value


def _scan(options: Mapping[str, Any]) -> str:
    """Returns our name of the order that a model was trained in, alone or among its variants."""
    order = options.get("order", "s_curve")  # a list in the options
    name = order[0] if isinstance(order, (list, tuple)) and len(order) == 1 else order
    if not isinstance(name, str) or name not in SCANS:
        raise DataError(
            f"it was trained in the order {name!r:.60}; those that are read are {', '.join(SCANS)}"
        )
    turned = [turn for turn in TURNS if options.get(turn)]
    variants = options.get("order_variants")  # the first of eight is the order itself
    if variants and (turned or 0 not in variants):
        turned = [f"order_variants {variants!r:.60}"]
    elif options.get("randomize_order"):
        turned = []
    if turned:
        raise DataError(
            f"it was trained in {name} with {', '.join(turned)}; the orders that are read are "
            f"{', '.join(SCANS)} unchanged, or with all eight variants at random"
        )
    return SCANS[name]


def _names(depth: int) -> Iterator[tuple[str, str]]:
    """Yields the layers of a net as they are called there and here."""
    yield "u_init", "stem"
    for s in range(3):
        for way, count in (("up", depth), ("down", depth + (s > 0))):
            for r in range(count):
                there, here = f"{way}_layers.{s}.u_stream.{r}", f"{way}.{s}.{r}"
                yield f"{there}.conv_input", f"{here}.first"
                yield f"{there}.conv_out", f"{here}.second"
                if way == "down":
                    yield f"{there}.nin_skip.lin_a", f"{here}.join"
    for s in range(2):
        yield f"downsize_u_stream.{s}", f"up_between.{s}"
        yield f"upsize_u_stream.{s}", f"down_between.{s}"
    yield "nin_out.lin_a", "out"


def _weight(state: State, name: str, shape: tuple[int, ...]) -> Tensor:
    """Takes the weight of a layer; linear layers have weight norm there, over their inputs."""
    if not name.endswith("lin_a"):
        return state.take(f"{name}.weight", *shape)
    length = state.take(f"{name}.weight_g", shape[0], 1)
    direction = state.take(f"{name}.weight_v", *shape)
    return length * direction / torch.linalg.vector_norm(direction, dim=1, keepdim=True)
