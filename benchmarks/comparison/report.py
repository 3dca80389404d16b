"""The comparison as a table and pictures."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from comparison.race import Result

__all__ = ["draw", "load", "save", "write"]

MARK = re.compile(r"(<!-- comparison ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = {
    "net": lambda name, _: name,
    "parameters": lambda _, r: f"{r.numbers['parameters']:,.0f}",
    "test bits/dim": lambda _, r: f"{r.test[0]:.4f} ± {r.test[1]:.4f}",
    "training images/s": lambda _, r: f"{r.numbers['training images/s']:,.0f}",
    "images seen": lambda _, r: f"{r.images[-1]:,}",
    "peak of a step": lambda _, r: f"{r.numbers['peak MB of a step']:,.0f} MB",
    "1 sampled": lambda _, r: seconds(r.numbers["seconds for 1 sampled"]),
    "16 sampled": lambda _, r: seconds(r.numbers["seconds for 16 sampled"]),
}
COSTS = (
    "training images/s",
    "peak MB of a step",
    "seconds for 1 sampled",
    "seconds for 16 sampled",
)


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.0f} ms"


def save(path: Path, protocol: dict[str, Any], results: dict[str, Result]) -> None:
    """Writes results as JSON."""
    content = {"protocol": protocol, "results": {n: asdict(r) for n, r in results.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> tuple[dict[str, Any], dict[str, Result]]:
    """Reads what `save` wrote."""
    content = json.loads(path.read_text())
    results = {name: Result(**values) for name, values in content["results"].items()}
    for result in results.values():
        result.test = (result.test[0], result.test[1])
    return content["protocol"], results


def table(protocol: dict[str, Any], results: dict[str, Result]) -> str:
    """Returns the results, the best first, with their protocol."""
    ordered = sorted(results.items(), key=lambda item: item[1].test[0])
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for name, result in ordered:
        lines.append(f"| {' | '.join(cell(name, result) for cell in COLUMNS.values())} |")
    told = "; ".join(f"{name} {value}" for name, value in protocol.items())
    return "\n".join([*lines, "", f"Protocol: {told}."])


def write(page: Path) -> None:
    """Puts the tables in their places in a document."""

    def found(match: re.Match[str]) -> str:
        content = table(*load(page.parent / "comparison" / f"{match[2]}.json"))
        return f"{match[1]}{content}\n{match[3]}"

    page.write_text(MARK.sub(found, page.read_text()))


def draw(path: Path, results: dict[str, Result]) -> list[Path]:
    """Draws curves and contexts next to the JSON file, and returns the pictures."""
    pictures = [
        path.with_name(f"{path.stem}-{kind}.png") for kind in ("curves", "costs", "context")
    ]
    for picture, figure in zip(pictures, (_curves, _costs, _contexts), strict=True):
        figure(results).savefig(picture)
    return pictures


def _curves(results: dict[str, Result]) -> Figure:
    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    styles = ["-", "--", ":", "-."]
    for k, (name, result) in enumerate(results.items()):
        look = {"label": name, "color": f"C{k % 10}", "linestyle": styles[k // 10], "marker": "."}
        left.plot(result.seconds, result.bits, **look)
        right.plot(result.images, result.bits, **look)
    left.set(xscale="log", xlabel="seconds of training", ylabel="validation bits/dim")
    right.set(xscale="log", xlabel="images seen")
    last = [result.bits[-1] for result in results.values()]
    shown = [b for result in results.values() for b in result.bits[2:]]
    left.set_ylim(min(last) * 0.98, float(np.quantile(shown, 0.95)))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    right.legend(fontsize=8, framealpha=0.6)
    return figure


def _costs(results: dict[str, Result]) -> Figure:
    """Draws a bar for each net, the quickest trained first."""
    ordered = sorted(results.items(), key=lambda item: item[1].numbers["training images/s"])
    names, height = [name for name, _ in ordered], 1.2 + 0.24 * len(ordered)
    figure = Figure(figsize=(11, height), dpi=110, layout="constrained", facecolor="white")
    every = figure.subplots(1, 4, sharey=True)
    for axes, name in zip(every, COSTS, strict=True):
        values = [result.numbers[name] for _, result in ordered]
        axes.barh(names, values, color="C0")
        axes.set(xlabel=name)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    return figure


def _contexts(results: dict[str, Result]) -> Figure:
    columns = min(7, len(results))
    rows = -(-len(results) // columns)
    figure = Figure(
        figsize=(1.7 * columns, 2.0 * rows), dpi=110, layout="constrained", facecolor="white"
    )
    every = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in every:
        axes.axis("off")
    for axes, (name, result) in zip(every, results.items(), strict=False):
        _context(axes, name, result)
    return figure


def _context(axes: Axes, name: str, result: Result) -> None:
    """Draws on a logarithmic scale how much the middle pixel moves; grey is out of its sight."""
    moves, depends = np.array(result.moves), np.array(result.depends, dtype=bool)
    scale = np.log10(np.maximum(moves / max(moves.max(), 1e-30), 1e-4))
    axes.imshow(np.where(depends, scale, np.nan), cmap="magma", vmin=-4, vmax=0)
    axes.set_facecolor("0.85")
    axes.axis("on")
    axes.set_xticks([])
    axes.set_yticks([])
    height, width = moves.shape
    axes.plot(width // 2, height // 2, "s", color="deepskyblue", markersize=3)
    used = (moves >= moves.max() / 10).sum() / max(depends.sum(), 1)
    axes.set_title(f"{name}\n{100 * used:.0f} % used", fontsize=8)
