"""The files of an ImageGPT as `transformers` keeps them: read and checked, and written.

A config is accepted only where it agrees with what our net computes, and a file of weights is
trusted only as far as it has been checked.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from torch import Tensor

from pixelar.common.files import read_object, replacing
from pixelar.errors import StorageError
from pixelar.io.foreign.state import read_state
from pixelar.io.restore import holds_tensors
from pixelar.nets.imagegpt import EPSILON

__all__ = ["CONFIG", "Sizes", "read_processor", "read_sizes", "read_tensors", "write_folder"]

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"

# what our net computes; a config that requires something else is of another net
COMPUTED = {
    "model_type": "imagegpt",
    "activation_function": "quick_gelu",
    "layer_norm_epsilon": EPSILON,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "tie_word_embeddings": False,
}
# from a colour value to the scale of the clusters: x / 127.5 - 1
SCALED = {
    "do_color_quantize": True,
    "do_normalize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}

# masks that old versions stored, the only tensors that are not weights
MASK = re.compile(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)")


@dataclass(frozen=True)
class Sizes:
    """The sizes that determine the shapes of all tensors."""

    colours: int
    sites: int
    width: int
    depth: int
    heads: int


def read_sizes(folder: Path) -> Sizes:
    """Reads the sizes in a folder's config, and checks that its net is like ours."""
    file = folder / CONFIG
    config = read_object(file)
    if "model_type" not in config:
        raise StorageError(f"{file} is not a config of transformers: it names no model_type")
    _check_values(config, COMPUTED, file)
    keys = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
    for key in keys:
        if type(config.get(key)) is not int or config[key] < 1:
            raise StorageError(
                f"{file}: {key} must be a whole number from 1; got {config.get(key)!r:.60}"
            )
    tokens, sites, width, depth, heads = (config[key] for key in keys)
    if config.get("n_inner") not in (None, 4 * width):
        raise StorageError(
            f"{file}: n_inner is {config['n_inner']!r:.60}; pixelar has only 4 · n_embd"
        )
    return Sizes(tokens - 1, sites, width, depth, heads)  # the last token is the start


def read_processor(folder: Path, sizes: Sizes) -> tuple[tuple[int, int], Tensor]:
    """Returns the height and width of images, and their colours (V, 3) on the scale 0 … 255."""
    file = folder / PROCESSOR
    if not file.is_file():
        raise StorageError(
            f"{folder} has no file {PROCESSOR}, which holds the colours of the tokens; "
            "it comes with the weights"
        )
    config = read_object(file)
    _check_values(config, SCALED, file)
    clusters = config.get("clusters")
    if not _are_colours(clusters):
        raise StorageError(
            f"{file}: clusters must be colours, each three numbers from -1 to 1; "
            f"got {clusters!r:.60}"
        )
    if len(clusters) != sizes.colours:
        raise StorageError(
            f"{file} has {len(clusters)} clusters, but vocab_size requires {sizes.colours}: "
            "one for each token but the start"
        )
    colours = (torch.tensor(clusters, dtype=torch.float64) + 1) * 127.5
    return _image_size(config.get("size"), sizes.sites, file), colours.float()


def read_tensors(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """Returns the file of weights in a folder, and what it holds by name."""
    for name in (SAFETENSORS, PICKLED):
        if (folder / f"{name}.index.json").is_file():
            raise StorageError(
                f"{folder} has its weights in several files; load it in transformers, and save it "
                "with a larger max_shard_size"
            )
    if (folder / SAFETENSORS).is_file():
        file = folder / SAFETENSORS
        tensors: object = _read_safetensors(file)
    elif (folder / PICKLED).is_file():
        file = folder / PICKLED
        tensors = read_state(file).tensors
    else:
        raise StorageError(f"{folder} has no weights: no file {SAFETENSORS} or {PICKLED}")
    if not holds_tensors(tensors):
        raise StorageError(f"{file} holds no tensors by name")
    return file, {name: t for name, t in tensors.items() if not MASK.fullmatch(name)}


def write_folder(
    folder: Path,
    sizes: Sizes,
    tensors: Mapping[str, Tensor],
    colours: Tensor,
    image_size: tuple[int, int],
    dropout: float,
) -> None:
    """Writes all files, or none, in which case the old ones stay.

    Arguments:
        folder: The folder, which is created if it is missing.
        sizes: The sizes of the net.
        tensors: The weights, by their names in `transformers`.
        colours: With shape (V, 3), on the scale 0 … 255.
        image_size: Height and width.
        dropout: The rate of dropout on the embedding and on what each block adds.
    """
    (dtype,) = {tensor.dtype for tensor in tensors.values()}
    config = {
        "architectures": ["ImageGPTForCausalImageModeling"],
        **COMPUTED,
        "vocab_size": sizes.colours + 1,
        "n_positions": sizes.sites,
        "n_embd": sizes.width,
        "n_layer": sizes.depth,
        "n_head": sizes.heads,
        "n_inner": None,
        "attn_pdrop": 0.0,
        "embd_pdrop": dropout,
        "resid_pdrop": dropout,
        "dtype": str(dtype).removeprefix("torch."),
    }
    processor = {
        "image_processor_type": "ImageGPTImageProcessor",
        **SCALED,
        "do_resize": True,
        "resample": 2,  # bilinear
        "size": dict(zip(("height", "width"), image_size, strict=True)),
        "clusters": (colours.double() / 127.5 - 1).tolist(),
    }
    with (
        replacing(folder / CONFIG) as config_file,
        replacing(folder / PROCESSOR) as processor_file,
        replacing(folder / SAFETENSORS) as tensor_file,
    ):
        tensor_file.write_bytes(save_tensors(dict(tensors), metadata={"format": "pt"}))
        for file, values in ((config_file, config), (processor_file, processor)):
            file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _check_values(config: Mapping[str, Any], wanted: Mapping[str, Any], file: Path) -> None:
    """Raises PixelarError for a value that differs from ours; an absent one does not."""
    for key, value in wanted.items():
        if key in config and config[key] != value:
            raise StorageError(f"{file}: {key} is {config[key]!r:.60}; pixelar has only {value!r}")


def _are_colours(value: object) -> TypeGuard[list[list[float]]]:
    return isinstance(value, list) and all(
        isinstance(colour, list)
        and len(colour) == 3
        and all(type(x) in (int, float) and -1 <= x <= 1 for x in colour)
        for colour in value
    )


def _image_size(size: Any, sites: int, file: Path) -> tuple[int, int]:  # noqa: ANN401
    """Returns the height and width that images are scaled to, which must match n_positions."""
    sides = size if isinstance(size, dict) else {"height": size, "width": size}
    height, width = sides.get("height"), sides.get("width")
    if not (type(height) is type(width) is int and height > 0 and height * width == sites):
        raise StorageError(
            f"{file}: size must be that of images of {sites} pixels, which n_positions requires; "
            f"got {size!r:.60}"
        )
    return height, width


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except Exception as error:  # of any type, where the file was crafted
        raise StorageError(f"{file} is not a safetensors file: {error}") from error
