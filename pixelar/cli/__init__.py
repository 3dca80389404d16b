"""The `pixelar` command: its options, and how mistakes are reported.

Nothing heavy is imported before a command is known, so that `pixelar --help` answers at once.
"""

import argparse
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from pixelar._version import __version__
from pixelar.cli.processes import settle_processes
from pixelar.cli.table import COMMANDS
from pixelar.errors import Advice, ConfigError, PixelarError, did_you_mean, extras

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    The code is 2 after a mistake in the input, which is reported in one sentence, and 130 after
    an interrupt.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may not be valid text
    try:
        with advice_in_a_sentence():
            code = run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except PixelarError as error:
        complain(str(error))
    except BrokenPipeError:  # the reader has closed the pipe, as in `pixelar list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        complain(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        complain("there is not enough memory; use fewer images at once (-n, --batch-size)")
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    return 2


def complain(message: str) -> None:
    print(f"pixelar: {message}", file=sys.stderr)


@contextmanager
def advice_in_a_sentence() -> Iterator[None]:
    """Prints advice in the form of error messages; other warnings stay as they are."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def tell(message: Warning | str, category: type[Warning], *rest: Any) -> None:  # noqa: ANN401
            if issubclass(category, Advice):
                complain(str(message))
            else:
                show(message, category, *rest)

        warnings.showwarning = tell  # type: ignore[assignment]
        yield


def run(arguments: list[str]) -> int:
    """Runs the command that the arguments name."""
    name = next(iter(arguments), "--help")
    if name.startswith("-"):
        top_parser().parse_args([name])
    if name not in COMMANDS:
        raise ConfigError(f"command: {did_you_mean(name, COMMANDS)}")
    settle_processes()
    with extras(f"pixelar {name}"):
        return run_command(name, arguments[1:])


def run_command(name: str, arguments: list[str]) -> int:
    """Runs a command with its arguments."""
    command = COMMANDS[name]
    if command.add_options is None:
        return command.load()(arguments)
    parser = Parser(f"pixelar {name}", description=command.summary, allow_abbrev=False)
    command.add_options(parser)
    options = parser.read(arguments)
    return command.load()(options)


# options as they were called before
RENAMED = {("pixelar sample", "--method"): "--schedule"}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are reported like all others, and name the nearest option."""

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Rejects misspelt options first, then returns the parsed ones."""
        known, words = self._option_string_actions, list(arguments)
        for k, word in enumerate(arguments):
            name = word.partition("=")[0]
            if word == "--":
                break
            if name.startswith("--") and name not in known:
                if new := RENAMED.get((self.prog, name)):
                    raise ConfigError(f"option: {name} is called {new} since version 0.2")
                longer = [option for option in known if option.startswith(name)]
                raise ConfigError(f"option: {did_you_mean(name, longer or known)}")
            option = known.get(word)
            if option and option.nargs == "?" and not self._takes(option, words[k + 1 : k + 2]):
                words[k] = f"{word}={option.const}"  # the next word is not its value
        return self.parse_args(words)

    def _takes(self, option: argparse.Action, following: Sequence[str]) -> bool:
        """Returns whether an option takes the word that follows it, if any."""
        try:
            return all(self._get_value(option, word) for word in following)
        except argparse.ArgumentError:
            return False

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def top_parser() -> Parser:
    """Returns the parser of options before a command, whose help lists all commands."""
    top = Parser(
        "pixelar",
        usage="pixelar COMMAND ...",
        description="Pixel-autoregressive image models: train, score, sample, complete.",
        epilog="commands:\n"
        + "\n".join(f"  {name:10s}{command.summary}" for name, command in COMMANDS.items())
        + "\n\nOptions of a command: pixelar COMMAND --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=__version__)
    return top
