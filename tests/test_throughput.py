"""Loading data against training: rates that belong together, whatever they are here."""

from functools import partial

import pytest
import torch

from pixelar.data import Digits
from pixelar.heads import Categorical
from pixelar.nets import NETS
from pixelar.nets.presets import PRESETS
from pixelar.quantizers import Identity
from pixelar.training import Training
from pixelar.training.throughput import loader_share


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize("net", NETS)
def test_the_share_of_loading(net: str, classes: int) -> None:
    arguments = {**PRESETS[net].tiny, "classes": classes}
    training = Training(
        partial(NETS[net], **arguments), Categorical, Identity(levels=17), (1, 8, 8)
    )
    before = [p.clone() for p in training.parameters()]
    found = loader_share(training, Digits().split("train"), batch_size=8, steps=2)
    assert found.batches_per_s > 0 and found.steps_per_s > 0
    together = 1 / (1 / found.batches_per_s + 1 / found.steps_per_s)
    assert found.share == pytest.approx(together / found.batches_per_s) and found.share < 1
    assert any(not torch.equal(*pair) for pair in zip(before, training.parameters(), strict=True))
