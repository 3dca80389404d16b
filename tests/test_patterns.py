"""Sparse attention is dense attention under its mask, for less."""

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import zoo
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pixelar.caches.keys_and_values import look_of
from pixelar.layers.sparse_attention import (
    AllBefore,
    Every,
    Last,
    OwnBlock,
    Rectangle,
    SparseAttention,
    Summaries,
    TwoBlocks,
)
from pixelar.model import PixelModel
from pixelar.scoring.analysis import dependencies, gradient_dependencies
from pixelar.testing import (
    assert_autoregressive,
    assert_cache_equals_forward,
    assert_cache_selects,
)

SITES = (1, 5, 12, 23)  # sequences shorter than a block, of whole blocks, and of parts of one
PATTERNS: list[SparseAttention] = [
    AllBefore(),
    *(made(size) for made in (Last, Every, OwnBlock, TwoBlocks) for size in (1, 4, 6, 10**9)),
    *(Summaries(*sizes) for sizes in ((1, 1), (4, 1), (4, 3), (4, 4), (14, 5), (10**9, 2))),
    # rows of the grid that are and are not whole blocks, and blocks larger than the image
    *(
        Rectangle(*sizes)
        for sizes in ((4, 2, 2), (5, 2, 3), (6, 1, 4), (3, 4, 8), (1, 2, 1), (7, 10**9, 10**9))
    ),
]
every_pattern = pytest.mark.parametrize("attention", PATTERNS, ids=str)


def mask_of(attention: SparseAttention, sites: int) -> Tensor:
    """Returns which positions (rows) attend to which (columns)."""
    number = torch.arange(sites)
    return attention.sees(number[:, None], number)


def inputs(sites: int) -> list[Tensor]:
    """Returns queries, keys and longer values of two sequences and three heads."""
    generator = torch.Generator().manual_seed(sites)
    return [
        torch.randn(2, sites, 3, length, generator=generator, dtype=torch.float64).requires_grad_()
        for length in (4, 4, 5)
    ]


@every_pattern
@pytest.mark.parametrize("sites", SITES)
def test_it_is_dense_attention_under_its_mask(attention: SparseAttention, sites: int) -> None:
    given = inputs(sites)
    q, k, v = (x.transpose(1, 2) for x in given)
    mask = mask_of(attention, sites)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
    found = attention(*given)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    for mine, theirs in zip(
        *(torch.autograd.grad((x * weights).sum(), given) for x in (found, expected)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@every_pattern
def test_what_a_step_reads_is_a_row_of_the_mask(attention: SparseAttention) -> None:
    sites, cpu = 23, torch.device("cpu")
    mask = mask_of(attention, sites)
    assert mask.diagonal().all() and not mask.triu(1).any()
    number = torch.arange(sites)[None, :, None]  # keys that encode their position
    for first, stop in itertools.combinations(range(sites + 1), 2):
        look = look_of(attention, first, stop, cpu)
        seen = look.read(number).flatten()
        found = torch.zeros(stop - first, sites, dtype=torch.bool)
        found[:, seen] = True
        if look.hidden is not None:
            found[:, seen[-look.hidden.shape[1] :]] = ~look.hidden
        assert torch.equal(found, mask[first:stop])
        assert torch.equal(seen.sort().values, mask[first:stop].any(0).nonzero().flatten())


@pytest.mark.parametrize("size", [1, 3, 4])
def test_the_patterns_are_the_papers(size: int) -> None:
    """The sets of the papers, written as they are there; c is 1 and as large as it can be."""
    sites = 14
    papers = {
        Last(size): lambda i: range(max(0, i - size + 1), i + 1),
        Every(size): lambda i: (j for j in range(i + 1) if (i - j) % size == 0),
        OwnBlock(size): lambda i: (j for j in range(i + 1) if j // size == i // size),
        Summaries(size, 1): lambda i: {*(j for j in range(i) if j % size == size - 1), i},
        Summaries(size, size): lambda i: range(i + 1),
        TwoBlocks(size): lambda i: range(max(0, i // size * size - size), i + 1),
    }
    for attention, seen in papers.items():
        expected = torch.zeros(sites, sites, dtype=torch.bool)
        for i in range(sites):
            expected[i, [*seen(i)]] = True
        assert torch.equal(mask_of(attention, sites), expected), attention


def test_the_rectangle_reaches_one_block_up_and_to_both_sides() -> None:
    """In a grid of 6×8 with query blocks of 2×3, the last block of a row is cut off."""
    seen = mask_of(Rectangle(8, 2, 3), 48).view(6, 8, 6, 8)
    expected = torch.zeros(6, 8, dtype=torch.bool)
    expected[2:5, 0:8] = True  # block rows 2-3 and 4-5, block columns 0-2, 3-5 and 6-7
    expected[5, 0:5] = True
    assert torch.equal(seen[5, 4], expected)
    expected = torch.zeros(6, 8, dtype=torch.bool)
    expected[0, 3:8] = True
    expected[1, 3:8] = True
    assert torch.equal(seen[1, 7], expected)


@pytest.mark.parametrize(
    "pair", [(Last(4), Every(4)), (OwnBlock(4), Summaries(4, 1)), (OwnBlock(5), Summaries(5, 3))]
)
@pytest.mark.parametrize("sites", SITES)
def test_two_patterns_together_see_everything(
    pair: tuple[SparseAttention, SparseAttention], sites: int
) -> None:
    near, far = (mask_of(attention, sites).float() for attention in pair)
    assert torch.equal(far @ near > 0, torch.ones(sites, sites, dtype=torch.bool).tril())


@pytest.mark.parametrize(
    ("attention", "keys"),
    [
        (Last(64), 2 * 64),
        (Every(64), 4096 // 64),
        (OwnBlock(64), 64),
        (Summaries(64, 8), 8 * 4096 // 64),
        (TwoBlocks(64), 2 * 64),
        (Rectangle(64, 8, 8), 6 * 64),
    ],
    ids=str,
)
def test_it_computes_no_more_than_its_blocks(attention: SparseAttention, keys: int) -> None:
    """Of 4096 keys for each query; what dense attention computes is what the counter counts."""
    sites, heads, length = 4096, 2, 16
    q = torch.empty(1, sites, heads, length, device="meta")

    def flops(attend: Any) -> int:  # noqa: ANN401
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            attend(q, q, q)
        return counter.get_total_flops()

    def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v)

    each = flops(dense) / sites  # of a key, for all queries
    assert each == 2 * sites * heads * 2 * length
    assert flops(attention) <= keys * each


# --- the nets, with each of their patterns ------------------------------------------------------

NETS: list[tuple[str, dict[str, Any]]] = [
    ("SparseTransformer", {"stride": 5}),
    ("SparseTransformer", {"stride": 5, "key_width": 4, "expansion": 2}),
    ("SparseTransformer", {"pattern": "fixed", "stride": 4, "summaries": 1}),
    ("SparseTransformer", {"pattern": "fixed", "stride": 7, "summaries": 3}),
    ("ImageTransformer", {"block": 5}),
    ("ImageTransformer", {"pattern": "local_2d", "block": 6, "rows": 2}),
]
every_net = pytest.mark.parametrize(("net", "args"), NETS, ids=str)


def built(net: str, args: dict[str, Any], scan: str = "raster", **more: Any) -> PixelModel:  # noqa: ANN401
    shape = (3, 3, 4) if scan == "subpixel" else (1, 5, 6)
    return zoo.tiny(net, scan=scan, **{"shape": shape, **args, **more})


@every_net
@pytest.mark.parametrize("scan", ["raster", "subpixel"])
def test_nets_are_causal_and_walk(net: str, args: dict[str, Any], scan: str) -> None:
    model = built(net, args, scan, classes=3)
    assert_autoregressive(model, trials=1)
    assert_cache_equals_forward(model)
    assert_cache_selects(model)


@every_net
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_site_sees_what_its_patterns_add_up_to(
    net: str, args: dict[str, Any], depth: int
) -> None:
    """Position t holds the site before; a site depends on sites with a path to it through blocks.

    For local attention this is all of its context, which grows with depth.
    """
    model = built(net, args, depth=depth)
    sites = model.scan.sites
    reached = torch.eye(sites)
    for block in model.net.blocks:  # type: ignore[union-attr]
        reached = mask_of(block.attention, sites).float() @ reached
    expected = F.pad(reached[:, 1:] > 0, (0, 1))
    assert torch.equal(dependencies(model), expected)
    assert torch.equal(gradient_dependencies(model), expected)
    past = torch.ones(sites, sites, dtype=torch.bool).tril(-1)
    if net == "SparseTransformer" and depth >= 2:
        assert torch.equal(expected, past)
    elif depth == 1:
        assert not torch.equal(expected, past)
