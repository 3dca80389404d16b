"""The mixture of logistics in machine code, in float32, for `pixelar.heads.logistic_mixture`.

A few sites at a time are transposed into one row per parameter, so that every loop is vectorized
over sites, and all intermediate results stay in the processor's cache.
"""

from typing import Any

import numba
import numpy as np

from pixelar.kernels import compiled
from pixelar.kernels.arithmetic import FAST, exp, log, one_minus_exp, tanh

__all__ = ["MOST_SYMBOLS", "log_pmf", "log_prob"]

SITES = 64  # at a time
MOST_SYMBOLS = 6  # the product of the masses of so few bins does not underflow
ARITHMETIC = "d093ad48eeb3"  # hash of arithmetic.py: when it changes, this is compiled again
F = np.float32
ONE, TWO, ZERO = F(1), F(2), F(0)
INFINITE = F(3e38)  # where an edge is missing


@numba.njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _bin(centred: Any, sharpness: Any, lowest: Any, highest: Any, half: Any) -> Any:
    """Returns a bin's mass without the factor whose logarithm is linear, that logarithm, and the
    derivatives of the log-mass with respect to the mean and the log-scale.

    `Bins` has the formulas; `lowest` and `highest` indicate which edge is missing.
    """
    p = INFINITE if highest else (centred + half) * sharpness
    q = -INFINITE if lowest else (centred - half) * sharpness
    at_p, at_q = exp(-abs(p)), exp(-abs(q))
    sigmoid_p, sigmoid_q = ONE / (ONE + at_p), ONE / (ONE + at_q)  # of the absolute values
    above = (at_p if p > ZERO else ONE) * sigmoid_p  # σ(-p)
    below = (at_q if q < ZERO else ONE) * sigmoid_q  # σ(q)
    between = one_minus_exp(-TWO * half * sharpness)
    between = ONE if lowest | highest else between
    by_scale = TWO * half * (ONE - between) / between
    by_scale += (centred + half) * above - (centred - half) * below
    linear = min(p, ZERO) - max(q, ZERO)
    mass = sigmoid_p * sigmoid_q * between
    return mass, linear, sharpness * (below - above), -sharpness * by_scale


@numba.njit(fastmath=FAST, error_model="numpy")
def _log_softmax(logits: Any, largest: Any, total: Any) -> Any:
    """Turns logits (K, n) into log-probabilities; the others are scratch buffers of n numbers."""
    largest[:] = -np.inf
    total[:] = 0
    for k in range(logits.shape[0]):
        for n in range(logits.shape[1]):
            largest[n] = max(largest[n], logits[k, n])
    for k in range(logits.shape[0]):
        for n in range(logits.shape[1]):
            logits[k, n] -= largest[n]
            total[n] += exp(logits[k, n])
    for n in range(logits.shape[1]):
        total[n] = log(total[n])
    for k in range(logits.shape[0]):
        for n in range(logits.shape[1]):
            logits[k, n] -= total[n]


@compiled(FAST)
def log_prob(
    params: Any,
    symbols: Any,
    components: Any,
    levels: Any,
    smallest: Any,
    largest: Any,
    found: Any,
    gradient: Any,
) -> None:
    """Computes log-probabilities of sites, and their gradient.

    Arguments:
        params: Parameters with shape (N, P), float32.
        symbols: Symbols with shape (N, S).
        components, levels: K and V.
        smallest, largest: The range of log-scales, float32.
        found: Receives the log-probabilities, with shape (N,).
        gradient: Receives their gradient, with shape (N, P); none is made if it is empty.
    """
    sites, many = params.shape
    channels, with_gradient = symbols.shape[1], gradient.shape[0] > 0
    pairs = channels * (channels - 1) // 2
    first_mean = components
    first_scale = first_mean + components * channels
    first_coupling = first_scale + components * channels
    half, step = ONE / F(levels - 1), TWO / F(levels - 1)
    rows = np.zeros((many, SITES), np.float32)
    by = np.zeros((many, SITES), np.float32)
    whole = np.zeros((channels, SITES), np.float32)
    values = np.zeros((channels, SITES), np.float32)
    mass = np.zeros(SITES, np.float32)
    joint = np.zeros((components, SITES), np.float32)
    centred = np.zeros(SITES, np.float32)
    wrong = np.zeros(SITES, np.float32)
    largest_joint = np.zeros(SITES, np.float32)
    total = np.zeros(SITES, np.float32)
    for start in range(0, sites, SITES):
        count = min(SITES, sites - start)
        wrong[:] = 0
        for n in range(count):
            for p in range(many):
                rows[p, n] = params[start + n, p]
            for s in range(channels):
                whole[s, n] = symbols[start + n, s]
        for p in range(many):
            for n in range(SITES):
                wrong[n] = rows[p, n] if rows[p, n] != rows[p, n] else wrong[n]  # keeps nan
        for s in range(channels):
            for n in range(SITES):
                values[s, n] = whole[s, n] * step - ONE
        for p in range(first_coupling, many):
            for n in range(SITES):
                rows[p, n] = tanh(rows[p, n])
        _log_softmax(rows[:components], largest_joint, total)
        largest_joint[:] = -np.inf
        for k in range(components):
            mass[:] = 1
            for n in range(SITES):
                joint[k, n] = rows[k, n]
            for s in range(channels):
                mean, scale = first_mean + k * channels + s, first_scale + k * channels + s
                coupling = first_coupling + k * pairs + s * (s - 1) // 2
                for n in range(SITES):
                    centred[n] = values[s, n] - rows[mean, n]
                for r in range(s):
                    for n in range(SITES):
                        centred[n] -= rows[coupling + r, n] * values[r, n]
                for n in range(SITES):
                    log_scale = min(max(rows[scale, n], smallest), largest)
                    within = log_scale == rows[scale, n]
                    here, linear, by_mean, by_scale = _bin(
                        centred[n],
                        exp(-log_scale),
                        whole[s, n] == 0,
                        whole[s, n] == levels - 1,
                        half,
                    )
                    mass[n] *= here
                    joint[k, n] += linear
                    by[mean, n] = by_mean
                    by[scale, n] = by_scale if within else ZERO
            for n in range(SITES):
                joint[k, n] += log(mass[n])
                largest_joint[n] = max(largest_joint[n], joint[k, n])
        total[:] = 0
        for k in range(components):
            for n in range(SITES):
                joint[k, n] = exp(joint[k, n] - largest_joint[n])
                total[n] += joint[k, n]
        for n in range(SITES):
            mass[n] = largest_joint[n] + log(total[n]) + wrong[n]
        found[start : start + count] = mass[:count]
        if not with_gradient:
            continue
        for k in range(components):
            for n in range(SITES):
                joint[k, n] /= total[n]
                by[k, n] = joint[k, n] - exp(rows[k, n])
            for s in range(channels):
                mean, scale = first_mean + k * channels + s, first_scale + k * channels + s
                coupling = first_coupling + k * pairs + s * (s - 1) // 2
                for n in range(SITES):
                    by[mean, n] *= joint[k, n]
                    by[scale, n] *= joint[k, n]
                for r in range(s):
                    for n in range(SITES):
                        slope = ONE - rows[coupling + r, n] * rows[coupling + r, n]
                        by[coupling + r, n] = slope * by[mean, n] * values[r, n]
        for n in range(count):
            for p in range(many):
                gradient[start + n, p] = by[p, n] + wrong[n]


@compiled(FAST)
def log_pmf(
    params: Any,
    symbols: Any,
    components: Any,
    channels: Any,
    smallest: Any,
    largest: Any,
    found: Any,
) -> None:
    """Computes the log-probabilities of the next symbol of sites.

    Arguments:
        params: Parameters with shape (N, P), float32.
        symbols: The s symbols before it, with shape (N, s).
        components, channels: K and S.
        smallest, largest: The range of log-scales, float32.
        found: Receives the log-probabilities, with shape (N, V).
    """
    sites, many = params.shape
    levels, s = found.shape[1], symbols.shape[1]
    pairs = channels * (channels - 1) // 2
    first_scale = components + components * channels
    first_coupling = first_scale + components * channels
    half, step = ONE / F(levels - 1), TWO / F(levels - 1)
    logits = np.zeros((components, 1), np.float32)
    joint = np.zeros((components, levels), np.float32)
    best = np.zeros(levels, np.float32)
    total = np.zeros(levels, np.float32)
    for n in range(sites):
        wrong = ZERO
        for p in range(many):
            wrong = params[n, p] if params[n, p] != params[n, p] else wrong  # keeps nan
        for k in range(components):
            logits[k, 0] = params[n, k]
        for k in range(components):
            # the symbols so far turn the weights into the posterior over components
            for c in range(s + 1):
                at = k * channels + c
                mean = params[n, components + at]
                for r in range(c):
                    coupling = params[n, first_coupling + k * pairs + c * (c - 1) // 2 + r]
                    mean += tanh(coupling) * (F(symbols[n, r]) * step - ONE)
                sharpness = exp(-min(max(params[n, first_scale + at], smallest), largest))
                if c < s:
                    x = symbols[n, c]
                    mass, linear, _, _ = _bin(
                        F(x) * step - ONE - mean, sharpness, x == 0, x == levels - 1, half
                    )
                    logits[k, 0] += linear + log(mass)
                    continue
                for v in range(levels):
                    mass, linear, _, _ = _bin(
                        F(v) * step - ONE - mean, sharpness, v == 0, v == levels - 1, half
                    )
                    joint[k, v] = linear + log(mass)
        _log_softmax(logits, best[:1], total[:1])
        best[:] = -np.inf
        total[:] = 0
        for k in range(components):
            for v in range(levels):
                joint[k, v] += logits[k, 0]
                best[v] = max(best[v], joint[k, v])
        for k in range(components):
            for v in range(levels):
                total[v] += exp(joint[k, v] - best[v])
        for v in range(levels):
            found[n, v] = best[v] + log(total[v]) + wrong
