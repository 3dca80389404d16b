"""The Axial Transformer: all of the past in every scan, and the rows above read once per row."""

import pytest
import torch
import zoo

from pixelar.caches import new_cache
from pixelar.nets import AxialTransformer
from pixelar.scoring.analysis import dependencies, gradient_dependencies


@pytest.mark.parametrize("scan", zoo.scans_of("AxialTransformer"))
@pytest.mark.parametrize("shape", [(3, 3, 4), (3, 4, 1), (3, 1, 4), (1, 4, 3)])
def test_every_earlier_symbol_is_seen(scan: str, shape: tuple[int, int, int]) -> None:
    """With a single pair of outer blocks, and one inner block."""
    model = zoo.tiny("AxialTransformer", shape=shape, scan=scan, depth=1)
    past = torch.ones(model.scan.sites, model.scan.sites, dtype=torch.bool).tril(-1)
    assert torch.equal(dependencies(model), past)
    assert torch.equal(gradient_dependencies(model), past)


@pytest.mark.parametrize(("scan", "rows", "planes"), [("raster", 4, 0), ("planes", 12, 3)])
def test_rows_are_read_once_and_planes_are_encoded_once(scan: str, rows: int, planes: int) -> None:
    net = zoo.tiny("AxialTransformer", shape=(3, 4, 5), scan=scan).net
    assert isinstance(net, AxialTransformer)
    calls = {"outer": 0, "encoder": 0}

    def count(part: str) -> None:
        calls[part] += 1

    net.outer[0].row.register_forward_hook(lambda *_: count("outer"))
    if planes:
        net.encoder[0].register_forward_hook(lambda *_: count("encoder"))
    x = torch.zeros(2, 3, 4, 5, dtype=torch.long)
    cache = new_cache(net, x)
    for t in range(net.scan.sites):
        cache.step(x, t)
    # the last row of a plane is passed to no other row
    assert calls == {"outer": rows - max(1, planes), "encoder": planes}


def test_only_planes_have_an_encoder() -> None:
    def has(scan: str, shape: tuple[int, int, int]) -> bool:
        names = zoo.tiny("AxialTransformer", shape=shape, scan=scan).state_dict()
        return any("encoder" in name for name in names)

    assert has("planes", (3, 2, 2))
    assert not has("planes", (1, 2, 2)) and not has("raster", (3, 2, 2))
