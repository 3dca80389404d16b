"""The options of the commands, as argparse takes them; needs no torch."""

import argparse

from pixelar.cli.numbers import device, orders, real, resize, sides, whole
from pixelar.names import METHODS, SCHEDULES
from pixelar.names.limits import Limit

__all__ = [
    "add_complete",
    "add_demo",
    "add_evaluate",
    "add_export",
    "add_import",
    "add_info",
    "add_sample",
]

MOST_IMAGES = 10_000  # that are drawn at once
SEEDS = 1 << 63  # on either side of 0


def add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "model", metavar="MODEL", help="a model by name (pixelar list), a folder, or a .ckpt"
    )
    add_trust(command)


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
        help="import a net, head or quantizer of your own that the model uses (repeatable)",
    )


def add_fit(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument(
        "--fit",
        nargs="?",
        type=resize,
        const="crop",
        default=False,
        metavar="crop|processor",
        help=f"resize {what}: crop cuts out the centre (Lanczos, the default if no word is given), "
        "processor squashes (bilinear, as ImageGPT's image processor does)",
    )


def add_evaluate(command: argparse.ArgumentParser) -> None:
    add_model(command)
    add_device(command)
    option = command.add_argument
    option(
        "-d",
        "--data",
        help="a data set (pixelar list), a folder of images, or a .npy, .npz or .pt file of "
        "integers (default: the data of the run that trained the model, or what the model's card "
        "names)",
    )
    option(
        "--root",
        help="where MNIST and the like are kept (default: data, or where the run had them)",
    )
    option("--download", action="store_true", help="fetch the data set if it is missing")
    option(
        "--split",
        choices=("train", "val", "test", "all"),
        help="default: test; for a folder without split folders, all its images, unless the "
        "model's run recorded a split of it",
    )
    option(
        "--layout",
        choices=("NHW", "NHWC", "NCHW"),
        help="the order of the axes of a file of arrays, which is needed where there are four",
    )
    option("--limit", type=whole(1, 1 << 31), metavar="N", help="only the first N images")
    add_fit(command, "a folder's images to the model's size")
    option(
        "--batch-size",
        type=whole(1, 1 << 31),
        metavar="N",
        help="default: what is quick and fits into memory; the score does not depend on it",
    )
    option("--dtype", choices=("float32", "float64"), default="float32", help="default: float32")
    option(
        "--orders",
        type=orders,
        default="one",
        metavar="N|symmetries",
        help="average the probabilities of an image over N random orders, or over the eight "
        "symmetries of the model's own, for any-order nets (default: one, not averaged)",
    )
    option(
        "-o",
        "--output",
        metavar="FOLDER",
        help="where folders with report.json and per_image.csv are written (default: evaluation "
        "next to the model, or evaluations/NAME for a packaged model)",
    )


def add_sample(command: argparse.ArgumentParser) -> None:
    add_model(command)
    command.add_argument(
        "-n", type=whole(1, MOST_IMAGES), default=16, help="number of images (default: 16)"
    )
    add_schedule(command)
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
        choices=METHODS,
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
        help="canvases per completion, for method particles (default: 64)",
    )
    command.add_argument(
        "-n", type=whole(1, MOST_IMAGES), default=4, help="completions of each image (default: 4)"
    )
    add_schedule(command)
    add_fit(command, "images and mask to the model's size, and take its nearest levels")
    add_drawing(command, "completions.png")


def add_schedule(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="auto",
        help="in which order sites are drawn, and how many at once. sequential: site by site; "
        "compiled: row by row in machine code, with numba; wavefront: many pixels at once, where "
        "the net allows it; fixed_point: all sites at once until nothing changes. The images are "
        "the same (default: auto, the quickest)",
    )


def add_drawing(command: argparse.ArgumentParser, output: str) -> None:
    add_device(command)
    option = command.add_argument
    option(
        "--label",
        metavar="CLASS",
        help="a class by its name (pixelar info) or its number, for a model that is conditioned on "
        "classes; where a name looks like a number, the name takes precedence",
    )
    option(
        "--temperature",
        type=real(Limit(0)),
        metavar="X",
        default=1.0,
        help="sharpens (below 1) or flattens (above) the distribution of each symbol when it is "
        "drawn, not that of whole images (default: 1)",
    )
    option(
        "--top-k",
        type=whole(1, 1 << 31),
        metavar="N",
        help="keep the k most probable levels of each symbol",
    )
    option(
        "--top-p",
        type=real(Limit(0, 1, above=True)),
        metavar="X",
        help="keep the most probable levels of each symbol up to this mass",
    )
    option(
        "--seed",
        type=whole(-SEEDS, SEEDS - 1),
        default=0,  # the same command draws the same images and estimates again
        metavar="N",
        help="a different number draws different images (default: 0)",
    )
    option("-o", "--output", default=output, metavar="FILE", help=f"default: {output}")


def add_import(command: argparse.ArgumentParser) -> None:
    command.epilog = "example: pixelar import imagegpt-small -o models/imagegpt-small"
    option = command.add_argument
    option("path", metavar="PATH", help="a folder of transformers (ImageGPT), or a .pt, .pth file")
    option("-o", "--output", required=True, metavar="FOLDER", help="the model folder")
    option(
        "--format",
        choices=("imagegpt", "pixelcnnpp", "lmconv"),
        help="format of PATH (default: imagegpt for a folder; by its tensors for a file)",
    )
    option(
        "--size",
        type=sides,
        metavar="HxW",
        help="height and width of the images of a PixelCNN++ or LMConv, which the weights do not "
        "determine (default: 32x32, or 28x28 for grey)",
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
        help="a pixelar model folder, or an ImageGPT for transformers (default: pixelar)",
    )
    option("--weights", choices=("ema", "raw"), help="which weights of a .ckpt (default: ema)")
    add_trust(command)


def add_info(command: argparse.ArgumentParser) -> None:
    add_model(command)
    command.add_argument("--json", action="store_true", help="print JSON")


def add_demo(command: argparse.ArgumentParser) -> None:
    add_device(command)
    add_trust(command)
    command.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="names (pixelar list), model folders or .ckpt files (default: all packaged models)",
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
    option("--root-path", default="", metavar="PATH", help="path under which a proxy shows it")
    option("--open", action="store_true", help="open the page in a browser")
