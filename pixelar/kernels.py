"""Numba's part of `pixelar.compiled`; importing it needs numba."""

from collections.abc import Callable

import numba
import numpy as np

__all__ = ["gated_row"]

FAST = {"contract", "reassoc", "nsz", "arcp"}  # infinities and nan keep their meaning


@numba.njit(fastmath=FAST, inline="always")
def _multiply(x, matrix, y):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Adds the product of a vector (n,) with a matrix (n, m) to y (m,)."""
    for c in range(matrix.shape[0]):
        value = x[c]
        for q in range(matrix.shape[1]):
            y[q] += value * matrix[c, q]


@numba.njit(fastmath=FAST)
def _draw(params, uniform):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Returns the level at which the cumulative mass passes a uniform number; a single parameter is
    the logit of two levels.
    """
    binary = params.shape[0] == 1
    levels = 2 if binary else params.shape[0]
    masses = np.empty(levels, np.float64)
    largest = max(params.max(), 0) if binary else params.max()
    total = 0.0
    for v in range(levels):
        logit = (params[0] if v else 0.0) if binary else params[v]
        total += np.exp(np.float64(logit) - np.float64(largest))
        masses[v] = total
    for v in range(levels):
        if masses[v] > uniform * total:
            return v
    return levels - 1


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compiles a function; keeps the result on disk where there is a place for it."""
    try:
        return numba.njit(fastmath=FAST, cache=True)(function)
    except RuntimeError:
        return numba.njit(fastmath=FAST)(function)


@compiled
def gated_row(  # type: ignore[no-untyped-def] # noqa: ANN201
    row,  # noqa: ANN001
    begin,  # noqa: ANN001
    noise,  # noqa: ANN001
    keep,  # noqa: ANN001
    given,  # noqa: ANN001
    zero,  # noqa: ANN001
    maps,  # noqa: ANN001
    links,  # noqa: ANN001
    dilations,  # noqa: ANN001
    stem,  # noqa: ANN001
    stem_bias,  # noqa: ANN001
    horizontal,  # noqa: ANN001
    out,  # noqa: ANN001
    inner,  # noqa: ANN001
    last,  # noqa: ANN001
    last_bias,  # noqa: ANN001
    shapes,  # noqa: ANN001
):
    """Draws a row of all images, from column `begin` on.

    Arguments:
        row: The symbols of the row, with shape (B, W), written in place.
        begin: The first column to draw.
        noise: A uniform number for each symbol, with shape (W, B).
        keep: Which are known, with shape (W, B).
        given: What they are, with shape (W, B).
        zero: The symbol that stands for zero, beside the image.
        maps: What each layer reads and the last puts out, with shape (L + 1, B, W, D).
        links: What the vertical stack adds, with shape (L, B, W, 2D).
        dilations: The distance between the taps of each layer, with shape (L,).
        stem, stem_bias, horizontal, out: As in the net's `Matrices`, stacked by layer.
        inner: The matrices and biases of the readout's hidden layers, flattened in turn.
        last, last_bias: The readout's last layer.
        shapes: The shapes of the hidden layers, with shape (n, 2).
    """
    depth, features = out.shape[0], out.shape[2]
    taps, stem_taps = horizontal.shape[1] // features, stem.shape[0]
    widest = max(features, last.shape[0])
    for n in range(shapes.shape[0]):
        widest = max(widest, shapes[n, 1])
    both, gate = np.empty(2 * features, maps.dtype), np.empty(features, maps.dtype)
    read, more = np.empty(widest, maps.dtype), np.empty(widest, maps.dtype)
    params = np.empty(last.shape[1], maps.dtype)
    for j in range(begin, row.shape[1]):
        for b in range(row.shape[0]):
            h = maps[0, b, j]
            h[:] = stem_bias
            for tap in range(stem_taps):
                column = j - (stem_taps - 1) + tap
                # the centre's weights are zero: the pixel itself is not seen
                value = maps.dtype.type(row[b, column] if column >= 0 else zero)
                for q in range(features):
                    h[q] += value * stem[tap, q]
            for k in range(depth):
                both[:] = links[k, b, j]
                for tap in range(taps):
                    column = j - dilations[k] * (taps - 1 - tap)
                    if column >= 0:
                        part = horizontal[k, tap * features : (tap + 1) * features]
                        _multiply(maps[k, b, column], part, both)
                for q in range(features):
                    a, s = 1 / (1 + np.exp(-both[q])), 1 / (1 + np.exp(-both[features + q]))
                    gate[q] = s - 2 * a * s  # minus the gate, as `out` has it
                h = maps[k + 1, b, j]
                h[:] = maps[k, b, j] + out[k, features]
                _multiply(gate, out[k, :features], h)
            read[:features] = maps[depth, b, j]
            at = 0
            for n in range(shapes.shape[0]):
                size, wide = shapes[n, 0], shapes[n, 1]
                for q in range(wide):
                    more[q] = inner[at + size * wide + q]
                for c in range(size):
                    value = max(read[c], 0)
                    for q in range(wide):
                        more[q] += value * inner[at + c * wide + q]
                read[:wide] = more[:wide]
                at += size * wide + wide
            params[:] = last_bias
            for c in range(last.shape[0]):
                value = max(read[c], 0)
                for q in range(last.shape[1]):
                    params[q] += value * last[c, q]
            row[b, j] = given[j, b] if keep[j, b] else _draw(params, noise[j, b])
