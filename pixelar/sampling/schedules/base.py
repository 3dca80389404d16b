"""What a schedule is: in which order sites are drawn, and how many at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pixelar.sampling.canvas import Canvas

__all__ = ["MANY_SITES", "Schedule"]

MANY_SITES = 256  # from this many sites on, another schedule, or advice on it, pays for few images


@dataclass(frozen=True)
class Schedule:
    """A way to draw the unknown sites of a canvas. All schedules draw the same images.

    Attributes:
        summary: What it does, for help texts and documents.
        step: What its steps are called, with {} for their number.
        run: Draws, and yields after each step how many sites are final.
        applies: Returns why it cannot draw a canvas, as the end of a sentence that begins with its
            name, or "" if it can.
        quick_for: Returns whether it is the quickest for a canvas, if no schedule before it in the
            table is.
        skips_known: Whether it begins at the first unknown site, rather than at the first site.
        guesses: Whether sites that are not final hold guesses in the meantime.
    """

    summary: str
    step: str
    run: Callable[[Canvas], Iterator[int]]
    applies: Callable[[Canvas], str]
    quick_for: Callable[[Canvas], bool]
    skips_known: bool = True
    guesses: bool = False
