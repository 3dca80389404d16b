"""Says what is wrong with a config or an option, in one sentence with the nearest known name."""

import difflib
import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import lightning as L

from pixelar.cli.fit_options import OPTIONS
from pixelar.data import DATASETS
from pixelar.errors import did_you_mean
from pixelar.heads import HEADS
from pixelar.nets import NETS
from pixelar.quantizers import QUANTIZERS
from pixelar.training import Training
from pixelar.training.data_module import PixelData

__all__ = ["USAGE", "explain"]

USAGE = "fit needs a config: pixelar fit -c NAME (names: pixelar list; options: pixelar fit --help)"

OWNERS: dict[str, Callable] = {"model": Training, "data": PixelData, "trainer": L.Trainer}

# where a config names a class, and the table that the name must come from
TABLES: dict[str, dict[str, Any]] = {
    "model.net": NETS,
    "model.head": HEADS,
    "model.quantizer": QUANTIZERS,
    "data.dataset": {cls.__name__: cls for cls in DATASETS.values()},
}


def explain(message: str) -> str:
    """Returns an error message of jsonargparse as one sentence, with the nearest known name."""
    message = " ".join(message.replace('"<unicode string>", ', "").split())
    found = re.search(r"Parser key \"([^\"]+)\"|Group '([^']+)'|--([\w.]+)\.help:", message)
    key = next(filter(None, found.groups())) if found else ""
    for pattern, sentence in RULES:
        match = re.search(pattern, message)
        if match:
            return sentence(key, match, message)
    return message


def _unknown_class(key: str, match: re.Match, message: str) -> str:
    name = match[1].strip("'\"")
    if key in TABLES and "." in name:
        module = name.rpartition(".")[0]
        return f"{key}: cannot import {module}; is it on Python's path, as the current folder is?"
    if key in TABLES:
        return f"{key}: {did_you_mean(name, TABLES[key])}"
    return f"{key}: there is no class {name!r}; write its full name, as package.module.Class"


def _no_class(key: str, match: re.Match, message: str) -> str:
    names = f", one of {', '.join(sorted(TABLES[key]))}" if key in TABLES else ""
    return f"{key}: expected `class_path:` with the name of a class{names}; got {match[1]}"


def _unknown_key(key: str, match: re.Match, message: str) -> str:
    name = match[1] or match[2]
    if key in TABLES:
        named = [label for label in TABLES[key] if f".{label}'" in message]
        known = [p for label in named for p in _settable(TABLES[key][label])]
        if not known:
            own = re.search(r"class_path '?([\w.]+)'?", message)
            owner = " or ".join(named) or (own[1] if own else "the class")
            return f"{key}: {owner} takes no {name!r}"
    elif key in OWNERS:
        known = _settable(OWNERS[key])
    elif given := re.search(r"class_path '([\w.]+)'", message):  # a logger, a callback
        module, _, name_of_class = given[1].rpartition(".")
        known = _settable(getattr(importlib.import_module(module), name_of_class))
    else:
        known = [*OWNERS, *OPTIONS, "config"]
    return (f"{key}: " if key else "") + did_you_mean(name, known)


def _unknown_option(key: str, match: re.Match, message: str) -> str:
    name = match[1].split("=")[0].split()[0]
    if not name.startswith("--"):
        return f"unexpected {name!r}; a config is given as -c {name}"
    keys = [f"--{owner}.{p}" for owner, cls in OWNERS.items() for p in _settable(cls)]
    keys += [f"--{option}" for option in (*OPTIONS, "config")]
    near = [key for key in keys if key.endswith(f".{name.removeprefix('--')}")]
    near += difflib.get_close_matches(name, keys, n=1, cutoff=0.6)
    return f"unknown option {name}" + (f"; did you mean {near[0]}?" if near else "")


def _wrong_choice(key: str, match: re.Match, message: str) -> str:
    choices = dict.fromkeys(
        _plain(c) for c in re.findall(r"- Expected an? (.+?)(?= - | Given)", message)
    )
    nested = re.fullmatch(r"NestedArg\(key='([\w.]+)', val=(.*)\)", match[1])
    path, value = (f"{key}.{nested[1]}", nested[2]) if nested else (key, match[1])
    return f"{path}: expected {' or '.join(choices)}; got {value}"


def _wrong_value(key: str, match: re.Match, message: str) -> str:
    path = key if key.split(".")[-1] == match[1].split(".")[-1] else f"{key}.{match[1]}"
    return f"{path}: expected {_plain(match[2])}; got {match[3]}"


def _incomplete(key: str, match: re.Match, message: str) -> str:
    names = match[2].split(", ")
    return f"{key}: {match[1].split('.')[-1]} needs {' and '.join(names)} (--{key}.{names[0]} …)"


def _missing(key: str, match: re.Match, message: str) -> str:
    return (
        f"missing {match[1]}; give a config that has it: pixelar fit -c NAME (names: pixelar list)"
    )


def _settable(cls: Callable) -> list[str]:
    """Returns the arguments that a config can set: the rest of the model determines the others."""
    parameters = inspect.signature(cls).parameters.values()
    if cls in (*NETS.values(), *HEADS.values()):
        return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return [p.name for p in parameters if p.name != "shape"]


def _plain(rule: str) -> str:
    """Returns a type in plain notation."""
    rule = re.sub(r"<class '(.*?)'>", r"\1", rule).replace("NoneType", "null")
    return re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", rule).rstrip(".")


# in this order: the specific part of a message comes before the general one around it
RULES: list[tuple[str, Callable[[str, re.Match, str], str]]] = [
    (
        r"class_path '([\w.]+)': the following arguments are required: ([\w, ]+?)(?= - |$)",
        _incomplete,
    ),
    (
        r"class_path '([\w.]+)': Requirement '(\w+)",
        lambda _, m, __: f"{m[1].split('.')[-1]} needs the package {m[2]}: pip install {m[2]}",
    ),
    (r"Expected a dot import path string: (\S+)", _unknown_class),
    (r"has no attribute ('\w+')", _unknown_class),
    (r"(?:No module named|Not possible to import|Unable to import) ('?[\w.]+'?)", _unknown_class),
    (r"(?:but got|but got value) (.+?)\. Got value: ", _no_class),
    (r"[Oo]ption '([^']+)' is not accepted|accept option '([^']+)'", _unknown_key),
    (r"unrecognized arguments: (.+)", _unknown_option),
    (r"Union subtypes .* Given value: (.+)", _wrong_choice),
    (
        r'Parser key "([\w.]+)": Expected an? (.+?)\.? Got value: (.+?)\.?(?= Got value|$)',
        _wrong_value,
    ),
    (r"following arguments are required: (.+)", _missing),
    (r'Parser key "config": (.+)', lambda _, m, __: f"config: {m[1]}"),
    (r"Problems parsing config: (.+)", lambda _, m, __: f"the config is not YAML: {m[1]}"),
    (
        r"Unexpected config: (.+)",
        lambda _, m, __: f"a config has keys, such as model: and data:; got {m[1]}",
    ),
    (
        r'"([\w.]+)": Unable to load config "(.+?)"',
        lambda _, m, __: f"{m[1]}: expected keys; got {m[2]}",
    ),
    (r'Parser key "([\w.]+)": (.+)', lambda _, m, __: f"{m[1]}: {m[2]}"),
]
