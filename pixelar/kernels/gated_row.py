"""Draws a row of a Gated PixelCNN in machine code, for `pixelar.sampling.schedules.numba_rows`."""

import math
from typing import Any

import numba
import numpy as np
from numba.extending import overload

from pixelar.kernels import compiled
from pixelar.kernels.arithmetic import exp

__all__ = ["gated_row"]

FAST = {"contract", "reassoc", "nsz", "arcp"}  # infinities and nan keep their meaning
ARITHMETIC = "d093ad48eeb3"  # hash of arithmetic.py: when it changes, this is compiled again


@numba.njit(fastmath=FAST, error_model="numpy")
def _multiply(x: Any, matrix: Any, start: Any, y: Any) -> Any:
    """Writes start + x @ matrix.T into y (B, m), given x (B, n), matrix (m, n) and start (B, m).

    Computes four images and four outputs at once, with sixteen sums in registers, and the remaining
    ones one by one.
    """
    batch, outputs = y.shape
    fours = outputs - outputs % 4
    for b in range(0, batch - 3, 4):
        x0, x1, x2, x3 = x[b], x[b + 1], x[b + 2], x[b + 3]
        for q in range(0, fours, 4):
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = y.dtype.type(0)
            c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = y.dtype.type(0)
            for n in range(x.shape[1]):
                v0, v1, v2, v3 = x0[n], x1[n], x2[n], x3[n]
                m = matrix[q, n]
                a0, a1, a2, a3 = a0 + v0 * m, a1 + v1 * m, a2 + v2 * m, a3 + v3 * m
                m = matrix[q + 1, n]
                b0, b1, b2, b3 = b0 + v0 * m, b1 + v1 * m, b2 + v2 * m, b3 + v3 * m
                m = matrix[q + 2, n]
                c0, c1, c2, c3 = c0 + v0 * m, c1 + v1 * m, c2 + v2 * m, c3 + v3 * m
                m = matrix[q + 3, n]
                d0, d1, d2, d3 = d0 + v0 * m, d1 + v1 * m, d2 + v2 * m, d3 + v3 * m
            y[b, q], y[b, q + 1], y[b, q + 2], y[b, q + 3] = a0, b0, c0, d0
            y[b + 1, q], y[b + 1, q + 1], y[b + 1, q + 2], y[b + 1, q + 3] = a1, b1, c1, d1
            y[b + 2, q], y[b + 2, q + 1], y[b + 2, q + 2], y[b + 2, q + 3] = a2, b2, c2, d2
            y[b + 3, q], y[b + 3, q + 1], y[b + 3, q + 2], y[b + 3, q + 3] = a3, b3, c3, d3
    for b in range(batch):
        for q in range(fours if b < batch - batch % 4 else 0, outputs):
            total = y.dtype.type(0)
            for n in range(x.shape[1]):
                total += x[b, n] * matrix[q, n]
            y[b, q] = total
        for q in range(outputs):
            y[b, q] += start[b, q]


def _exp(x: Any, y: Any) -> Any:
    """Writes the exponentials of x (n,) into y (n,), of any type, to the precision of x."""
    raise NotImplementedError  # numba takes one of those below


@overload(_exp, jit_options={"fastmath": FAST, "error_model": "numpy"})
def _exp_of(x: Any, y: Any) -> Any:
    return _exp_in_single if x.dtype == numba.float32 else _exp_in_double


def _exp_in_single(x: Any, y: Any) -> Any:
    for q in range(x.shape[0]):
        y[q] = exp(x[q])


def _exp_in_double(x: Any, y: Any) -> Any:
    for q in range(x.shape[0]):
        y[q] = math.exp(x[q])


@numba.njit(fastmath=FAST, error_model="numpy")
def _draw(params: Any, uniform: Any, masses: Any) -> Any:
    """Returns the level at which the cumulative mass passes a uniform number; a single parameter is
    the logit of two levels. `masses` is a scratch buffer with a number for each level.
    """
    if params.shape[0] == 1:
        _exp(-params, masses[:1])
        return 1 if uniform * (1 + masses[0]) >= masses[0] else 0
    _exp(params - params.max(), masses)
    for v in range(1, masses.shape[0]):
        masses[v] += masses[v - 1]
    level = 0
    while level < masses.shape[0] - 1 and not masses[level] > uniform * masses[-1]:
        level += 1
    return level


@compiled(FAST)
def gated_row(
    row: Any,
    begin: Any,
    noise: Any,
    keep: Any,
    given: Any,
    zero: Any,
    maps: Any,
    links: Any,
    dilations: Any,
    stem: Any,
    stem_bias: Any,
    horizontal: Any,
    out: Any,
    out_bias: Any,
    hidden: Any,
    hidden_bias: Any,
    shapes: Any,
    last: Any,
    last_bias: Any,
) -> None:
    """Draws a row of all images, from column `begin` on.

    A matrix maps its last dimension to the one before it.

    Arguments:
        row: The symbols of the row, with shape (B, W), written in place.
        begin: The first column to draw.
        noise: A uniform number for each symbol, with shape (W, B).
        keep: Which symbols are known, with shape (W, B).
        given: The known symbols, with shape (W, B).
        zero: The symbol that stands for zero, outside of the image.
        maps: The input of each layer and the output of the last, with shape (L + 1, W, B, D).
        links: What the vertical stack adds, with shape (L, W, B, 2D).
        dilations: The distance between the taps of each layer, with shape (L,).
        stem, stem_bias: Of the layer that reads pixels, with shapes (D, taps) and (D,).
        horizontal: Of the layers, with shape (L, 2D, taps·D).
        out, out_bias: Of the layers, with shapes (L, D, D) and (L, D).
        hidden, hidden_bias: Of the readout's hidden layers, flattened in turn.
        shapes: The shapes of the hidden layers, with shape (n, 2).
        last, last_bias: Of the readout's last layer, with shapes (P, m) and (P,).
    """
    batch, depth, features = row.shape[0], out.shape[0], out.shape[1]
    taps, stem_taps = horizontal.shape[2] // features, stem.shape[1]
    pixels = np.empty((batch, stem_taps), maps.dtype)
    window = np.zeros((batch, taps * features), maps.dtype)
    both = np.empty((batch, 2 * features), maps.dtype)
    sigmoids = np.empty(2 * features, maps.dtype)
    one = maps.dtype.type(1)
    gate = np.empty((batch, features), maps.dtype)
    params = np.empty((batch, last.shape[0]), maps.dtype)
    masses = np.empty(last.shape[0], np.float64)
    for j in range(begin, row.shape[1]):
        for tap in range(stem_taps):
            # the centre's weights are zero: the pixel itself is not read
            column = j - (stem_taps - 1) + tap
            for b in range(batch):
                pixels[b, tap] = row[b, column] if column >= 0 else zero
        _multiply(pixels, stem, np.broadcast_to(stem_bias, (batch, features)), maps[0, j])
        for k in range(depth):
            for tap in range(taps):
                column = j - dilations[k] * (taps - 1 - tap)
                part = window[:, tap * features : (tap + 1) * features]
                if column >= 0:
                    part[:] = maps[k, column]
                else:
                    part[:] = 0
            _multiply(window, horizontal[k], links[k, j], both)
            for b in range(batch):
                _exp(-both[b], sigmoids)
                for q in range(features):
                    a, s = one / (one + sigmoids[q]), one / (one + sigmoids[features + q])
                    gate[b, q] = s - (a + a) * s  # the negated gate, which `out` expects
            _multiply(gate, out[k], maps[k, j] + out_bias[k], maps[k + 1, j])
        read = np.maximum(maps[depth, j], 0)
        at = wide = 0
        for n in range(shapes.shape[0]):
            size = shapes[n, 0] * shapes[n, 1]
            matrix = hidden[at : at + size].reshape((shapes[n, 0], shapes[n, 1]))
            bias = hidden_bias[wide : wide + shapes[n, 0]]
            more = np.empty((batch, shapes[n, 0]), maps.dtype)
            _multiply(read, matrix, np.broadcast_to(bias, more.shape), more)
            read = np.maximum(more, 0)
            at, wide = at + size, wide + shapes[n, 0]
        _multiply(read, last, np.broadcast_to(last_bias, params.shape), params)
        for b in range(batch):
            row[b, j] = given[j, b] if keep[j, b] else _draw(params[b], noise[j, b], masses)
