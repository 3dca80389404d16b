"""Training with Lightning: the module, the callbacks, and checkpoints that survive a kill at any moment."""

from pixelar.training.callbacks import (
    Checkpoints,
    SampleGrid,
    StepSeed,
    StopOnNonFinite,
    Throughput,
    WarmEMA,
)
from pixelar.training.checkpoints import AtomicCheckpointIO, newest_checkpoint, read_checkpoint
from pixelar.training.module import Training

__all__ = [
    "AtomicCheckpointIO",
    "Checkpoints",
    "SampleGrid",
    "StepSeed",
    "StopOnNonFinite",
    "Throughput",
    "Training",
    "WarmEMA",
    "newest_checkpoint",
    "read_checkpoint",
]
