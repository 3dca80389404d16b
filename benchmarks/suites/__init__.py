"""Suites of measurements; each is a function from settings to rows, listed in `SUITES`. A group is
a name for several of them.
"""

from collections.abc import Callable, Iterator

from suites.evaluation import evaluation, loading
from suites.loss import loss
from suites.measure import Row, Settings
from suites.sampling import parallel, sampling
from suites.scaling import batches, depths, pixels, sparse
from suites.training import convolution, training
from suites.transformer import transformer

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
