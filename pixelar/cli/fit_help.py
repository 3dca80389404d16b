"""`pixelar fit --help`: the common options, without importing torch, which takes seconds.

Names, types, choices and defaults are read from the sources of `Training` and `PixelData`.
"""

import argparse
import ast
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from pixelar.cli.fit_options import OPTIONS
from pixelar.names.defaults import TRAINER_DEFAULTS

__all__ = ["ABOUT", "Argument", "arguments_of", "fit_help", "fit_or_help"]

PACKAGE = Path(__file__).parents[1]
WIDEST = 100  # columns

CLASSES = {
    "model": (PACKAGE / "training" / "module.py", "Training"),
    "data": (PACKAGE / "training" / "data_module.py", "PixelData"),
}

ABOUT = {
    "model.net": "the net",
    "model.head": "distribution of a symbol or pixel",
    "model.quantizer": "how images become symbols",
    "model.scan": "order of generation",
    "model.orders": "training orders, for any-order nets",
    "model.optimizer": "optimizer",
    "model.lr": "learning rate after the warm-up",
    "model.warmup_steps": "steps of warm-up",
    "model.betas": "decay rates of AdamW",
    "model.weight_decay": "weight decay",
    "model.corruption": "share of symbols replaced at random",
    "model.compile": "compile the net and the loss",
    "model.grad_checkpointing": "less memory for more time",
    "data.dataset": "the images",
    "data.batch_size": "images per batch and process",
    "data.eval_batch_size": "the same for validation",
    "data.workers": "data-loading processes",
    "data.seed": "seed of the order of the images",
}

# the common ones of some forty; the rest is under --help-all
TRAINER = {
    "max_steps": ("N", "training steps"),
    "val_check_interval": ("N", "batches between validations"),
    "accumulate_grad_batches": ("N", "batches per step (default: 1)"),
    "precision": ("NAME", "such as 32-true, bf16-mixed (default: 32-true)"),
    "devices": ("N", "GPUs, or processes on a CPU (default: auto)"),
}

EPILOG = """\
names of configs, nets, data sets, …:  pixelar list
options of one of them:                pixelar fit --model.net.help NAME
all options, including Lightning's:    pixelar fit --help-all
example: pixelar fit -c digits-imagegpt --run runs/mine --model.lr 1e-3
"""

METAVARS = {
    "str": "NAME",
    "int": "N",
    "float": "X",
    "bool": "true|false",
    "tuple[float, float]": "[X,X]",
}


class Argument(NamedTuple):
    """An argument of a class, with annotation and default as its source has them."""

    name: str
    annotation: str
    default: str | None


def arguments_of(file: Path, name: str) -> list[Argument]:
    """Returns the arguments of a class's constructor, without importing its file.

    Arguments:
        file: The source file.
        name: The class, at the top level of the file.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    cls = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    init = next(n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    arguments, defaults = init.args.args[1:], init.args.defaults
    missing: list[ast.expr | None] = [None] * (len(arguments) - len(defaults))
    return [
        Argument(
            argument.arg,
            ast.unparse(argument.annotation) if argument.annotation else "",
            ast.unparse(default) if default else None,
        )
        for argument, default in zip(arguments, [*missing, *defaults], strict=True)
    ]


def fit_help() -> str:
    """Returns the help of `pixelar fit`, as wide as the terminal, up to 100 columns."""
    width = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    parser = argparse.ArgumentParser(
        "pixelar fit",
        usage="pixelar fit -c CONFIG [options]",
        description="Trains what a config describes, into a folder of its own.",
        epilog=EPILOG,
        add_help=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=39, width=width
        ),
    )
    option = parser.add_argument_group("run").add_argument
    option("-c", "--config", metavar="CONFIG", help="name of a config, or a file")
    for name, (kind, default, about) in OPTIONS.items():
        if kind is bool:
            option(f"--{name}", action="store_true", help=about)
        else:
            option(f"--{name}", metavar=METAVARS[kind.__name__], help=_with(default, about))
    for title, (file, cls) in CLASSES.items():
        option = parser.add_argument_group(title).add_argument
        for argument in arguments_of(file, cls):
            if argument.name not in ("shape", "image_dtype"):  # which come from the data
                metavar = METAVARS.get(argument.annotation.removesuffix(" | None"), "NAME")
                option(f"--{title}.{argument.name}", metavar=metavar, help=_about(title, argument))
    option = parser.add_argument_group("trainer").add_argument
    for name, (metavar, about) in TRAINER.items():
        about = _with(TRAINER_DEFAULTS.get(name), about)
        option(f"--trainer.{name}", metavar=metavar, help=about)
    return parser.format_help()


def fit_or_help(arguments: list[str]) -> int:
    """Trains, or prints the help where the arguments request it."""
    if {"-h", "--help"} & {*arguments}:
        print(fit_help(), end="")
        raise SystemExit(0)  # as argparse ends where it has printed the help of a command
    from pixelar.cli.fit import fit

    return fit(arguments)


def _about(title: str, argument: Argument) -> str:
    """Returns what an argument does, its choices and its default."""
    about = ABOUT.get(f"{title}.{argument.name}", "")
    choices = re.findall("'([^']+)'", argument.annotation)
    if choices:
        about += f": {', '.join(choices)}"
    default = None if argument.default is None else ast.literal_eval(argument.default)
    return _with(default, about)


def _with(default: object, about: str) -> str:
    """Returns what an option does and its default, which is left out if it is None."""
    if isinstance(default, bool):
        default = str(default).lower()
    elif isinstance(default, tuple):
        default = [*default]
    return about if default is None else f"{about} (default: {default})"
