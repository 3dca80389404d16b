"""Patterns of sparse attention: which positions a position attends to.

A pattern is a rule on two positions, a query i and a key j, that says whether i attends to j. No
position attends to a later one, and all attend to themselves. With l = 3, and rows for i:

    last l        every l-th    own block     summaries     two blocks
                                              c = 1
    ■             ■             ■             ■             ■
    ■ ■           · ■           ■ ■           · ■           ■ ■
    ■ ■ ■         · · ■         ■ ■ ■         · · ■         ■ ■ ■
    · ■ ■ ■       ■ · · ■       · · · ■       · · ■ ■       ■ ■ ■ ■
    · · ■ ■ ■     · ■ · · ■     · · · ■ ■     · · ■ · ■     ■ ■ ■ ■ ■
    · · · ■ ■ ■   · · ■ · · ■   · · · ■ ■ ■   · · ■ · · ■   ■ ■ ■ ■ ■ ■
    · · · · ■ …   ■ · · ■ · …   · · · · · …   · · ■ · · …   · · · ■ ■ …

Each is a few lines here, as they read in the paper; `pixelar.layers.sparse_attention` computes
attention under them, and is tested against dense attention under these masks.

References:
    Generating Long Sequences with Sparse Transformers (Child et al., 2019),
    https://arxiv.org/abs/1904.10509
    Image Transformer (Parmar et al., 2018), https://arxiv.org/abs/1802.05751
"""

from torch import Tensor

__all__ = ["all_before", "every", "last", "own_block", "rectangle", "summaries", "two_blocks"]


def all_before(i: Tensor, j: Tensor) -> Tensor:
    """Returns whether j is not after i: dense causal attention."""
    return j <= i


def last(i: Tensor, j: Tensor, stride: int) -> Tensor:
    """Returns whether j is one of the last `stride` positions: the strided pattern's first half."""
    return (j <= i) & (i - j < stride)


def every(i: Tensor, j: Tensor, stride: int) -> Tensor:
    """Returns whether j is a multiple of `stride` before i: the strided pattern's second half."""
    return (j <= i) & ((i - j) % stride == 0)


def own_block(i: Tensor, j: Tensor, stride: int) -> Tensor:
    """Returns whether j is in the block so far: the fixed pattern's first half."""
    return (j <= i) & (j // stride == i // stride)


def summaries(i: Tensor, j: Tensor, stride: int, count: int) -> Tensor:
    """Returns whether j is i or in the last `count` of a block: the fixed pattern's second half."""
    return (j <= i) & ((j % stride >= stride - count) | (j == i))


def two_blocks(i: Tensor, j: Tensor, block: int) -> Tensor:
    """Returns whether j is in the block so far or the block before it: 1-D local attention."""
    return (j <= i) & (j // block >= i // block - 1)


def rectangle(i: Tensor, j: Tensor, row: int, rows: int, columns: int) -> Tensor:
    """Returns whether j is generated and in a rectangle around i's block: 2-D local attention.

    Positions lie in rows of a grid. A query block of `rows` × `columns` positions attends to
    itself, as many rows above it, and as many columns on both sides:

        · · · · · · · · ·        rows = 2, columns = 3; query blocks begin at every second row
        ■ ■ ■ ■ ■ ■ ■ ■ ■        and at every third column
        ■ ■ ■ ■ ■ ■ ■ ■ ■
        ■ ■ ■ ■ i · · · ·

    Arguments:
        i: Positions of queries.
        j: Positions of keys.
        row: The length of a row of the grid.
        rows: The height of a query block.
        columns: The width of a query block.
    """
    up = (i // row) // rows - (j // row) // rows
    beside = (i % row) // columns - (j % row) // columns
    return (j <= i) & (up <= 1) & (beside.abs() <= 1)
