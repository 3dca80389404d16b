"""Import of PixelCNN++ checkpoints saved by its PyTorch port: tensors are renamed to ours.

    up_layers.0.ul_stream.2.conv_input.conv.weight_v     up.0.2.ul.inner, v
    └ stage     └ stream  └ block

The names of all tensors follow from the sizes, and none may be missing or left over. The weights
are exactly those of `PixelCNNPP`. The head's parameters come in another order, by colour there and
by component here, and each coupling is listed under another colour.

References:
    PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
    https://github.com/pclucas14/pixel-cnn-pp, the port whose checkpoints these are
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from pixelar.errors import DataError, PixelarError
from pixelar.io.foreign.state import State, read_state
from pixelar.io.restore import restore
from pixelar.model import PixelModel, build_model

__all__ = ["SIDES", "import_pixelcnnpp", "mixture_components", "mixture_order"]

SIDES = {1: 28, 3: 32}  # of the images the port trains on: MNIST and CIFAR-10
PARTS = {  # of a layer: there and here
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
    "bias": "bias",
}


def import_pixelcnnpp(path: Path | str, *, size: tuple[int, int] | None = None) -> PixelModel:
    """Imports the model in a checkpoint of pclucas14/pixel-cnn-pp, in evaluation mode.

    Its likelihoods are those of that code, except for levels whose mass there falls below 1e-5,
    where that code replaces the mass by a density.

    Arguments:
        path: The file; only tensors are read from it, nothing is executed.
        size: The height and width of the images, which the weights do not show; None is 32×32 for
            three colours and 28×28 for grey.

    Raises:
        PixelarError: If the file is not such a checkpoint; the message is one sentence.
    """
    state = read_state(Path(path))
    try:
        description = _description(state, size)
        with torch.device("meta"):  # nothing is allocated before all tensors are checked
            model = build_model(description)
        expected, renamed = model.state_dict(), {}
        for there, here in _names(description["net"]["args"]):
            for part, ours in PARTS.items():
                shape = tuple(expected[f"net.{here}.{ours}"].shape)
                name = f"{there}.{part}"
                linear = name.endswith("lin_a.weight_v") or name.endswith("lin_a.weight_g")
                taken = state.take(name, *(shape[:2] if linear else shape))
                renamed[f"net.{here}.{ours}"] = taken.reshape(shape)  # linear is 1×1 here
        state.check_empty("PixelCNN++")
    except PixelarError as error:
        raise DataError(f"{path} cannot be read as a PixelCNN++: {error}") from error
    order = torch.tensor(mixture_order(description))
    for ours in PARTS.values():
        renamed[f"net.out.{ours}"] = renamed[f"net.out.{ours}"][order]
    return restore(description, renamed, Path(path))


def _description(state: State, size: tuple[int, int] | None) -> dict[str, Any]:
    """Returns the description of the model, with sizes from the shapes and names of tensors."""
    first, last = state.shape("u_init.conv.weight_v"), state.shape("nin_out.lin_a.bias")
    if len(first) != 4 or len(last) != 1:
        raise DataError("its first layer is not a convolution, or its last is not linear")
    width, colours = first[0], first[1] - 1
    if colours not in SIDES:
        raise DataError(f"images must have 1 or 3 colours; got {colours}")
    components = mixture_components(colours, last[0])
    stages = state.count("up_layers.{}.u_stream.0.conv_input.conv.bias")
    blocks = state.count("up_layers.0.u_stream.{}.conv_input.conv.bias")
    net = {"width": width, "blocks": blocks, "stages": stages}
    height, columns = size or (SIDES[colours],) * 2
    return {
        "image_shape": [colours, height, columns],
        "scan": "raster",
        "quantizer": {"name": "Identity", "args": {}},
        "head": {"name": "LogisticMixture", "args": {"components": components}},
        "net": {"name": "PixelCNNPP", "args": net},
    }


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


def mixture_components(colours: int, numbers: int) -> int:
    """Returns how many components a mixture has, given its parameters per pixel."""
    each = {1: 3, 3: 10}[colours]
    if not numbers or numbers % each:
        raise DataError(f"a mixture has {each} numbers per component; got {numbers} in all")
    return numbers // each


def mixture_order(description: Mapping[str, Any]) -> list[int]:
    """Returns the index of each parameter of our head in the port, and in code derived from it.

    There, after the logits, each colour has K means, K log-scales and, with three colours,
    K couplings: those of green to red, of blue to red, and of blue to green. Here, all means come
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
