"""A scan visits every symbol once, and the named ones go where their names say."""

import pytest
import torch

from pixelar.errors import PixelarError
from pixelar.scan import SCANS, build_scan, hilbert, planes, raster, snake, subpixel

SHAPES = [(1, 1, 1), (1, 4, 4), (3, 5, 7), (1, 8, 8), (3, 1, 6)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SCANS)
def test_every_symbol_is_visited_once(name: str, shape: tuple[int, int, int]) -> None:
    scan = build_scan(name, shape)
    assert scan.index.shape == (scan.sites, scan.symbols)
    assert scan.dims == shape[0] * shape[1] * shape[2]
    assert torch.equal(scan.index.flatten().sort().values, torch.arange(scan.dims))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SCANS)
def test_scatter_undoes_gather(name: str, shape: tuple[int, int, int]) -> None:
    scan = build_scan(name, shape)
    x = torch.randint(256, (2, *shape))
    assert torch.equal(scan.scatter(scan.gather(x)), x)


def test_orders_are_as_named() -> None:
    shape = (1, 2, 3)
    assert raster(shape).index.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert snake(shape).index.flatten().tolist() == [0, 1, 2, 5, 4, 3]
    assert raster((3, 1, 2)).index.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert subpixel((3, 1, 2)).index.flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert planes((3, 1, 2)).index.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert hilbert((1, 2, 2)).index.flatten().tolist() == [0, 1, 3, 2]


@pytest.mark.parametrize(("name", "side"), [("snake", 7), ("hilbert", 2), ("hilbert", 16)])
def test_neighbours_in_the_order_are_neighbours_in_the_image(name: str, side: int) -> None:
    place = build_scan(name, (1, side, side)).index[:, 0]
    row, column = place // side, place % side
    distance = row.diff().abs() + column.diff().abs()
    assert (distance == 1).all()


def test_prefix_counts_sites_known_in_full_for_all_images() -> None:
    scan = raster((3, 2, 2))
    known = torch.ones(2, 3, 2, 2, dtype=torch.bool)
    assert scan.prefix(known) == 4
    known[1, 2, 1, 0] = False  # one channel of site 2 in one image
    assert scan.prefix(known) == 2
    assert scan.prefix(torch.zeros_like(known)) == 0


def test_index_moves_with_the_module_and_is_not_saved() -> None:
    scan = raster((1, 2, 2))
    assert scan.to("meta").index.device.type == "meta"
    assert not scan.state_dict()


def test_bad_arguments_are_explained() -> None:
    with pytest.raises(PixelarError, match="unknown 'snail'; did you mean 'snake'"):
        build_scan("snail", (1, 2, 2))
    with pytest.raises(PixelarError, match="at least one pixel"):
        raster((1, 0, 2))
