"""PixelCNN++: a pass enters a coarse level only where a row or cell of it begins."""

from collections import defaultdict
from functools import partial

import pytest
import torch
import zoo

from pixelar.caches import new_cache
from pixelar.caches.pixelcnnpp import PixelCNNPPCache, Program
from pixelar.caches.pixelcnnpp_rows import PairRows
from pixelar.nets import PixelCNNPP


class Counted(dict[tuple[int, ...], Program]):
    """Programs of ul by level, column and, on the down pass, row; each notes when it is run."""

    def __init__(self, runs: dict[tuple[str, int], list[int]]) -> None:
        super().__init__()
        self.runs, self.site = runs, 0

    def __setitem__(self, key: tuple[int, ...], program: Program) -> None:
        super().__setitem__(key, [partial(self.note, key), *program])

    def note(self, key: tuple[int, ...]) -> None:
        self.runs["down" if len(key) == 3 else "up", key[0]].append(self.site)


def test_coarse_levels_are_computed_once_per_cell_and_once_per_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = zoo.tiny("PixelCNNPP", shape=(1, 8, 8), stages=3).net
    assert isinstance(net, PixelCNNPP)
    x = torch.zeros(2, 1, 8, 8, dtype=torch.long)
    cache = new_cache(net, x)
    assert isinstance(cache, PixelCNNPPCache)
    cells: dict[tuple[str, int], list[int]] = defaultdict(list)
    rows: dict[tuple[str, int], list[int]] = defaultdict(list)
    cache.programs = programs = Counted(cells)
    first = {id(kept.up[0]): ("up", s) for s, kept in enumerate(cache.rows)}
    first |= {id(kept.down[0]): ("down", s) for s, kept in enumerate(cache.rows)}
    begin_row = PairRows.begin_row

    def noting(kept: PairRows, *args: object) -> object:
        if id(kept) in first:
            rows[first[id(kept)]].append(programs.site)
        return begin_row(kept, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(PairRows, "begin_row", noting)
    for t in range(64):
        programs.site = t
        cache.step(x, t)
    for one in ("up", "down"):
        for s, side in enumerate((1, 2, 4)):
            entered = range(0, 8, side)
            assert cells[one, s] == [8 * i + j for i in entered for j in entered]
            assert rows[one, s] == [8 * i for i in entered]
    assert [len(cells["up", s]) for s in range(3)] == [64, 16, 4]
    assert [len(rows["up", s]) for s in range(3)] == [8, 4, 2]
