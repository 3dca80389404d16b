"""Transformer-XL: what a memory holds, how far it reaches, and where gradients stop."""

from typing import Any

import pytest
import torch
import zoo
from torch import Tensor

from pixelar.caches import CACHES, new_cache
from pixelar.caches.transformer_xl import TransformerXLCache
from pixelar.model import PixelModel
from pixelar.nets import TransformerXL
from pixelar.sampling.schedules.fixed_point import fixed_point
from pixelar.scoring.analysis import dependencies, gradient_dependencies
from pixelar.testing import assert_cache_equals_forward

X = torch.randint(3, (2, 1, 5, 6), generator=torch.Generator().manual_seed(0))


def built(**args: int) -> PixelModel:
    options: dict[str, Any] = {"compressed": 0, **args}
    return zoo.tiny("TransformerXL", **options)


def params(model: PixelModel, weights: PixelModel) -> Tensor:
    """Returns the parameters of X under the weights of another model."""
    model.load_state_dict(weights.state_dict())
    with torch.no_grad():
        return model.net(X)


@pytest.mark.parametrize("segment", [1, 4, 7])
def test_a_memory_of_everything_is_a_transformer_without_segments(segment: int) -> None:
    whole = built(segment=30, memory=0)
    found = params(built(segment=segment, memory=30), whole)
    torch.testing.assert_close(found, params(whole, whole), rtol=0, atol=1e-10)


def test_compression_by_one_is_a_longer_memory() -> None:
    """With a convolution that hands on what it gets."""
    compressing = built(segment=4, memory=4, compressed=6, compression=1)
    state = {**built(segment=4, memory=10).state_dict()}
    longer = params(built(segment=4, memory=10), built(segment=4, memory=10))
    for name, value in compressing.state_dict().items():
        if "compress" in name:
            state[name] = torch.eye(8)[..., None] if value.ndim == 3 else torch.zeros(8)
    compressing.load_state_dict(state)
    torch.testing.assert_close(params(compressing, compressing), longer, rtol=0, atol=1e-10)


@pytest.mark.parametrize("compressed", [0, 2])
def test_a_block_sees_its_segment_and_what_it_remembers(compressed: int) -> None:
    """Position p holds site p - 1, and predicts site p."""
    model = built(depth=1, segment=4, memory=6, compressed=compressed, compression=2)
    place = torch.arange(30)
    begins = place // 4 * 4 - 6 - 2 * compressed  # the first position that a segment reads
    seen = (place[None] + 1 >= begins[:, None]) & (place[None] < place[:, None])
    assert torch.equal(dependencies(model), seen)


def test_gradients_stop_where_the_segment_begins() -> None:
    model = zoo.tiny("TransformerXL")  # with compressed memory
    assert torch.equal(gradient_dependencies(model), zoo.gradient_past("TransformerXL", 30))


@pytest.mark.parametrize(
    "args",
    [
        {"segment": 4, "memory": 0},
        {"segment": 4, "memory": 10},
        {"segment": 7, "memory": 3},
        {"segment": 30, "memory": 0},
        {"segment": 4, "memory": 0, "compressed": 3, "compression": 2},
        {"segment": 8, "memory": 4, "compressed": 1, "compression": 4},
        {"segment": 2, "memory": 6, "compressed": 9, "compression": 2},
    ],
)
def test_windows_of_all_sizes(args: dict[str, int]) -> None:
    assert_cache_equals_forward(built(**args))


def test_a_window_is_as_large_for_any_image() -> None:
    sizes = []
    for height in (5, 50):
        net = zoo.tiny("TransformerXL", shape=(1, height, 6)).net
        cache = new_cache(net, torch.zeros(1, 1, height, 6, dtype=torch.long))
        assert isinstance(cache, TransformerXLCache)
        sizes.append([t.shape for t in cache.windows[0].keys])
    assert sizes[0] == sizes[1]


def test_looking_ahead_keeps_no_more_windows_than_it_looks_into(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = built(segment=4, memory=4)
    net, x = model.net, X.clone()
    assert isinstance(net, TransformerXL)
    made: list[TransformerXLCache] = []

    class Kept(TransformerXLCache):
        def __init__(self, net: TransformerXL, x: Tensor, labels: Tensor | None = None) -> None:
            super().__init__(net, x, labels)
            made.append(self)

    monkeypatch.setitem(CACHES, TransformerXL, Kept)  # type: ignore[misc]
    windows = []
    for _ in fixed_point(model, x, lambda log_pmf, t, s: log_pmf.argmax(-1)):
        windows.append([w.number for w in made[0].windows])
    assert max(map(len, windows)) > 1
    for numbers in windows:
        assert numbers == [*range(numbers[0], numbers[-1] + 1)]
