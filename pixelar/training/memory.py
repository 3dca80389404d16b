"""How much memory a training step takes, predicted before it is run."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch

from pixelar.memory.budget import gigabytes
from pixelar.memory.peaks import without_values
from pixelar.training.module import Training

__all__ = ["StepMemory", "predict_step_memory"]

STATES = {"adamw": 2, "rmsprop": 1}  # tensors that an optimizer keeps for each parameter
MIXED = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
TRUE = {"16-true": torch.float16, "bf16-true": torch.bfloat16, "64-true": torch.float64}


@dataclass(frozen=True)
class StepMemory:
    """The bytes that a training step takes.

    Attributes:
        weights: Parameters and buffers.
        average: The weights' moving average.
        gradients: The gradients, and the buckets in which several processes exchange them.
        optimizer: What the optimizer keeps.
        activations: What is saved for the gradients once the loss is computed.
        peak: The most bytes that are alive at once.
    """

    weights: int
    average: int
    gradients: int
    optimizer: int
    activations: int
    peak: int

    def __str__(self) -> str:
        kept = self.weights + self.average + self.gradients + self.optimizer
        return (
            f"a training step takes about {gigabytes(self.peak)} at its peak "
            f"({gigabytes(self.activations)} of activations; {gigabytes(kept)} of weights, their "
            "average, gradients and the optimizer's state)"
        )


def predict_step_memory(
    training: Training,
    batch_size: int,
    *,
    precision: str = "32-true",
    device: torch.device | None = None,
    average: bool = True,
    processes: int = 1,
) -> StepMemory:
    """Predicts the memory of a step, without computing one.

    The loss runs forward and backward on fake tensors, as on the device but not compiled; a
    compiled step usually takes less.

    Arguments:
        training: The model with its optimizer.
        batch_size: The images in a batch, per process.
        precision: As the trainer's.
        device: The device; None for the model's.
        average: Whether there is a moving average of the weights.
        processes: How many processes train together.
    """
    device = device or training.model.device
    mixed = MIXED.get(precision)
    with without_values(training, device, TRUE.get(precision)) as (made, live):
        made.train()
        parameters = [p for p in made.parameters() if p.requires_grad]
        largest, own = max(p.nbytes for p in parameters), sum(p.nbytes for p in parameters)
        weights = live.peak = live.now
        x = torch.zeros(batch_size, *made.model.scan.shape, dtype=torch.long, device=device)
        labels = x.new_zeros(batch_size) if made.model.classes else None
        with torch.autocast(device.type, mixed) if mixed else nullcontext():
            loss = made.loss(x, labels)
        activations = live.now - weights
        loss.backward()
        passing = own if device.type == "cuda" else 2 * largest  # inside the optimizer's step
        peak = max(live.peak, weights + own + passing)
    gradients = own * (2 if processes > 1 else 1)
    optimizer = STATES[training.rule] * own
    # the average is kept in float32 at least
    averaged = sum(p.numel() * max(p.element_size(), 4) for p in parameters) if average else 0
    return StepMemory(
        weights=weights,
        average=averaged,
        gradients=gradients,
        optimizer=optimizer,
        activations=activations,
        peak=peak + optimizer + averaged + gradients - own,
    )
