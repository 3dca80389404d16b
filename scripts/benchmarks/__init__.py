"""Suites of measurements; each is a function from settings to rows, listed in `SUITES`. A group is
a name for several of them.
"""

from collections.abc import Callable, Iterator

from benchmarks.evaluation import evaluation, loading
from benchmarks.loss import loss
from benchmarks.measure import Row, Settings
from benchmarks.sampling import parallel, sampling
from benchmarks.scaling import batches, depths, pixels, sparse
from benchmarks.training import convolution, training
from benchmarks.transformer import transformer

__all__ = ["GROUPS", "SUITES"]

SUITES: dict[str, Callable[[Settings], Iterator[Row]]] = {
    "sampling": sampling,
    "parallel": parallel,
    "transformer": transformer,
    "training": training,
    "convolution": convolution,
    "loss": loss,
    "evaluation": evaluation,
    "loading": loading,
    "pixels": pixels,
    "batches": batches,
    "depths": depths,
    "sparse": sparse,
}
GROUPS = {"scaling": ("pixels", "batches", "depths", "sparse")}
