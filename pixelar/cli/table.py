"""The table of commands: what each does, its options, and the function that runs it.

The functions are named by text, so that `pixelar --help` imports none of them, nor torch.
"""

import argparse
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from pixelar.cli import options

__all__ = ["COMMANDS", "Command"]


class Command(NamedTuple):
    """A command.

    Attributes:
        summary: What it does, for the help.
        function: The function that runs it and returns its exit code: "module:name", in
            `pixelar.cli`.
        add_options: Adds its options to a parser, whose result the function takes. None if the
            function takes the arguments as they are.
    """

    summary: str
    function: str
    add_options: Callable[[argparse.ArgumentParser], None] | None

    def load(self) -> Callable[[Any], int]:
        """Imports the function."""
        module, name = self.function.split(":")
        function: Callable[[Any], int] = getattr(
            importlib.import_module(f"pixelar.cli.{module}"), name
        )
        return function


def no_options(command: argparse.ArgumentParser) -> None:
    """Adds nothing."""


COMMANDS = {
    # its options come from the classes that it builds
    "fit": Command("train a model: pixelar fit -c CONFIG", "fit_help:fit_or_help", None),
    "evaluate": Command(
        "exact bits/dim (bits/token, bits/code) of a model on a data set, with its protocol",
        "evaluate:evaluate",
        options.add_evaluate,
    ),
    "sample": Command("draw images", "draw:sample", options.add_sample),
    "complete": Command("draw the missing part of images", "draw:complete", options.add_complete),
    "demo": Command(
        "complete, understand and sample pictures in a web page", "demo:demo", options.add_demo
    ),
    "import": Command(
        "make a model folder from weights of another program",
        "exchange:import_weights",
        options.add_import,
    ),
    "export": Command(
        "write a model folder from a checkpoint, or a model for transformers",
        "exchange:export_model",
        options.add_export,
    ),
    "info": Command("describe a model and its scores", "describe:info", options.add_info),
    "list": Command(
        "list models, configs, nets, heads, scans, quantizers and data sets",
        "listing:list_names",
        no_options,
    ),
}
