"""What the machine code computes with is as exact as float32 can be."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="numba is not installed")

from pixelar.errors import Advice  # noqa: E402
from pixelar.kernels import (  # noqa: E402
    arithmetic,
    compiled,
    gated_row,
    logistic_mixture,
)

CASES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]] = {
    "exp": (np.exp, np.linspace(-87, 87, 100_001)),
    "log": (np.log, np.logspace(-37, 38, 100_001)),
    "tanh": (np.tanh, np.linspace(-20, 20, 100_001)),
    "one_minus_exp": (lambda x: -np.expm1(x), -np.logspace(-6, 1.9, 100_001)),
}


@pytest.mark.parametrize("name", CASES)
def test_function_is_exact(name: str) -> None:
    """To float32's rounding, relative to the value, or to one where the value is near zero."""
    exact, x = CASES[name]
    function, single = getattr(arithmetic, name), x.astype(np.float32)

    @numba.njit  # type: ignore[untyped-decorator]
    def run(x: np.ndarray, y: np.ndarray) -> None:
        for n in range(len(x)):
            y[n] = function(x[n])

    found = np.empty_like(single)
    run(single, found)
    right = exact(single.astype(np.float64))
    scale = np.abs(right) if name in ("exp", "one_minus_exp") else np.maximum(np.abs(right), 1)
    assert (np.abs(found - right) / scale).max() < 3e-7


def test_exponentials_stay_numbers() -> None:
    """Beyond float32's range they stop at its ends."""

    @numba.njit  # type: ignore[untyped-decorator]
    def run(x: np.float32) -> np.float32:
        return arithmetic.exp(x)

    assert 0 < run(np.float32(-1e30)) < 1e-37 < 1e37 < run(np.float32(1e30)) < np.inf


def test_kernels_change_with_what_they_are_made_of() -> None:
    """Numba checks only a kernel's own file to decide whether the code on disk is still valid."""
    text = Path(arithmetic.__file__).read_bytes()
    known = hashlib.sha256(text).hexdigest()[:12]
    assert gated_row.ARITHMETIC == logistic_mixture.ARITHMETIC == known


@pytest.mark.faults
def test_compiling_is_announced_once() -> None:
    """Also that there is nowhere to keep the result, as for a function that is in no file."""
    place: dict[str, Callable[[np.ndarray], None]] = {}
    exec("def double(x):\n    x *= 2", place)
    kernel, x = compiled(set())(place["double"]), np.ones(2)
    with pytest.warns(Advice, match="takes some seconds: there is no directory to keep it in"):
        kernel(x)
    with warnings.catch_warnings(action="error"):
        kernel(x)
    assert x.tolist() == [4, 4]
