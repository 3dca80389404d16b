"""Readers of option values for argparse, which reject invalid values and name valid ones."""

import argparse
import math
import re
from collections.abc import Callable

from pixelar.names.limits import Limit

__all__ = ["device", "orders", "real", "resize", "sides", "whole"]

LARGEST_SIDE = 2048  # of the images of a model; as in pixelar.io.restore, not loaded here
MOST_ORDERS = 1000


def whole(low: int, high: int, words: str = "") -> Callable[[str], int]:
    """Returns a reader of whole numbers in a range, for argparse; `words` go into its message."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(
                f"must be {words}a whole number from {low} to {high}; got {text!r:.60}"
            )
        return number

    return read


def real(limit: Limit) -> Callable[[str], float]:
    """Returns a reader of numbers within limits, for argparse."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not limit.holds(number):
            raise argparse.ArgumentTypeError(f"must be a finite number, {limit}; got {text!r:.60}")
        return number

    return read


def sides(text: str) -> tuple[int, int]:
    """Returns the height and width that an option gives as HxW, for argparse."""
    found = re.fullmatch("([0-9]{1,4})x([0-9]{1,4})", text)
    height, width = map(int, found.groups()) if found else (0, 0)
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise argparse.ArgumentTypeError(
            f"must be HxW, such as 32x32, with sides from 1 to {LARGEST_SIDE}; got {text!r:.60}"
        )
    return height, width


def resize(text: str) -> bool | str:
    """Reads what `pixelar.data.images.read_image` takes as resize, for argparse."""
    if text not in ("crop", "processor"):
        raise argparse.ArgumentTypeError(f"must be crop or processor; got {text!r:.60}")
    return text == "crop" or text


def orders(text: str) -> int | str:
    """Reads what `pixelar.evaluate` takes as orders, for argparse."""
    if text in ("one", "symmetries"):
        return text
    return whole(2, MOST_ORDERS, "one, symmetries, or ")(text)


def device(text: str) -> str:
    """Reads the name of a device, for argparse; whether it exists is checked later."""
    if not re.fullmatch("auto|cpu|mps|cuda(:[0-9]{1,3})?", text):
        raise argparse.ArgumentTypeError(
            f"must be auto, cpu, cuda, cuda:N or mps; got {text!r:.60}"
        )
    return text
