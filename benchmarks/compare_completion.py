"""Clamping and particles compared: same images, masks and model, and the model's scores of them.

    python benchmarks/compare_completion.py MODEL -d DATA [--root DIR] [-o FILE.png]

Prints, for each mask, the mean negative log-likelihood of the finished images in bits/dim, alone
and against that of the originals, with standard errors over the images. Draws the first images:
the original, what is kept, completions by clamping and by particles.
"""

import argparse
import math
from pathlib import Path

import torch

import pixelar
from pixelar.cli.inputs import data_named
from pixelar.names import Method
from pixelar.plotting import grid, save_picture, show_unknown
from pixelar.sampling.regions import REGIONS

MASKS = {"centre box": "frame", "left half": "right", "scattered": "dots"}  # what is missing, kept
METHODS: tuple[Method, ...] = ("clamp", "particles")

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("model")
parser.add_argument("-d", "--data", required=True)
parser.add_argument("--root", default="data")
parser.add_argument("-n", type=int, default=100, help="test images (default: 100)")
parser.add_argument("--draws", type=int, default=3, help="completions of each (default: 3)")
parser.add_argument("--particles", type=int, default=64)
parser.add_argument("--at-once", type=int, default=60, help="completions (default: 60)")
parser.add_argument("-o", "--output", default="completion.png")
options = parser.parse_args()
options.download = options.fit = options.split = False

model = pixelar.load(options.model)
test = data_named(options, model.image_shape).split("test")
first = torch.arange(len(test.images))[: options.n]
images = model.decode(model.encode(test.images[first]))
labels = test.labels[first] if model.classes and test.labels is not None else None
repeated = images.repeat_interleave(options.draws, 0)
again = None if labels is None else labels.repeat_interleave(options.draws)
_, height, width = model.image_shape


def score(finished: torch.Tensor) -> torch.Tensor:
    """Returns the bits/dim of finished images, mean over the draws of each: (N,)."""
    return pixelar.bits_per_dim(model, finished, again).view(options.n, -1).mean(1)


def completed(known: torch.Tensor, method: Method) -> torch.Tensor:
    """Returns all completions (N · draws, C, H, W), drawn in parts with one seed per part."""
    parts = []
    for start in range(0, len(repeated), options.at_once):
        part = slice(start, start + options.at_once)
        parts.append(
            pixelar.complete(
                model,
                repeated[part],
                known,
                None if again is None else again[part],
                method=method,
                particles=options.particles,
                seed=start,
                progress=True,
            )
        )
    return torch.cat(parts)


def mean(values: torch.Tensor, sign: str = "-") -> str:
    return f"{float(values.mean()):{sign}.4f} ± {float(values.std() / math.sqrt(len(values))):.4f}"


print(f"{options.model}: first {options.n} test images, {options.draws} completions of each")
originals = score(repeated)
print(f"originals             {mean(originals)} bits/dim")
rows = []
for missing, kept in MASKS.items():
    known = REGIONS[kept](height, width)
    given = show_unknown(images, known)
    parts = [images.expand(-1, 3, -1, -1)[:, None], given[:, None]]
    for method in METHODS:
        drawn = completed(known, method)
        bits = score(drawn)
        print(
            f"{missing:12s}{method:10s}{mean(bits)} bits/dim, "
            f"{mean(bits - originals, '+')} against the original",
            flush=True,
        )
        parts.append(drawn.view(options.n, -1, *drawn.shape[1:]).expand(-1, -1, 3, -1, -1))
    rows.append(torch.cat(parts, 1)[:4])
picture = torch.cat(rows)
save_picture(grid(picture.flatten(0, 1), columns=picture.shape[1]), Path(options.output))
print(
    f"{options.output}: original, kept, {options.draws} by clamping, {options.draws} by particles"
)
