"""Exponentials and the like in float32, in a form of which compiled loops make vectors.

Each is a few additions and multiplications, without a branch, exact to about 1e-7 of its value.
Numba does not notice that what it has on disk was made with another version of this file: the files
that use it hold its hash, so that they change with it.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

__all__ = ["FAST", "exp", "log", "one_minus_exp", "tanh"]

FAST = {"contract", "nsz"}  # infinities and nan keep their meaning, and sums their order
F = np.float32
ONE, TWO, HALF = F(1), F(2), F(0.5)
LOG2_E = F(1.4426950408889634)
LN2_HIGH, LN2_LOW = F(0.693145751953125), F(1.42860682030941723212e-6)  # the first has few bits
MANTISSA = F(2**23)
ROOT_HALF = F(0.7071067811865476)


@intrinsic
def _as_float(context: Any, bits: Any) -> Any:
    """Reads 32 bits as a float32."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return numba.float32(numba.int32), code


@intrinsic
def _as_bits(context: Any, value: Any) -> Any:
    """Reads a float32 as 32 bits."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return numba.int32(numba.float32), code


@numba.njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _parts_of_exp(x: Any) -> Any:
    """Returns 2^k and e^r - 1 with x = k log(2) + r, a whole k and |r| ≤ log(2) / 2."""
    x = min(max(x, F(-87)), F(87))
    k = np.floor(x * LOG2_E + HALF)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    series = F(1 / 720) + r * F(1 / 5040)
    series = F(1 / 24) + r * (F(1 / 120) + r * series)
    series = r + r * r * (HALF + r * (F(1 / 6) + r * series))
    power: Any = _as_float(np.int32((k + F(127)) * MANTISSA))  # type: ignore[call-arg]
    return power, series


@numba.njit(fastmath=FAST, error_model="numpy", forceinline=True)
def exp(x: Any) -> Any:
    power, series = _parts_of_exp(x)
    return power + power * series


@numba.njit(fastmath=FAST, error_model="numpy", forceinline=True)
def one_minus_exp(x: Any) -> Any:
    """Returns 1 - e^x, to full precision also where x is small."""
    power, series = _parts_of_exp(x)
    return (ONE - power) - power * series


@numba.njit(fastmath=FAST, error_model="numpy", forceinline=True)
def log(x: Any) -> Any:
    """Returns log(x), by x = 2^k f and log(f) = 2 artanh((f - 1) / (f + 1)); x must be normal."""
    bits: Any = _as_bits(x * F(1 / ROOT_HALF))  # type: ignore[call-arg]
    k = F(np.int32(bits >> 23) - 127)
    f: Any = _as_float(np.int32((bits & 0x007FFFFF) | 0x3F800000))
    f *= ROOT_HALF
    z = (f - ONE) / (f + ONE)
    square = z * z
    series = F(2 / 5) + square * (F(2 / 7) + square * F(2 / 9))
    series = TWO * z + z * square * (F(2 / 3) + square * series)
    return k * LN2_HIGH + (k * LN2_LOW + series)


@numba.njit(fastmath=FAST, error_model="numpy", forceinline=True)
def tanh(x: Any) -> Any:
    less = one_minus_exp(-TWO * abs(x))
    return np.copysign(less / (TWO - less), x)
