"""Trains every family of nets on the same data, for the same time, at the same size, and compares.

    python benchmarks/compare.py digits                    twenty seconds for each net
    python benchmarks/compare.py mnist --root DIR          ten minutes for each
    python benchmarks/compare.py digits PixelCNN ImageGPT  some of them
    python benchmarks/compare.py --document                tables and pictures from the JSON

Results go to docs/comparison/DATA.json, net by net: a run of all replaces it, and one of some
nets adds to what is there. Seconds are those in which the training thread runs: other work costs
none of them, though it may slow the memory that all share.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from comparison.families import build
from comparison.race import race
from comparison.report import draw, load, save, write
from suites.arguments import earlier, positive
from suites.measure import processor
from torch import Tensor

from pixelar.data import MNIST, Digits, ImageData, Split
from pixelar.errors import PixelarError
from pixelar.nets.presets import PRESETS

DOCS = Path(__file__).parents[1] / "docs"
DATA = {  # levels, and by default the parameters of a net and the seconds of its training
    "digits": (Digits, 17, 20_000, 20.0),
    "mnist": (MNIST, 256, 200_000, 600.0),
}


def above_zero(text: str) -> float:
    """Reads a number above zero, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0; got {text!r}")
    return number


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", nargs="?", choices=DATA)
    parser.add_argument("nets", nargs="*", metavar="NET", help=", ".join(PRESETS))
    parser.add_argument("--root", default="data")
    parser.add_argument("--seconds", type=above_zero, help="of training each")
    parser.add_argument("--parameters", type=positive, help="of each net")
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--lr", type=above_zero, default=2e-3)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument(
        "--limit", type=positive, default=1000, help="images to test with; a quarter validates"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="JSON")
    parser.add_argument("--document", action="store_true")
    options = parser.parse_intermixed_args()
    unknown = set(options.nets) - set(PRESETS)
    if unknown or not (options.data or options.document):
        parser.error(
            f"unknown net: {', '.join(sorted(unknown))}; known: {', '.join(PRESETS)}"
            if unknown
            else f"name the data: {', '.join(DATA)}"
        )
    if options.document:
        write(DOCS / "comparison.md")
        for path in (DOCS / "comparison").glob("*.json"):
            print(*draw(path, load(path)[1]), sep="\n")
        return
    torch.set_num_threads(options.threads)
    kind, levels, parameters, seconds = DATA[options.data]
    data: ImageData = kind() if kind is Digits else kind(root=options.root)
    parameters = options.parameters or parameters
    limits: dict[Split, int | None]
    limits = {"train": None, "val": math.ceil(options.limit / 4), "test": options.limit}
    try:
        images: dict[str, Tensor] = {
            split: data.split(split).images[:limit] for split, limit in limits.items()
        }
    except PixelarError as error:
        parser.error(str(error))
    path = options.output or DOCS / "comparison" / f"{options.data}.json"
    protocol: dict[str, Any] = {
        "data": f"{options.data} ({len(images['train']):,} training images, {levels} levels)",
        "seconds": options.seconds or seconds,
        "parameters about": parameters,
        "batch": options.batch_size,
        "learning rate": options.lr,
        "dtype": "float32",
        "test images": len(images["test"]),
        "validation images": len(images["val"]),
        "processor": f"{processor()}, {options.threads} thread(s)",
        "torch": torch.__version__,
    }
    kept = earlier(parser, path, load, protocol) if options.nets else {}
    for name in options.nets or PRESETS:
        model = build(name, data.shape, levels, parameters, seed=0)
        kept[name] = result = race(
            model,
            images,
            budget=protocol["seconds"],
            batch_size=options.batch_size,
            lr=options.lr,
            seed=0,
        )
        print(f"{name}: {result.test[0]:.4f} ± {result.test[1]:.4f} bits/dim", flush=True)
        save(path, protocol, kept)
    print(path, *draw(path, kept), sep="\n")


if __name__ == "__main__":
    main()
