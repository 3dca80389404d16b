"""Matches classes by name: a model keeps its class names, and labels of any data are mapped to
them.

a folder's classes   3 7          names ──► the model's   0 1 2 3 4 5 6 7 8 9
its labels           0 1 1 0                              3 7 7 3
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pixelar.errors import Advice, DataError

if TYPE_CHECKING:  # commands that only print names do not load torch
    from torch import Tensor

__all__ = ["check_names", "check_same_classes", "class_number", "listed"]
__all__ += ["match_labels", "missing_classes"]

MOST_LISTED = 20


def listed(names: Sequence[str]) -> str:
    """Returns names as a message lists them: the first twenty, and how many more there are.

    Example:
        >>> listed(["cat", "dog"])
        'cat, dog'
    """
    more = [f"and {len(names) - MOST_LISTED} more"] if len(names) > MOST_LISTED else []
    return ", ".join([*(f"{name!s:.60}" for name in names[:MOST_LISTED]), *more])


def check_names(names: object, classes: int) -> tuple[str, ...]:
    """Returns the names of classes by number, or raises PixelarError if they are not valid.

    Arguments:
        names: The names, from an untrusted source.
        classes: The number of classes of the model.
    """
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise DataError(f"class_names must be a list of names; got {names!r:.60}")
    if len(set(names)) != len(names) or len(names) != classes or not classes:
        raise DataError(
            f"class_names must be {classes} different names, one for each class of the model; "
            f"got {listed(names) or 'none'}"
        )
    return tuple(names)


def class_number(word: str, names: Sequence[str] | None, classes: int) -> int:
    """Returns the number of the class that a word names; a name takes precedence over a number.

    Arguments:
        word: A class by its name or its number.
        names: The names of the model's classes by number, or None where they are not known.
        classes: The number of classes of the model.

    Raises:
        PixelarError: If the model has no such class.
    """
    number = int(word) if word.isascii() and word.isdecimal() and len(word) < 10 else classes
    if names is not None and word in names:
        named = names.index(word)
        if number < classes and number != named:
            warnings.warn(
                f"{word} is taken as the class of that name, which has the number {named}; the "
                f"class with the number {word} is named {names[number]}",
                Advice,
                stacklevel=2,
            )
        return named
    if number < classes:
        return number
    by_name = f" or one of the names {listed(names)}" if names is not None else ""
    raise DataError(f"must be from 0 to {classes - 1}{by_name}; got {word:.60}")


def match_labels(
    labels: "Tensor", given: Sequence[str] | None, names: Sequence[str] | None, classes: int
) -> "Tensor":
    """Converts the labels of some data to a model's class numbers, with shape (N,), by name.

    If either side has no names, numbers are used as they are.

    Arguments:
        labels: Class numbers with shape (N,), as the data counts them.
        given: The names of the data's classes by number, or None where they are not known.
        names: The names of the model's classes by number, or None where they are not known.
        classes: The number of classes of the model.

    Raises:
        PixelarError: If an image is of a class that the model does not have.
    """
    if given is None:
        return labels
    if names is None:
        if len(given) != classes:
            raise DataError(
                f"the names of the model's {classes} classes are not known, and the data has "
                f"{len(given)} ({listed(given)}), so they match neither by name nor by number"
            )
        warnings.warn(
            f"the names of the model's {classes} classes are not known: the data's classes "
            f"({listed(given)}) are taken to be the same, in this order",
            Advice,
            stacklevel=2,
        )
        return labels
    number_of = {name: number for number, name in enumerate(names)}
    used = labels.unique().tolist()
    if used and not 0 <= min(used) <= max(used) < len(given):
        raise DataError(
            f"the data has {len(given)} classes, so its labels must be from 0 to {len(given) - 1}; "
            f"got {min(used)} to {max(used)}"
        )
    unknown = [given[label] for label in used if given[label] not in number_of]
    if unknown:
        raise DataError(
            f"the data has images of {'classes' if len(unknown) > 1 else 'a class'} that the model "
            f"does not know: {listed(unknown)}; it knows {listed(names)}. Rename folders or leave "
            "them out"
        )
    return labels.new_tensor([number_of.get(name, -1) for name in given])[labels]


def check_same_classes(there: Sequence[str] | None, here: Sequence[str] | None, owner: str) -> None:
    """Raises PixelarError unless trained classes are those of the data, in the same order.

    Arguments:
        there: The names of the trained classes by number, or None where they are not known, which
            gives a warning.
        here: The names of the data's classes.
        owner: What messages call the run or model that was trained.
    """
    if here is None or (there is not None and [*there] == [*here]):
        return
    if there is None:
        warnings.warn(
            f"{owner} does not name its {len(here)} classes: the data's classes ({listed(here)}) "
            "are taken to be the same, in this order",
            Advice,
            stacklevel=2,
        )
        return
    order = " in another order" if {*there} == {*here} else ""
    raise DataError(
        f"{owner} has the classes {listed(there)}, and the data has {listed(here)}{order}: give "
        "the data the same classes, or begin a new run with weights of its own"
    )


def missing_classes(given: Sequence[str] | None, names: Sequence[str] | None) -> list[str]:
    """Returns the names of a model's classes that some data does not have."""
    return [] if given is None or names is None else [n for n in names if n not in {*given}]
