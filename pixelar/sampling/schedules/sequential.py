"""Site by site, with the net's cache."""

from collections.abc import Iterator

from pixelar.sampling.canvas import Canvas
from pixelar.sampling.schedules.base import Schedule
from pixelar.sampling.unroll import unroll

__all__ = ["SEQUENTIAL"]


def run(canvas: Canvas) -> Iterator[int]:
    """Draws a canvas site by site."""
    steps = unroll(canvas.model, canvas.symbols, canvas.draw, canvas.labels, start=canvas.start)
    return (t + 1 for t in steps)


SEQUENTIAL = Schedule(
    summary="site by site, with the net's cache",
    step="{} steps",
    run=run,
    applies=lambda canvas: "",
    quick_for=lambda canvas: True,
)
