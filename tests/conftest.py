"""Which tests run: a quick half that meets every part, or all of them with `--full`.

Without it, a test that is marked `exhaustive` runs for a choice of its parameters in which every
pair of values occurs, or every value for `exhaustive(1)`; and one that is marked `full` not at all.
What the command line names runs in any case.
"""

import itertools
import signal
from collections import defaultdict
from collections.abc import Sequence

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run all tests with all parameters")


def pytest_configure() -> None:
    """Lets SIGINT interrupt again: a shell's background jobs, and what they start, ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def covering(rows: Sequence[dict[str, str]], strength: int = 2) -> set[int]:
    """Chooses rows, lists of parameter values, so that every pair of values occurs.

    The row with the most missing pairs is taken (the first of equals) until none is missing. With
    a strength of 1, it is every value.
    """
    tuples = [set(itertools.combinations(sorted(row.items()), strength)) for row in rows]
    missing, chosen = set().union(*tuples), set[int]()
    while missing:
        best = max(range(len(rows)), key=lambda row: len(tuples[row] & missing))
        chosen.add(best)
        missing -= tuples[best]
    return chosen


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("full"):
        return
    left_out = set[pytest.Item]()
    exhaustive = defaultdict[str, list[pytest.Function]](list)
    for item in items:
        name = item.nodeid.partition("[")[0]
        if any(name in argument for argument in config.args):
            continue
        if item.get_closest_marker("full"):
            left_out.add(item)
        elif isinstance(item, pytest.Function) and item.get_closest_marker("exhaustive"):
            exhaustive[name].append(item)
    for cases in exhaustive.values():
        mark = cases[0].get_closest_marker("exhaustive")
        assert mark is not None
        rows = [{key: str(value) for key, value in case.callspec.params.items()} for case in cases]
        chosen = covering(rows, *mark.args)
        left_out |= {case for k, case in enumerate(cases) if k not in chosen}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
