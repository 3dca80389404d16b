"""The `pixelar` command: its options, and how mistakes are reported.

Nothing heavy is imported before a command is known, so that `pixelar --help` answers at once.
"""

import argparse
import importlib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import pixelar
from pixelar.errors import Advice, PixelarError, did_you_mean

__all__ = ["main"]

MOST_IMAGES = 10_000  # that are drawn at once
LARGEST_SIDE = 2048  # of the images of a model; in pixelar.restore, which is not loaded here
MOST_ORDERS = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    The code is 2 after a mistake in the input, which is told in one sentence, and 130 after an
    interrupt.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        with advice_in_a_sentence():
            code = run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except PixelarError as error:
        complain(str(error))
    except BrokenPipeError:  # the reader has seen enough, as in `pixelar list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        complain(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        complain("there is not enough memory; ask for fewer images at once (-n, --batch-size)")
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    return 2


def complain(message: str) -> None:
    print(f"pixelar: {message}", file=sys.stderr)


@contextmanager
def advice_in_a_sentence() -> Iterator[None]:
    """Prints advice as mistakes are printed; other warnings stay as they are."""
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
        raise PixelarError(f"command: {did_you_mean(name, COMMANDS)}")
    if name == "fit":  # its options come from the classes that it builds
        from pixelar.cli.fit import fit

        return fit(arguments[1:])
    summary, add_options = COMMANDS[name]
    parser = Parser(f"pixelar {name}", description=summary, allow_abbrev=False)
    add_options(parser)
    options = parser.read(arguments[1:])
    if name == "demo":  # which needs less, and is to be there within seconds
        from pixelar.cli.demo import demo

        return demo(options)
    home = importlib.import_module(f"pixelar.cli.{HOMES.get(name, 'commands')}")
    code: int = home.RUN[name](options)
    return code


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are told like all others, and name the nearest option."""

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Returns the options, having looked for misspelt ones first."""
        known = self._option_string_actions
        for word in arguments:
            name = word.partition("=")[0]
            if word == "--":
                break
            if name.startswith("--") and name not in known:
                longer = [option for option in known if option.startswith(name)]
                raise PixelarError(f"option: {did_you_mean(name, longer or known)}")
        return self.parse_args(arguments)

    def error(self, message: str) -> NoReturn:
        raise PixelarError(f"{message} (see {self.prog} --help)")


def top_parser() -> Parser:
    """Returns the parser of what comes before a command, which has the help on all of them."""
    top = Parser(
        "pixelar",
        usage="pixelar COMMAND ...",
        description="Pixel-autoregressive image models: train, score, sample, complete.",
        epilog="commands:\n"
        + "\n".join(f"  {name:10s}{summary}" for name, (summary, _) in COMMANDS.items())
        + "\n\nOptions of a command: pixelar COMMAND --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=pixelar.__version__)
    return top


def whole(low: int, high: int, words: str = "") -> Callable[[str], int]:
    """Returns a reader of whole numbers in a range, for argparse; it names other words as well."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(
                f"must be {words}a whole number from {low} to {high}; got {text!r:.60}"
            )
        return number

    return read


def sides(text: str) -> tuple[int, int]:
    """Returns the height and width that an option gives as HxW, for argparse."""
    found = re.fullmatch("([0-9]{1,4})x([0-9]{1,4})", text)
    height, width = map(int, found.groups()) if found else (0, 0)
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise argparse.ArgumentTypeError(
            f"must be HxW, such as 32x32, with sides from 1 to {LARGEST_SIDE}; got {text!r:.60}"
        )
    return height, width


def orders(text: str) -> int | str:
    """Reads what `pixelar.evaluate` takes as orders, for argparse."""
    if text in ("one", "symmetries"):
        return text
    return whole(2, MOST_ORDERS, "one, symmetries, or ")(text)


def add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "model", metavar="MODEL", help="a model by name (pixelar list), a folder, or a .ckpt"
    )
    add_trust(command)


def device(text: str) -> str:
    """Reads the name of a device, for argparse; whether there is one is known later."""
    if not re.fullmatch("auto|cpu|mps|cuda(:[0-9]{1,3})?", text):
        raise argparse.ArgumentTypeError(
            f"must be auto, cpu, cuda, cuda:N or mps; got {text!r:.60}"
        )
    return text


def add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device",
        type=device,
        default="auto",
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:1 or mps (default: auto, the best that can run the model)",
    )


def add_trust(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="MODULE.CLASS",
        help="import a net, head or quantizer of your own that the model is made of (repeatable)",
    )


def add_evaluate(command: argparse.ArgumentParser) -> None:
    add_model(command)
    add_device(command)
    option = command.add_argument
    option(
        "-d",
        "--data",
        help="a data set (pixelar list) or a folder of images (default: the data of the run that "
        "trained the model, or what the model's card names)",
    )
    option(
        "--root",
        help="where MNIST and the like are kept (default: data, or where the run had them)",
    )
    option("--download", action="store_true", help="fetch the data set if it is missing")
    option(
        "--split",
        choices=("train", "val", "test", "all"),
        help="default: test, as in the run where the data is the run's; otherwise all images of a "
        "folder without folders for splits",
    )
    option("--limit", type=whole(1, 1 << 31), metavar="N", help="only the first N images")
    option("--fit", action="store_true", help="resize and crop a folder's images to the model's")
    option(
        "--batch-size",
        type=whole(1, 1 << 31),
        metavar="N",
        help="default: what is quick and fits into memory; the figure does not depend on it",
    )
    option("--dtype", choices=("float32", "float64"), default="float32", help="default: float32")
    option(
        "--orders",
        type=orders,
        default="one",
        metavar="N|symmetries",
        help="average the probabilities of an image over N random orders, or over the eight mirror "
        "images of the model's own, for nets that take any order (default: one, not averaged)",
    )
    option(
        "-o",
        "--output",
        metavar="FOLDER",
        help="for folders with card.json and per_image.csv (default: evaluation beside the model, "
        "or evaluations/NAME for a model that comes with pixelar)",
    )


def add_sample(command: argparse.ArgumentParser) -> None:
    add_model(command)
    command.add_argument(
        "-n", type=whole(1, MOST_IMAGES), default=16, help="number of images (default: 16)"
    )
    command.add_argument(
        "--method",
        choices=("auto", "sequential", "compiled", "wavefront", "fixed_point"),
        default="auto",
        help="how to walk: site by site; the same in machine code, with numba; many pixels at "
        "once, where the net allows it; all sites at once until nothing changes. The images are "
        "the same (default: auto, the quickest)",
    )
    add_drawing(command, "samples.png")


def add_complete(command: argparse.ArgumentParser) -> None:
    add_model(command)
    command.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    known = command.add_mutually_exclusive_group(required=True)
    known.add_argument(
        "--keep",
        metavar="REGION",
        help="what is known: top, bottom, left, right, frame (all but the centre), alternate "
        "(every other row), dots (one pixel in nine), or rows:N",
    )
    known.add_argument(
        "--mask",
        metavar="FILE",
        help="a picture of the image's size: white (or 1) is known, black (or 0) is drawn; with an "
        "alpha channel, what is transparent is drawn",
    )
    command.add_argument(
        "--method",
        choices=("auto", "prefix", "known_first", "particles", "clamp"),
        default="auto",
        help="prefix: exact, where what is known comes first in the model's order; known_first: "
        "exact, for nets that take any order; particles: any region, exact as their number grows; "
        "clamp: any region, quick and biased; default: auto, the first of them that applies",
    )
    command.add_argument(
        "--particles",
        type=whole(1, 1 << 20),
        default=64,
        metavar="K",
        help="canvases per completion, for that method (default: 64)",
    )
    command.add_argument(
        "-n", type=whole(1, MOST_IMAGES), default=4, help="completions of each image (default: 4)"
    )
    command.add_argument(
        "--fit",
        action="store_true",
        help="resize and crop images and mask to the model's size; take its nearest levels",
    )
    add_drawing(command, "completions.png")


def add_drawing(command: argparse.ArgumentParser, output: str) -> None:
    add_device(command)
    option = command.add_argument
    option(
        "--label",
        metavar="CLASS",
        help="a class by its name (pixelar info) or its number, for a model that is conditioned on "
        "classes; where a name looks like a number, the name wins",
    )
    option(
        "--temperature",
        type=float,
        default=1.0,
        help="sharpens (below 1) or flattens (above) the distribution of each symbol when it is "
        "drawn, not that of whole images (default: 1)",
    )
    option("--top-k", type=whole(1, 1 << 31), help="keep the k most probable levels of each symbol")
    option(
        "--top-p", type=float, help="keep the most probable levels of each symbol up to this mass"
    )
    option("--seed", type=int, help="the same images again (default: new ones)")
    option("-o", "--output", default=output, metavar="FILE", help=f"default: {output}")


def add_import(command: argparse.ArgumentParser) -> None:
    command.epilog = "example: pixelar import imagegpt-small -o models/imagegpt-small"
    option = command.add_argument
    option("path", metavar="PATH", help="a folder of transformers (ImageGPT), or a .pt, .pth file")
    option("-o", "--output", required=True, metavar="FOLDER", help="the model folder")
    option(
        "--format",
        choices=("imagegpt", "pixelcnnpp"),
        help="what PATH is (default: a folder is an ImageGPT, a file a PixelCNN++)",
    )
    option(
        "--size",
        type=sides,
        metavar="HxW",
        help="height and width of the images of a PixelCNN++, which its weights do not tell "
        "(default: 32x32, or 28x28 for grey)",
    )


def add_export(command: argparse.ArgumentParser) -> None:
    command.epilog = "example: pixelar export runs/mine/model -o for-transformers --format imagegpt"
    option = command.add_argument
    option(
        "model",
        metavar="MODEL",
        help="a .ckpt file; for imagegpt, a name (pixelar list) or a model folder as well",
    )
    option("-o", "--output", required=True, metavar="FOLDER", help="the folder to write")
    option(
        "--format",
        choices=("pixelar", "imagegpt"),
        default="pixelar",
        help="a model folder of ours, or an ImageGPT for transformers (default: pixelar)",
    )
    option("--weights", choices=("ema", "raw"), help="of a .ckpt (default: ema)")
    add_trust(command)


def add_info(command: argparse.ArgumentParser) -> None:
    add_model(command)
    command.add_argument("--json", action="store_true", help="for machines")


def add_demo(command: argparse.ArgumentParser) -> None:
    add_device(command)
    add_trust(command)
    command.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="names (pixelar list), model folders or .ckpt files (default: all that come along)",
    )
    option = command.add_argument
    option(
        "--port",
        type=whole(0, 65535),
        metavar="N",
        help="default: 7860, or the next that is free; 0 for any",
    )
    option("--host", metavar="ADDRESS", help="where to listen (default: 127.0.0.1)")
    option(
        "--public",
        action="store_true",
        help="let other machines connect: without a password, so put it behind a proxy",
    )
    option("--root-path", default="", metavar="PATH", help="where a proxy shows the demo")
    option("--open", action="store_true", help="open the page in a browser")


def add_nothing(command: argparse.ArgumentParser) -> None:
    """`list` and `fit` have no options here."""


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "fit": ("train a model: pixelar fit -c configs/NAME.yaml", add_nothing),
    "evaluate": (
        "exact bits/dim (or bits/token) of a model on a data set, with its protocol",
        add_evaluate,
    ),
    "sample": ("draw images", add_sample),
    "complete": ("draw the missing part of images", add_complete),
    "demo": ("complete, understand and sample pictures in a web page", add_demo),
    "import": ("make a model folder of weights from elsewhere", add_import),
    "export": ("write a model folder from a checkpoint, or a model for transformers", add_export),
    "info": ("describe a model, and what was measured of it", add_info),
    "list": ("list models, nets, heads, scans, quantizers and data sets", add_nothing),
}

# modules of commands that have one of their own; the others are in `commands`
HOMES = {"evaluate": "evaluate", "info": "describe", "list": "listing"}
