"""Sites have their positions, in every scan."""

import pytest
import torch

from pixelar.layers.embedding import ColourEmbedding, TokenEmbedding
from pixelar.layers.positions import PlaceEmbedding, places, sinusoids
from pixelar.scan import SCANS, build_scan

every_scan = pytest.mark.parametrize("scan", SCANS)


@every_scan
def test_places_are_those_of_the_first_symbol(scan: str) -> None:
    built = build_scan(scan, (3, 4, 5))
    channel, row, column = torch.meshgrid(*map(torch.arange, (3, 4, 5)), indexing="ij")
    images = torch.stack((row, column, channel))  # (3, C, H, W): images that encode the position
    assert torch.equal(built.gather(images)[..., 0].T, places(built))


@every_scan
def test_a_place_embedding_is_a_sum_of_three(scan: str) -> None:
    built = build_scan(scan, (3, 4, 5))
    module = PlaceEmbedding(built, 6)
    assert [len(table.weight) for table in module.tables] == [4, 5, 3 if built.symbols == 1 else 1]
    found = module()
    for t, place in enumerate(places(built).tolist()):
        vectors = [table.weight[k] for table, k in zip(module.tables, place, strict=True)]
        torch.testing.assert_close(found[t], sum(vectors))


@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_sinusoids_tell_all_places_apart_if_wide_enough(width: int) -> None:
    grid = torch.cartesian_prod(torch.arange(6), torch.arange(9))
    found = sinusoids(grid, width)
    assert found.shape == (54, width) and found.abs().max() <= 1
    if width > 2:
        assert torch.cdist(found, found).fill_diagonal_(1).min() > 1e-3


@every_scan
def test_colours_have_tables_of_their_own(scan: str) -> None:
    built = build_scan(scan, (3, 2, 2))
    colours, tokens = ColourEmbedding(built, 5, 4), TokenEmbedding(built, 5, 4)
    x = torch.randint(5, (2, 3, 2, 2))
    found = colours(x)
    if built.symbols == 1:
        tables, channels = colours.table.weight.view(3, 5, 4), built.index[:, 0] // 4
        expected = [tables[channels[t], built.gather(x)[:, t, 0]] for t in range(12)]
        assert torch.equal(found, torch.stack(expected, 1))
    else:
        tokens.load_state_dict(colours.state_dict())
        assert torch.equal(found, tokens(x))
    assert torch.equal(colours.sites(x, 1, 3), found[:, 1:3])
