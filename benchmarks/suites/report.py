"""Tables and plots of what was measured: on the screen, in the documents, as pictures."""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pixelar.common.files import replacing
from suites.measure import Row, ratio, spread
from suites.scaling import MEMORY, THEORY, exponent

__all__ = ["draw", "load", "markdown", "save", "summary", "text"]

Results = Mapping[str, list[Row]]
SWEEPS = {"batches": "batch", "pixels": "pixels", "depths": "depth"}  # suites, and what they vary


def text(rows: Iterable[Row]) -> str:
    """Returns rows as lines for the screen."""
    lines = []
    for row in rows:
        lines.append(row.case)
        for name, times in row.seconds.items():
            lines.append(f"  {name:28s}{spread(times):>30s}{ratio(row, name):10.3g} ×")
        lines += [f"  {name}: {_number(value)}" for name, value in row.numbers.items()]
    return "\n".join(lines)


def markdown(suite: str, rows: list[Row]) -> str:
    """Returns rows as a table, and fitted exponents where the number of pixels varies."""
    lines = [
        "| case | contender | min / median / max (runs) | × reference | |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        for k, (name, times) in enumerate(row.seconds.items()):
            own = [
                f"{key.removeprefix(f'{name}: ')} {_number(value)}"
                for key, value in row.numbers.items()
                if key.startswith(f"{name}: ")
            ]
            if k == 0:
                names = [f"{n}: " for n in row.seconds]
                own += [
                    f"{key} {_number(value)}"
                    for key, value in row.numbers.items()
                    if not key.startswith(tuple(names))
                ]
            against = "reference" if name == row.reference else f"**{ratio(row, name):.3g}**"
            case = row.case if k == 0 else ""
            runs = f"{spread(times)} ({len(times)})"
            lines.append(f"| {case} | {name} | {runs} | {against} | {'; '.join(own)} |")
    if suite == "pixels":
        lines += ["", *_exponents(rows)]
    return "\n".join(lines)


def summary(rows: list[Row]) -> str:
    """Returns how long the quickest way to sample takes, a line for each net."""
    nets: dict[str, list[Row]] = {}
    for row in rows:
        nets.setdefault(row.case.partition(" ")[0], []).append(row)
    lines = [
        "| net | 1 image | 16 images | 64 images | in forwards | times as fast as re-running |",
        "|---|---|---|---|---|---|",
    ]
    for net, own in nets.items():
        times: list[str] = []
        forwards: list[str] = []
        faster: list[str] = []
        for batch in (1, 16, 64):
            found = next((r for r in own if r.case.endswith(f", batch {batch}")), None)
            if found is None:
                for cells in (times, forwards, faster):
                    cells.append("–")
                continue
            walk = str(found.numbers["schedule auto"])
            name = "cached" if walk == "sequential" else walk
            times.append(f"{_middle(found.seconds[name])}, {name}")
            forwards.append(f"{ratio(found, name):.2g}")
            again = ratio(Row(found.case, name, found.seconds), "naive (extrapolated)")
            faster.append(f"{again:,.0f}×")
        line = (net, *times, " / ".join(forwards), " / ".join(faster))
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines)


def _middle(times: list[float]) -> str:
    """Returns the median in a unit that suits it."""
    value = statistics.median(times)
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def _exponents(rows: list[Row]) -> list[str]:
    columns: tuple[str, ...] = ("net", "forward", "theory", "its memory", "theory")
    columns += ("cached sample", "theory", "cache", "theory")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for net, theory in THEORY.items():
        own = [row for row in rows if row.case.startswith(f"{net},")]
        if not own:
            continue  # not measured yet
        x = [float(row.numbers["pixels"]) for row in own]
        known = (theory[0], MEMORY.get(net, "1"), *theory[1:])
        grown = (
            [min(row.seconds["forward"]) for row in own],
            [float(row.numbers["forward: peak MB"]) for row in own],
            [min(row.seconds["cached"]) for row in own],
            [float(row.numbers["cache MB"]) for row in own],
        )
        cells = [f"{exponent(x, y):.2f} | {power}" for y, power in zip(grown, known, strict=True)]
        lines.append(f"| {net} | {' | '.join(cells)} |")
    return lines


def draw(results: Results, folder: Path) -> list[Path]:
    """Draws the results of the sweeps, and returns the pictures."""
    drawn = []
    for suite, varied in SWEEPS.items():
        rows = results.get(suite, [])
        if not rows:
            continue
        figure = Figure(figsize=(12, 4), dpi=110, layout="constrained", facecolor="white")
        sample, forward, both = figure.subplots(1, 3)
        for k, net in enumerate(THEORY):
            own = [row for row in rows if row.case.startswith(f"{net},")]
            if not own:
                continue
            x = [float(row.numbers[varied]) for row in own]
            look = {"color": f"C{k % 10}", "linestyle": "--" if k >= 10 else "-", "marker": "."}
            sample.plot(x, [min(row.seconds["cached"]) for row in own], label=net, **look)
            forward.plot(x, [min(row.seconds["forward"]) for row in own], **look)
            both.plot(x, [ratio(row, "cached") for row in own], **look)
        _label(sample, varied, "seconds of a sample")
        _label(forward, varied, "seconds of a forward")
        _label(both, varied, "forwards that a sample takes")
        figure.legend(loc="outside right center", fontsize=8)
        path = folder / f"benchmark-{suite}.png"
        figure.savefig(path)
        drawn.append(path)
    return drawn


def _label(axes: Axes, x: str, title: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel=x)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)


def save(path: Path, environment: Mapping[str, Any], results: Results) -> None:
    """Writes results as JSON."""
    content = {
        "environment": dict(environment),
        "suites": {name: [asdict(row) for row in rows] for name, rows in results.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> tuple[dict[str, Any], dict[str, list[Row]]]:
    """Reads what `save` wrote."""
    content = json.loads(path.read_text())
    suites = {name: [Row(**row) for row in rows] for name, rows in content["suites"].items()}
    return content["environment"], suites


def _number(value: float | int | str) -> str:
    return (
        value
        if isinstance(value, str)
        else f"{value:,}"
        if isinstance(value, int)
        else f"{value:.4g}"
    )
