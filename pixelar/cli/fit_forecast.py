"""What a run prints before its first step."""

import sys

import lightning as L

from pixelar.memory.budget import available_memory, gigabytes
from pixelar.training import Training
from pixelar.training.data_module import PixelData
from pixelar.training.memory import predict_step_memory

__all__ = ["foresee", "tell_orders"]


def foresee(trainer: L.Trainer, training: Training, data: PixelData) -> None:
    """Prints the memory that a step will take, and what to do if that much is not free."""
    device = trainer.strategy.root_device
    try:
        step = predict_step_memory(
            training,
            data.batch_size,
            precision=trainer.precision,
            device=device,
            processes=trainer.world_size,
        )
    except Exception:  # a net may need actual values; its own errors show in training
        print("The memory of a training step cannot be predicted for this net.")
        return
    free = available_memory(device)
    told = "" if free is None else f"; {gigabytes(free)} are free"
    print(f"{str(step)[0].upper()}{str(step)[1:]}{told}.", flush=True)
    if free is not None and step.peak > free:
        print(
            "pixelar: that is more than is free; use a smaller data.batch_size, with "
            "trainer.accumulate_grad_batches for the same number of images in a step"
            + (
                ""
                if training.model.net.grad_checkpointing
                else ", or model.grad_checkpointing: true"
            ),
            file=sys.stderr,
        )


def tell_orders(training: Training) -> None:
    """Prints in which orders a model is trained, if there are several."""
    scan = training.model.scan.name
    several = {
        "symmetries": f"in one of the eight symmetries of {scan}",
        "random": "in a new order",
    }
    if training.orders in several:
        how = several[training.orders]
        print(f"Each batch is trained {how}; validation is in one order, {scan}.", flush=True)
