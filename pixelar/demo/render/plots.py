"""Small plots as SVG, in the page's colours, light or dark, described in words as well."""

from collections.abc import Sequence
from html import escape

import numpy as np

__all__ = ["distribution", "histogram", "legend", "rows"]

WIDTH, HEIGHT = 440, 200
LEFT, RIGHT, TOP, BOTTOM = 34, 12, 24, 34
FEW, MANY = 8, 32  # levels
INFERNO = ("#000004", "#420a68", "#932667", "#dd513a", "#fca50a", "#fcffa4")


def legend(top: float, unit: str) -> str:
    """Returns the scale of a surprise map, from 0 to `top`."""
    words = f"Colour scale: from dark, 0 {unit}, to bright, {top:.1f} {unit}"
    ramp = ", ".join(INFERNO)
    return (
        f'<div class="legend" role="img" aria-label="{escape(words)}">'
        f"<span>0</span><i style='background:linear-gradient(90deg, {ramp})'></i>"
        f"<span>{top:.1f} {escape(unit)}</span></div>"
    )


def rows(values: Sequence[float]) -> str:
    """Plots the bits of each row of a picture, top row first, as horizontal bars."""
    most, step = max(max(values), 1e-9), (HEIGHT - TOP - BOTTOM) / len(values)
    bars = "".join(
        _bar(LEFT, TOP + i * step, v / most * (WIDTH - LEFT - RIGHT), step * 0.82)
        for i, v in enumerate(values)
    )
    marks = _text(LEFT - 6, TOP + step * 0.8, "0", "end")
    marks += _text(LEFT - 6, TOP + step * (len(values) - 0.2), str(len(values) - 1), "end")
    words = (
        f"Bits of each row. The row with the most bits is {int(np.argmax(values))}, "
        f"with {most:.1f}; the total is {sum(values):.1f} bits."
    )
    return _figure("Bits of each row", bars + marks + _scale(0, most, "bits"), words)


def histogram(edges: Sequence[float], counts: Sequence[int], value: float, unit: str) -> str:
    """Plots where a value stands in the histogram of the test set."""
    low, high = min(edges[0], value), max(edges[-1], value)
    span, most = max(high - low, 1e-9), max(max(counts), 1)
    across, up = (WIDTH - LEFT - RIGHT) / span, (HEIGHT - TOP - BOTTOM) / most
    bars = "".join(
        _bar(LEFT + (a - low) * across, HEIGHT - BOTTOM - n * up, (b - a) * across * 0.92, n * up)
        for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
    )
    at = LEFT + (value - low) * across
    needle = (
        f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 6}" y2="{HEIGHT - BOTTOM}"/>'
        + _text(at, TOP - 10, f"{value:.2f}", "middle", "mark")
    )
    words = f"Histogram of the test set in {unit}; this picture has {value:.3f}."
    return _figure("Compared with the test set", bars + needle + _scale(low, high, unit), words)


def distribution(
    probabilities: Sequence[float], true: int, title: str, colours: Sequence[str] | None = None
) -> str:
    """Plots a distribution over levels as bars, the true level marked.

    Heights are probabilities; for many levels, their square roots, since most bars would be too low
    to be visible. A few levels are drawn one below the other, with their probabilities.
    """
    count, most = len(probabilities), max(max(probabilities), 1e-9)
    words = (
        f"{title}: the distribution over {count} levels. The true level, {true}, has probability "
        f"{probabilities[true]:.3f}; the likeliest is {int(np.argmax(probabilities))} with "
        f"{most:.3f}."
    )
    if count <= FEW:
        return _figure(title, _shares(probabilities, true, colours), words)
    power = 1.0 if count <= MANY else 0.5
    title += "" if count <= MANY else " (heights: square roots)"
    step, room = (WIDTH - LEFT - RIGHT) / count, HEIGHT - TOP - BOTTOM
    heights = [room * (p / most) ** power for p in probabilities]
    bars = "".join(
        _bar(
            LEFT + i * step,
            HEIGHT - BOTTOM - h,
            max(step * 0.86, 0.8),
            h,
            "bar true" if i == true else "bar",
            colours[i] if colours else None,
        )
        for i, h in enumerate(heights)
        if h > 0.2 or i == true
    )
    at, base = LEFT + (true + 0.43) * step, HEIGHT - BOTTOM
    arrow = f'<path class="arrow" d="M{at:.1f} {base + 2} l-5 9 h10 z"/>'
    scale = _scale(0, count - 1, "level", digits=0) + _text(LEFT, TOP - 10, f"{most:.0%}", "start")
    return _figure(title, bars + arrow + scale, words)


def _shares(probabilities: Sequence[float], true: int, colours: Sequence[str] | None = None) -> str:
    """Returns horizontal bars, each with its level before it and its probability after it."""
    before, behind = 64, 62  # space for words
    room, step = WIDTH - before - behind, (HEIGHT - TOP) / len(probabilities)
    high = min(step * 0.7, 44)
    parts = []
    for level, share in enumerate(probabilities):
        y = TOP + (level + 0.5) * step
        kind = "bar true" if level == true else "bar"
        width, fill = max(room * share, 1), colours[level] if colours else None
        parts += [
            _text(before - 10, y + 5, f"level {level}", "end", "mark" if level == true else ""),
            _bar(before, y - high / 2, width, high, kind, fill),
            _text(before + width + 8, y + 5, f"{share:.1%}", "start", "share"),
        ]
    return "".join(parts)


def _bar(
    x: float, y: float, width: float, height: float, kind: str = "bar", fill: str | None = None
) -> str:
    own = f' style="fill:{fill}"' if fill else ""
    size = f'width="{max(width, 0):.2f}" height="{max(height, 0):.2f}"'
    return f'<rect class="{kind}" x="{x:.2f}" y="{y:.2f}" {size}{own}/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(text)}</text>'


def _scale(low: float, high: float, unit: str, digits: int = 1) -> str:
    """Returns the axis below a plot, with its ends and its unit."""
    y = HEIGHT - BOTTOM
    return (
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        + _text(LEFT, y + 24, f"{low:.{digits}f}", "start")
        + _text(WIDTH - RIGHT, y + 24, f"{high:.{digits}f} {unit}", "end")
    )


def _figure(title: str, inside: str, words: str) -> str:
    return (
        f'<figure class="plot"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">'
        f"{inside}</svg></figure>"
    )
