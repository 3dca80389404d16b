"""The choice of the tests that run by default."""

from itertools import combinations, product

import conftest
import pytest
import zoo

from pixelar.heads import HEADS
from pixelar.nets import NETS


def tuples(rows: list[dict[str, str]], strength: int) -> set[tuple[tuple[str, str], ...]]:
    return {t for row in rows for t in combinations(sorted(row.items()), strength)}


@pytest.mark.parametrize("strength", [1, 2])
def test_the_choice_covers_every_net_head_and_scan(strength: int) -> None:
    """On the combinations that go together, and on all of three sizes."""
    models = zoo.every_model((3, 1, 2), levels=3, classes=(0, 2))
    names = ("net", "head", "scan", "classes")
    every = [dict(zip(names, map(str, case), strict=True)) for case in models]
    sizes = [dict(zip("abc", case, strict=True)) for case in product("12", "123", "1234")]
    for rows in (every, sizes):
        chosen = [rows[k] for k in sorted(conftest.covering(rows, strength))]
        assert tuples(chosen, strength) == tuples(rows, strength)
        assert len(chosen) <= len(rows) / 2
    assert {row["net"] for row in every} == NETS.keys()
    assert {row["head"] for row in every} == HEADS.keys() - {"Bernoulli"}  # for two levels
