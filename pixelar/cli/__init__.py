"""The `pixelar` command: its options, and how mistakes are reported.

Nothing heavy is imported before a command is known, so that `pixelar --help` answers at once.
"""

import argparse
import errno
import sys
from collections.abc import Sequence

from pixelar.errors import PixelarError

__all__ = ["main"]

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 2 for a mistake in the input, 130 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["fit"]:
            from pixelar.cli.fit import fit

            return fit(arguments[1:])
        options = parser().parse_args(arguments)
        from pixelar.cli import commands

        return getattr(commands, options.command)(options)
    except PixelarError as error:
        print(f"pixelar: {error}", file=sys.stderr)
    except OSError as error:
        if error.errno not in DISK:
            raise
        print(
            f"pixelar: cannot write {error.filename or 'a file'}: {error.strerror}", file=sys.stderr
        )
    except KeyboardInterrupt:
        print("\npixelar: interrupted", file=sys.stderr)
        return 130
    return 2


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands but `fit`, whose options come from the classes it builds."""
    top = argparse.ArgumentParser(
        "pixelar", description="Pixel-autoregressive image models: train, score, sample, complete."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "fit", help="train a model: pixelar fit -c configs/NAME.yaml", add_help=False
    )
    _add_evaluate(commands.add_parser("evaluate", help="bits/dim of a model on a data set"))
    sample = commands.add_parser("sample", help="draw images")
    _add_model(sample)
    sample.add_argument("-n", type=int, default=16, help="number of images (default: 16)")
    _add_drawing(sample, "samples.png")
    _add_complete(commands.add_parser("complete", help="draw the missing part of images"))
    export = commands.add_parser("export", help="turn a training checkpoint into a model folder")
    export.add_argument("checkpoint", metavar="CHECKPOINT", help="a .ckpt file")
    export.add_argument("-o", "--output", required=True, metavar="FOLDER", help="the model folder")
    export.add_argument("--weights", choices=("ema", "raw"), default="ema", help="default: ema")
    _add_model(commands.add_parser("info", help="describe a model"))
    commands.add_parser("list", help="list nets, heads, scans, quantizers and data sets")
    return top


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a model folder or a .ckpt file")


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    command.add_argument(
        "-d", "--data", required=True, help="a data set (see pixelar list) or a folder of images"
    )
    command.add_argument(
        "--root", default="data", help="where MNIST and the like are kept (default: data)"
    )
    command.add_argument(
        "--download", action="store_true", help="fetch the data set if it is missing"
    )
    command.add_argument(
        "--split", choices=("train", "val", "test"), default="test", help="default: test"
    )
    command.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    command.add_argument(
        "--fit", action="store_true", help="resize and crop a folder's images to the model's size"
    )
    command.add_argument(
        "--batch-size", type=int, default=64, help="default: 64; the figure does not depend on it"
    )
    command.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="default: float32"
    )
    command.add_argument(
        "-o",
        "--output",
        metavar="FOLDER",
        help="for card.json and per_image.csv (default: beside the model)",
    )


def _add_complete(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    command.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    command.add_argument(
        "--keep",
        nargs="+",
        required=True,
        metavar="REGION",
        help="what is known: top, left, 'rows N', or a mask file whose white pixels are known",
    )
    command.add_argument("-n", type=int, default=4, help="completions of each image (default: 4)")
    command.add_argument(
        "--fit", action="store_true", help="resize and crop images to the model's size"
    )
    _add_drawing(command, "completions.png")


def _add_drawing(command: argparse.ArgumentParser, output: str) -> None:
    command.add_argument(
        "--label", type=int, help="class, for a model that is conditioned on classes"
    )
    command.add_argument("--temperature", type=float, default=1.0, help="default: 1")
    command.add_argument("--top-k", type=int, help="keep the k most probable levels")
    command.add_argument(
        "--top-p", type=float, help="keep the most probable levels up to this mass"
    )
    command.add_argument("--seed", type=int, help="the same images again (default: new ones)")
    command.add_argument(
        "-o", "--output", default=output, metavar="FILE", help=f"default: {output}"
    )
