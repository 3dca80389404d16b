"""What a schedule is: in which order sites are drawn, and how many at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pixelar.sampling.canvas import Canvas

__all__ = ["MANY_SITES", "Schedule"]

MANY_SITES = 256  # for which few images are worth another schedule, or a word that there is one


@dataclass(frozen=True)
class Schedule:
    """A way to draw the unknown sites of a canvas. All schedules draw the same images.

    Attributes:
        summary: What it does, for help texts and documents.
        step: What one of its steps is called, with {} for their number.
        run: Draws, and yields after each step how many sites are final.
        applies: Returns why it cannot draw a canvas, as the end of a sentence that begins with its
            name, or "".
        quick_for: Returns whether it is the quickest for a canvas that those before it in the table
            are not quick for.
        skips_known: Whether it begins with the first unknown site; else with the first of all.
        guesses: Whether sites that are not final hold guesses in the meantime.
    """

    summary: str
    step: str
    run: Callable[[Canvas], Iterator[int]]
    applies: Callable[[Canvas], str]
    quick_for: Callable[[Canvas], bool]
    skips_known: bool = True
    guesses: bool = False
