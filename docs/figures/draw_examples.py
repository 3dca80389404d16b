"""Draws the documents' examples with packaged models: `python docs/figures/draw_examples.py`."""

import math

import torch
from draw_docs import INK, OUT, READ, WRITTEN, figure, save, title
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import pixelar
from pixelar.data import Digits
from pixelar.hub.cards import course
from pixelar.hub.index import packaged, read_card
from pixelar.model import PixelModel
from pixelar.plotting import save_picture, show_unknown
from pixelar.sampling.canvas import Canvas
from pixelar.sampling.smc import follow

MODEL = "digits-gated-pixelcnn"


def show(axes: Axes, image: Tensor) -> None:
    """Draws an image (C, H, W) with hard pixels."""
    axes.imshow(image.expand(3, -1, -1).permute(1, 2, 0), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#c3ccd3")


def draw_particles(model: PixelModel, image: Tensor) -> None:
    """A population during its pass over an image (1, 1, 8, 8) whose lower half is known."""
    known = torch.zeros(8, 8, dtype=torch.bool)
    known[4:] = True
    count, moments = 12, (32, 35, 36, 44, 64)
    canvas = Canvas.prepare(model, image, known, method="particles", seed=4)
    walk = [*follow(canvas, every=1, particles=count)]
    taken = [walk[moment - 1] for moment in moments]
    fig = figure(10, 7.4)
    upper, lower = fig.subfigures(2, 1, height_ratios=(3, 1))  # type: ignore[misc]
    grid = upper.subplots(len(taken), count, squeeze=False)
    for row, found, moment in zip(grid, taken, moments, strict=True):
        drawn = torch.arange(64).view(8, 8) < moment
        weights = found.log_weights[0, 0].exp()
        for axes, canvas, weight in zip(row, found.images[0, 0], weights.tolist(), strict=True):
            show(axes, show_unknown(canvas[None], drawn)[0])
            axes.set_xlabel(f"{weight:.2f}" if weight >= 0.005 else "0", fontsize=9, color=INK)
            if weight > 1.5 / count:
                axes.spines[:].set(color=WRITTEN, linewidth=2.5)
        row[0].set_ylabel(f"{moment} pixels", rotation=0, ha="right", va="center", color=INK)
    upper.suptitle("12 canvases on their way, and their weights", fontsize=11, color=INK)
    _draw_size(lower, walk[-1], count)
    save(fig, "particles")


def _draw_size(fig: Figure, found: pixelar.Posterior, count: int) -> None:
    """Draws the effective sample size over the sites."""
    axes = fig.subplots()
    sites = torch.arange(found.ess.shape[-1])
    axes.axvspan(31.5, 63.5, color="#eef4fa", zorder=0)
    axes.plot(sites, found.ess[0, 0], color=READ, linewidth=2)
    again = found.resampled[0, 0]
    axes.scatter(sites[again], found.ess[0, 0][again], color=WRITTEN, zorder=3, label="resampled")
    axes.axhline(count / 2, color=INK, linewidth=0.8, linestyle=":")
    axes.set(xlabel="site (known from 32 on)", ylabel="effective\nsample size", xlim=(-0.5, 63.5))
    axes.legend(frameon=False)


def draw_methods(model: PixelModel, images: Tensor) -> None:
    """Images whose lower half is known, completed by clamping and by particles."""
    known = torch.zeros(8, 8, dtype=torch.bool)
    known[4:] = True
    many = images.repeat_interleave(5, 0)
    fig = figure(10, 0.4 + 0.95 * len(images))
    grid = fig.subplots(len(images), 12, squeeze=False)
    results = {
        name: pixelar.complete(model, many, known, method=name, particles=256, seed=1)
        for name in ("clamp", "particles")
    }
    columns = [images[:, None], show_unknown(images, known)[:, None]]
    columns += [drawn.view(len(images), 5, 1, 8, 8) for drawn in results.values()]
    pictures = torch.cat([part.expand(-1, -1, 3, -1, -1) for part in columns], 1)
    for row, shown in zip(grid, pictures, strict=True):
        for axes, picture in zip(row, shown, strict=True):
            show(axes, picture)
    title(grid[0, 0], "picture")
    title(grid[0, 1], "known")
    for start, (name, drawn) in zip((2, 7), results.items(), strict=True):
        bits = pixelar.bits_per_dim(model, drawn).mean()
        title(grid[0, start + 2], f"{name}: {bits:.2f} bits/dim on average")
    save(fig, "clamp-and-particles")


@torch.no_grad()
def expected_bits(model: PixelModel, images: Tensor) -> Tensor:
    """Returns the mean surprise that the model itself expects at each pixel, (B, H, W)."""
    x = model.encode(images)
    log_pmf = model.head.log_pmf(model.net(x, None), x.new_zeros(len(x), model.scan.sites, 0))
    entropy = -(log_pmf.exp() * log_pmf).sum(-1) / math.log(2)  # (B, T)
    return model.scan.scatter(entropy[..., None])[:, 0]


def draw_surprise(model: PixelModel, image: Tensor) -> None:
    """A picture, the same with one wrong pixel, and upside down: bits spent, and bits expected."""
    wrong = image.clone()
    wrong[0, 0, 1, 6] = 255
    images = torch.cat((image, wrong, image.flip(2)))
    spent, expected = pixelar.surprise_map(model, images), expected_bits(model, images)
    fig = figure(8.4, 7)
    grid = fig.subplots(3, 3)
    bits = pixelar.bits_per_dim(model, images).tolist()
    names = ("as it is", "one wrong pixel", "upside down")
    for row, name, picture, here, hoped, each in zip(
        grid, names, images, spent, expected, bits, strict=True
    ):
        show(row[0], picture)
        row[0].set_ylabel(f"{name}\n{each:.2f} bits/dim", color=INK)
        for axes, values in zip(row[1:], (here, hoped), strict=True):
            drawn = axes.imshow(values, cmap="inferno", vmin=0, vmax=10)
            axes.set(xticks=[], yticks=[])
    for axes, name in zip(grid[0], ("picture", "bits spent", "bits expected"), strict=True):
        title(axes, name)
    fig.colorbar(
        drawn, ax=grid[:, 1:].ravel().tolist(), label="bits per pixel", extend="max", shrink=0.6
    )
    save(fig, "surprise-explained")


def draw_mask() -> None:
    """A mask file for the command line: all but a disc is white, that is known."""
    rows, columns = torch.cartesian_prod(torch.arange(8), torch.arange(8)).T - 3.5
    known = (rows.square() + columns.square() > 7).view(1, 8, 8).expand(3, -1, -1)
    save_picture(known.to(torch.uint8) * 255, OUT / "mask.png")


def draw_learning() -> None:
    """The validation curve of every packaged model, and its score on the test images."""
    cards = [card for card in map(read_card, packaged().values()) if card]
    rows = math.ceil(len(cards) / 4)
    fig = figure(11, 0.5 + 2.1 * rows)
    grid = fig.subplots(rows, 4, squeeze=False).ravel()
    for axes, card in zip(grid, cards, strict=False):
        points, unit = course(card)
        of_test = card["figure"]["nats_mean" if unit == "nats" else "mean"]
        axes.plot(
            *zip(*points, strict=True),
            color=READ,
            marker="o",
            markersize=4,
            label="validation, by steps",
        )
        axes.axhline(of_test, color=WRITTEN, linewidth=1, linestyle="--", label="test, at the end")
        axes.set(xlim=(0, None), ylabel=unit)
        axes.locator_params(axis="x", nbins=4)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        title(axes, card["name"])
    for axes in grid[len(cards) :]:
        axes.set_visible(False)
    handles, names = grid[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    save(fig, "learning-curves")


if __name__ == "__main__":
    model, images = pixelar.load(MODEL), Digits().split("test").images
    draw_particles(model, images[3:4])
    draw_methods(model, images[[3, 0, 11]])
    draw_surprise(model, images[3:4])
    draw_mask()
    draw_learning()
