"""Draws pictures of the documents from the code: `python docs/figures/draw_docs.py [NAME …]`.

Nothing in them is drawn by hand: contexts are measured by changing pixels, what a step reads by
changing the cache, and what it writes by looking at it afterwards.
"""

import copy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

import pixelar
from pixelar.caches import Cache, new_cache
from pixelar.caches.gated_pixelcnn import GatedPixelCNNCache
from pixelar.caches.imagegpt import GPTCache
from pixelar.caches.incremental import ColumnsLeft, RowsAbove
from pixelar.caches.pixelcnn import PixelCNNCache
from pixelar.layers.masked import MaskedConv2d, RowsAboveConv2d
from pixelar.model import PixelModel, build_model
from pixelar.nets import Net
from pixelar.scan import SCANS
from pixelar.testing import randomize

OUT = Path(__file__).parents[1] / "images"
INK, PALE, READ, WRITTEN, BOTH, KEPT = (
    "#22303c", "#e9edf0", "#7db8e8", "#e8743b", "#8e5ea2", "#c3ccd3",
)  # fmt: skip
SIDE = 8


def figure(width: float, height: float) -> Figure:
    """Returns an empty figure on white, so that it reads the same on a dark page."""
    made = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    made.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr, call-arg]
    return made


def save(fig: Figure, name: str) -> None:
    fig.savefig(OUT / f"{name}.png")
    print(OUT / f"{name}.png")


def cells(axes: Axes, codes: Tensor, colours: Sequence[str]) -> None:
    """Draws a grid of cells (H, W), each in the colour whose index is its code."""
    height, width = codes.shape
    axes.imshow(codes, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(colours) - 0.5)
    axes.set(xticks=torch.arange(width + 1) - 0.5, yticks=torch.arange(height + 1) - 0.5)
    axes.grid(color="white", linewidth=1.5)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.spines[:].set_visible(False)


def title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=10, color=INK)


def legend(fig: Figure, **entries: str) -> None:
    """Explains colours, each given as name=colour, below a figure."""
    handles = [Patch(color=c, label=name.replace("_", " ")) for name, c in entries.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def tiny(net: str, scan: str = "raster", side: int = SIDE, **args: int | list[int]) -> PixelModel:
    """Returns a small model of random weights for grey images of four levels."""
    description = {
        "image_shape": [1, side, side],
        "scan": scan,
        "quantizer": {"name": "Identity", "args": {"levels": 4}},
        "head": {"name": "Categorical", "args": {}},
        "net": {"name": net, "args": args},
    }
    return randomize(build_model(description)).eval()


def draw_scans() -> None:
    fig = figure(9, 2.7)
    names = [name for name in SCANS if name not in ("subpixel", "planes")]
    for axes, name in zip(fig.subplots(1, 3), names, strict=True):
        order: Tensor = SCANS[name]((1, SIDE, SIDE)).index[:, 0]
        rows, columns = order // SIDE, order % SIDE
        cells(axes, torch.zeros(SIDE, SIDE), [PALE])
        axes.plot(columns, rows, color=READ, linewidth=1.5, zorder=1)
        axes.scatter(columns, rows, c=torch.arange(len(order)), cmap="viridis", s=42, zorder=2)
        for k in (0, len(order) - 1):  # first and last
            axes.scatter(columns[k], rows[k], s=130, facecolors="none", edgecolors=INK, zorder=3)
            axes.annotate(
                str(k), (columns[k], rows[k]), (0, 9), textcoords="offset points", ha="center",
                fontsize=8, color=INK,
            )  # fmt: skip
        title(axes, name)
    save(fig, "scans")


def draw_masks() -> None:
    """What one convolution reads, by the gradient of its output at the centre."""
    convs = {
        "PixelCNN, first layer\n5×5, mask A": MaskedConv2d(1, 1, (5, 5), "A"),
        "PixelCNN, other layers\n5×5, mask B": MaskedConv2d(1, 1, (5, 5), "B"),
        "Gated PixelCNN, vertical\nwhole rows": RowsAboveConv2d(1, 1, 5),
        "Gated PixelCNN, horizontal\n1×5, mask B": MaskedConv2d(1, 1, (1, 5), "B"),
    }
    fig = figure(9.5, 2.9)
    for axes, (name, conv) in zip(fig.subplots(1, 4), convs.items(), strict=True):
        x = torch.zeros(1, 1, 7, 7, requires_grad=True)
        conv(x)[0, 0, 3, 3].backward()
        assert x.grad is not None
        cells(axes, (x.grad[0, 0] != 0).int(), [PALE, READ])
        axes.add_patch(
            Rectangle((2.5, 2.5), 1, 1, fill=False, edgecolor=WRITTEN, linewidth=2.5, zorder=3)
        )
        title(axes, name)
    legend(fig, seen=READ, not_seen=PALE, place_that_is_computed=WRITTEN)
    save(fig, "masks")


def draw_contexts() -> None:
    """What whole nets depend on in an image, by changing every pixel."""
    models = {
        "PixelCNN": tiny("PixelCNN", width=6, depth=4, first_kernel_size=3, readout=[]),
        "Gated PixelCNN": tiny("GatedPixelCNN", width=6, depth=4, first_kernel_size=3),
        "ImageGPT, raster": tiny("ImageGPT", width=8, depth=1, heads=2),
        "ImageGPT, hilbert": tiny("ImageGPT", scan="hilbert", width=8, depth=1, heads=2),
    }
    target = 5 * SIDE + 2
    fig = figure(9.5, 2.9)
    for axes, (name, model) in zip(fig.subplots(1, 4), models.items(), strict=True):
        order: Tensor = model.scan.index[:, 0]
        t = int((order == target).nonzero())
        codes = torch.zeros(SIDE * SIDE, dtype=torch.long)
        codes[order[:t]] = 1  # before it, but out of sight
        codes[order[pixelar.dependencies(model)[t]]] = 2
        codes[target] = 3
        cells(axes, codes.view(SIDE, SIDE), [PALE, "#d9a7c7", READ, WRITTEN])
        title(axes, name)
    legend(fig, seen=READ, before_it_but_never_seen="#d9a7c7", later=PALE, pixel=WRITTEN)
    save(fig, "contexts")


# tensors of a cache, and their axes of positions
Parts = Callable[[Cache[Any]], list[tuple[Tensor, tuple[int, ...]]]]


def trace(net: Net, t: int, parts: Parts) -> list[Tensor]:
    """Finds which positions of a cache step t reads and writes.

    Returns:
        For each part codes with the shape of its positions: 0 for untouched, 1 for read, 2 for
        written, 3 for read and then written.
    """
    x = torch.randint(net.levels, (1, *net.scan.shape), generator=torch.Generator().manual_seed(0))
    cache = new_cache(net, x)
    for earlier in range(t):
        cache.step(x, earlier)
    usual = copy.deepcopy(cache)
    expected = usual.step(x, t)

    def outcome(left: Cache[Any], result: Tensor, number: int) -> list[Tensor]:
        return [result, *(part for k, (part, _) in enumerate(parts(left)) if k != number)]

    found = []
    for number, (part, axes) in enumerate(parts(cache)):
        shape = [part.shape[axis] for axis in axes]
        codes = torch.zeros(shape, dtype=torch.long)
        for place in torch.cartesian_prod(*map(torch.arange, shape)).view(-1, len(axes)).tolist():
            changed = copy.deepcopy(cache)
            at: list[int | slice] = [slice(None)] * part.ndim
            for axis, index in zip(axes, place, strict=True):
                at[axis] = index
            values = parts(changed)[number][0]
            values[tuple(at)] = before = torch.full_like(values[tuple(at)], 0.37)
            params = changed.step(x, t)
            pairs = zip(
                outcome(changed, params, number), outcome(usual, expected, number), strict=True
            )
            read = any(not torch.equal(here, there) for here, there in pairs)
            written = bool((parts(changed)[number][0][tuple(at)] != before).any())
            codes[tuple(place)] = read + 2 * written
        found.append(codes)
    return found


def by_columns(left: ColumnsLeft) -> tuple[Tensor, tuple[int, ...]]:
    """Returns a row of a convolution's input without its margin; columns are its positions."""
    return left.buffer[:, 0, left.taps - 1 :], (1,)


def by_places(above: RowsAbove) -> tuple[Tensor, tuple[int, ...]]:
    """Returns the rows above without their margins."""
    return above.buffer[:, :, above.margin : above.margin + above.width], (1, 2)


def two_moments(net: Net, parts: Parts, names: Sequence[str], file: str, rows: int) -> None:
    """Draws what the first step of a row does to a cache, and a step within the row."""
    fig = figure(9, 3.2)
    moments = {"a row begins: column 0": 4 * SIDE, "within the row: column 3": 4 * SIDE + 3}
    grid = fig.subplots(3, 2, height_ratios=(rows, 1, 1))
    for column, (moment, t) in zip(grid.T, moments.items(), strict=True):
        with torch.no_grad():
            grids = trace(net, t, parts)
        title(column[0], moment)
        for axes, codes in zip(column, grids, strict=True):
            row = codes if codes.ndim == 2 else codes[None]
            cells(axes, row, [KEPT, READ, WRITTEN, BOTH])
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10, color=INK)
    legend(fig, read=READ, written=WRITTEN, read_and_then_written=BOTH, untouched=KEPT)
    save(fig, file)


def draw_pixelcnn_cache() -> None:
    net = tiny("PixelCNN", width=4, depth=2, first_kernel_size=3, kernel_size=5, readout=[]).net

    def parts(cache: Cache[Any]) -> list[tuple[Tensor, tuple[int, ...]]]:
        assert isinstance(cache, PixelCNNCache)
        conv = cache.blocks[0]
        return [by_places(conv.above), (conv.link, (1,)), by_columns(conv.left)]

    two_moments(net, parts, ("2 rows above", "what they add", "the row"), "cache-pixelcnn", 2)


def draw_gated_cache() -> None:
    net = tiny("GatedPixelCNN", width=4, depth=2, first_kernel_size=3, kernel_size=5).net

    def parts(cache: Cache[Any]) -> list[tuple[Tensor, tuple[int, ...]]]:
        assert isinstance(cache, GatedPixelCNNCache)
        return [by_places(cache.above[1]), (cache.links[0], (1,)), by_columns(cache.left[1])]

    names = ("3 rows of v", "links v → h", "row of h")
    two_moments(net, parts, names, "cache-gated-pixelcnn", 3)


def imagegpt_parts(cache: Cache[Any]) -> list[tuple[Tensor, tuple[int, ...]]]:
    """Returns keys and values of every block in turn."""
    assert isinstance(cache, GPTCache)
    memories = [block.memory for block in cache.blocks]
    return [(part, (2,)) for memory in memories for part in (memory.keys, memory.values)]


def draw_imagegpt_cache() -> None:
    net = tiny("ImageGPT", side=5, width=4, depth=2, heads=2).net
    t = 13
    with torch.no_grad():
        grids = trace(net, t, imagegpt_parts)
    codes = torch.stack(grids)
    fig = figure(9, 2.1)
    axes = fig.subplots()
    cells(axes, codes, [PALE, READ, WRITTEN, BOTH])
    for k, name in enumerate(
        ("block 1, keys", "block 1, values", "block 2, keys", "block 2, values")
    ):
        axes.text(-0.8, k, name, ha="right", va="center", fontsize=9, color=INK)
    for site in range(25):
        axes.text(site, 4.0, str(site), ha="center", va="center", fontsize=8, color=INK)
    title(axes, f"site {t} of 25")
    legend(fig, read=READ, written=WRITTEN, empty=PALE)
    save(fig, "cache-imagegpt")


DRAWINGS: dict[str, Callable[[], None]] = {
    "scans": draw_scans,
    "masks": draw_masks,
    "contexts": draw_contexts,
    "cache-pixelcnn": draw_pixelcnn_cache,
    "cache-gated-pixelcnn": draw_gated_cache,
    "cache-imagegpt": draw_imagegpt_cache,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or DRAWINGS:
        DRAWINGS[name]()
