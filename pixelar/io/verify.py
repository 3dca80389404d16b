"""Checks that a model that is read back is the model that was saved."""

import copy
import json
from pathlib import Path

import torch
from torch import Tensor

from pixelar.errors import StorageError
from pixelar.io.restore import restore
from pixelar.model import PixelModel, describe_model
from pixelar.model.describe import foreign_classes
from pixelar.nets.base import takes_any_order
from pixelar.scan import build_scan

__all__ = ["check_description", "check_same_model"]


def check_description(model: PixelModel) -> None:
    """Raises PixelarError unless a model's description builds a model that computes the same.

    Weights are replaced by noise on both sides, since untrained weights can hide a difference:
    an output layer of zeros gives zeros whatever comes before it.
    """
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(tensor.shape, generator=generator).to(tensor.dtype) * 0.5
        if tensor.is_floating_point()
        else tensor.cpu()
        for name, tensor in model.state_dict().items()
    }
    kinds = ", ".join(foreign_classes(model)) or type(model.net).__name__
    check_same_model(model, json.loads(json.dumps(describe_model(model))), state, Path(kinds))


def check_same_model(
    model: PixelModel, description: object, state: dict[str, Tensor], file: Path
) -> None:
    """Raises PixelarError unless a description and weights, as read from a file, restore a model.

    Arguments:
        model: The model that was saved. Its own weights are not used.
        description: Its description.
        state: The weights by name, which the restored model must have to the last bit.
        file: Where they come from, for messages.
    """
    again = restore(description, state, file, trust=foreign_classes(model))
    for name, tensor in again.state_dict().items():
        if not torch.equal(tensor, state[name].to(tensor.dtype)):
            raise StorageError(f"{file}: tensor {name!r} does not come back as it was saved")
    # in float64, in which rounding errors are smaller than the effect of a wrong argument
    original = copy.deepcopy(model).cpu().eval()
    original.load_state_dict(state)
    if takes_any_order(original.net):
        original.net.reorder(build_scan(original.net.built_in, original.scan.shape))
    x = torch.randint(
        model.net.levels, (1, *model.scan.shape), generator=torch.Generator().manual_seed(0)
    )
    labels = torch.zeros(1, dtype=torch.long) if model.classes else None
    want, have = (_log_prob(each, x, labels) for each in (original, again))
    if not torch.allclose(have, want, rtol=1e-6, atol=1e-6, equal_nan=True):
        name = type(model.net).__name__
        raise StorageError(
            f"{file}: the model that is read back gives other likelihoods than the one that was "
            f"saved; does {name} depend on anything but its constructor's arguments and weights?"
        )


@torch.no_grad()
def _log_prob(model: PixelModel, x: Tensor, labels: Tensor | None) -> Tensor:
    """Returns the log-probabilities of sites, with shape (1, T), computed in float64."""
    model.net.double()
    model.head.double()
    return model.log_prob_sites(x, labels)
