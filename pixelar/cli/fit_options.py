"""The options of a run itself; needs no torch."""

import re
from itertools import pairwise
from typing import Any, NamedTuple

from pixelar.hub.configs import find_config

__all__ = ["OPTIONS", "Option", "locate_configs"]


class Option(NamedTuple):
    """An option of a run: its type, its default, and what it does."""

    kind: type
    default: Any
    help: str


# those of the command itself, next to the ones of the three classes that it builds
OPTIONS = {
    "run": Option(str, None, "folder of this run (default: runs/CONFIG)"),
    "resume": Option(bool, False, "go on from the newest checkpoint of the run"),
    "init": Option(str, None, "begin with the weights of a model: its name, folder or checkpoint"),
    "ema": Option(float, 0.999, "decay of the weights' moving average"),
    "checkpoint_every": Option(int, 500, "steps between checkpoints"),
    "samples": Option(int, 16, "images in the grid drawn at each validation"),
    "seed_everything": Option(int, 0, "seed of the weights, of dropout and of noise"),
}


# option names until version 0.1, which configs of old runs still contain
RENAMED = {"--model.checkpointing": "--model.grad_checkpointing"}


def locate_configs(arguments: list[str]) -> tuple[list[str], str]:
    """Returns the arguments with files in place of configs' names, and the name for a run.

    A run is named after its last config: `digits-imagegpt`, given by name or as a file. Where the
    config is that of a packaged model, `digits-imagegpt/train`, it is named after the model.

    Raises:
        PixelarError: If there is neither a file nor a config of that name.
    """
    located, name = [*arguments], "unnamed"
    for k, (option, value) in enumerate(pairwise([*arguments, ""])):
        joined, separator, inline = option.partition("=")
        if option in ("-c", "--config") and k + 1 < len(arguments):
            name, located[k + 1] = _locate(value)
        elif joined in ("-c", "--config") and separator:
            name, file = _locate(inline)
            located[k] = f"{joined}={file}"
        elif joined in RENAMED:
            located[k] = RENAMED[joined] + separator + inline
    return located, name


def _locate(given: str) -> tuple[str, str]:
    if any(sign in given for sign in ("{", "\n", ": ")):  # YAML itself, which jsonargparse reads
        return "unnamed", given
    file = find_config(given)
    packaged = file.parent.parent.name == "models" and file.stem.startswith("train")
    name, text = file.parent.name if packaged else file.stem, file.read_text(encoding="utf-8")
    renamed = re.sub(r"^(  )checkpointing:", r"\1grad_checkpointing:", text, flags=re.MULTILINE)
    return name, str(file) if renamed == text else renamed
