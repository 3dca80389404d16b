"""Training with Lightning: the module, the callbacks, and checkpoints that survive a kill."""

from pixelar.errors import extras

with extras("training"):
    from pixelar.training.callbacks import Bar, SampleGrid, StepSeed, StopOnNonFinite, WarmEMA
    from pixelar.training.checkpoints import AtomicCheckpointIO, Checkpoints
    from pixelar.training.curves import Curves
    from pixelar.training.ending import Ending, check_trainer
    from pixelar.training.module import Training

__all__ = [
    "AtomicCheckpointIO",
    "Bar",
    "Checkpoints",
    "Curves",
    "Ending",
    "SampleGrid",
    "StepSeed",
    "StopOnNonFinite",
    "Training",
    "WarmEMA",
    "check_trainer",
]
