"""Describes a model by names and constructor arguments, and builds it again from them."""

import inspect
from collections.abc import Mapping
from typing import Any

from pixelar.common.arrays import DTYPES
from pixelar.errors import ConfigError, did_you_mean
from pixelar.heads import HEADS, Head
from pixelar.model.pixel_model import PixelModel
from pixelar.nets import NETS, Net
from pixelar.quantizers import QUANTIZERS, Quantizer
from pixelar.scan import build_scan

__all__ = [
    "BASES",
    "LATER",
    "PARTS",
    "build_model",
    "class_of",
    "describe_model",
    "foreign_classes",
]


# options that were added later, each with the value that keeps the earlier behaviour; an option
# with that value is not described, so that descriptions and checksums of older models stay the same
LATER: dict[str, dict[str, Any]] = {
    "ImageGPT": {"bias": False},
    "LMConv": {"version": 1},
    "StochasticBinarisation": {"version": 1},
    "Identity": {"low": 0, "high": None},
    "BitDepth": {"depth": 8},
}


# the tables that names in a description are looked up in
PARTS: dict[str, dict[str, type]] = {"quantizer": QUANTIZERS, "head": HEADS, "net": NETS}


BASES: dict[str, type] = {"quantizer": Quantizer, "head": Head, "net": Net}


def describe_model(model: PixelModel) -> dict[str, Any]:
    """Returns a model as names and constructor arguments, for `build_model`.

    A part whose class is in none of pixelar's tables has a "class", the name to import it by.
    """
    parts = {part: _describe_part(getattr(model, part), PARTS[part]) for part in PARTS}
    described = {"image_shape": list(model.image_shape), "scan": model.net.built_in, **parts}
    if model.image_dtype != model.quantizer.dtype:  # older models have the quantizer's
        described["image_dtype"] = str(model.image_dtype).removeprefix("torch.")
    return described


def _describe_part(module: Net | Head | Quantizer, table: Mapping[str, type]) -> dict[str, Any]:
    kind = type(module)
    if table.get(kind.__name__) is not kind:
        path = f"{kind.__module__}.{kind.__qualname__}"
        return {"name": kind.__name__, "class": path, "args": module.arguments()}
    before = LATER.get(kind.__name__, {})
    args = {k: v for k, v in module.arguments().items() if k not in before or v != before[k]}
    return {"name": kind.__name__, "args": args}


def foreign_classes(model: PixelModel) -> dict[str, type]:
    """Returns the classes of a model's parts that are not pixelar's, by name, as `trust` takes."""
    kinds = {part: type(getattr(model, part)) for part in PARTS}
    return {k.__name__: k for part, k in kinds.items() if PARTS[part].get(k.__name__) is not k}


def class_of(part: str, entry: Mapping[str, Any], trust: Mapping[str, type]) -> type:
    """Returns the class that an entry of a description names.

    Arguments:
        part: "quantizer", "head" or "net".
        entry: Its entry in a description.
        trust: The classes from outside of pixelar that may be built, by name.

    Raises:
        PixelarError: If no class has that name, or it is not a trusted one.
    """
    name = str(entry["name"])
    if "class" not in entry:
        if name not in PARTS[part]:
            raise ConfigError(f"{part}: {did_you_mean(name, PARTS[part])}")
        return PARTS[part][name]
    path = entry["class"]
    if name not in trust:
        raise ConfigError(
            f"{part} {name} is not part of pixelar but the class {path!s:.200}; if you trust its "
            f"code, import it and pass trust={{{name!r}: {name}}}, or --trust {path!s:.200} on the "
            "command line"
        )
    kind = trust[name]
    if not (isinstance(kind, type) and issubclass(kind, BASES[part])):
        raise ConfigError(
            f"trust: {name} must be a subclass of {BASES[part].__name__}; got {kind!r:.60}"
        )
    return kind


def build_model(
    description: Mapping[str, Any], *, trust: Mapping[str, type] | None = None
) -> PixelModel:
    """Builds the untrained model of a description.

    Arguments:
        description: What `describe_model` returned. An option that was added later and is not named
            has the value that keeps the earlier behaviour; see `LATER`.
        trust: The classes from outside of pixelar that may be built, by name; other names are
            looked up in pixelar's tables only, and nothing is imported.
    """

    def lookup(part: str) -> tuple[Any, dict[str, Any]]:
        entry = description[part]
        kind, args = class_of(part, entry, trust or {}), entry["args"]
        args = args if "class" in entry else {**LATER.get(entry["name"], {}), **args}
        known = inspect.signature(kind).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
        for key in [] if takes_any else args:
            if key not in known:
                raise ConfigError(f"{part} {entry['name']}: {did_you_mean(str(key), known)}")
        return kind, args

    c, h, w = description["image_shape"]
    make_quantizer, quantizer_args = lookup("quantizer")
    make_head, head_args = lookup("head")
    make_net, net_args = lookup("net")
    quantizer = make_quantizer(**quantizer_args)
    scan = build_scan(description["scan"], quantizer.symbol_shape((c, h, w)))
    head = make_head(quantizer.levels, scan.symbols, **head_args)
    net = make_net(scan, quantizer.levels, head.num_params, **net_args)
    name = description.get("image_dtype")
    if name is not None and name not in DTYPES:
        raise ConfigError(f"image_dtype: {did_you_mean(str(name), DTYPES)}")
    return PixelModel(net, head, quantizer, (c, h, w), None if name is None else DTYPES[name])
