"""Reading and drawing the curves of runs."""

import csv
from collections.abc import Mapping
from pathlib import Path

from pixelar.pictures import save_curves

__all__ = ["draw_curves", "read_curve"]


def read_curve(run: Path, name: str) -> tuple[list[float], list[float]]:
    """Returns steps and values of a logged quantity over all starts of a run; a later start overrides.

    Arguments:
        run: The run's folder.
        name: The quantity, as `train/bits_per_dim`.
    """
    points: dict[float, float] = {}
    files = (run / "csv").glob("version_*/metrics.csv")
    for file in sorted(files, key=lambda f: int(f.parent.name.split("_")[1])):
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                if row.get(name):
                    points[float(row["step"])] = float(row[name])
    steps = sorted(points)
    return steps, [points[s] for s in steps]


def draw_curves(runs: Mapping[str, Path], path: Path) -> None:
    """Draws the training and validation curves of runs, by name, into one PNG file."""
    curves, unit = [], "dim"
    for title, run in runs.items():
        for part in ("train", "val"):
            for kind in ("dim", "token"):
                steps, values = read_curve(run, f"{part}/bits_per_{kind}")
                if steps:
                    curves.append((f"{title}, {part}", steps, values))
                    unit = kind
    save_curves(curves, path, label=f"bits/{unit}")
