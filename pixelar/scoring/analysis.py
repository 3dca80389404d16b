"""Analysis of a model: what a site depends on, the bits of each pixel, and the likelihood symbol by
symbol.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pixelar.common.arrays import Array, whole_number
from pixelar.errors import DataError
from pixelar.model import PixelModel, evaluating
from pixelar.model.boundary import for_models
from pixelar.sampling.draw import Sites
from pixelar.sampling.unroll import unroll

__all__ = [
    "dependencies",
    "gradient_dependencies",
    "seen_by",
    "sequential_log_prob",
    "surprise_map",
    "surprise_unit",
]


@for_models
@torch.no_grad()
def dependencies(
    model: PixelModel, *, trials: int = 3, batch_size: int = 64, seed: int = 0
) -> Tensor:
    """Finds which sites the parameters of each site depend on, by changing one site at a time.

    A change counts if a single bit of the parameters differs. Several random images are tried,
    since a unit may be inactive for one of them. Labels, where the model takes them, are held at
    class 0.

    Arguments:
        model: The model.
        trials: The number of random images.
        batch_size: How many changed images are evaluated at once.
        seed: The seed of the images.

    Returns:
        A bool matrix with shape (T, T): [t, u] says whether site t depends on site u. A model
        is causal iff the matrix is strictly lower triangular.
    """
    scan, levels = model.scan, model.net.levels
    trials, batch_size = (
        whole_number(value, name, 1)
        for name, value in (("trials", trials), ("batch_size", batch_size))
    )
    generator = torch.Generator().manual_seed(whole_number(seed, "seed"))
    found = torch.zeros(scan.sites, scan.sites, dtype=torch.bool)
    with evaluating(model):
        for _ in range(trials):
            x = torch.randint(levels, (1, *scan.shape), generator=generator)
            shift = torch.randint(1, levels, (scan.sites, scan.symbols), generator=generator)
            for sites in torch.arange(scan.sites).split(batch_size):
                same = x.repeat(len(sites), 1, 1, 1)
                changed = same.clone().flatten(1)
                rows = torch.arange(len(sites))[:, None]
                at = scan.index.cpu()[sites]  # (b, S)
                changed[rows, at] = (changed[rows, at] + shift[sites]) % levels
                # both passes have the same shape, so that equal sums are equal to the last bit
                before, after = (_params(model, c) for c in (same, changed.view_as(same)))
                found[:, sites] |= (before != after).any(-1).T.cpu()
    return found


@for_models
def gradient_dependencies(model: PixelModel, *, trials: int = 3, seed: int = 0) -> Tensor:
    """Does what `dependencies` does, by the gradient of each site's parameters with respect to the
    embedded symbols.

    A net whose memory is detached, as in TransformerXL, depends on more than its gradient shows.
    """
    scan = model.scan
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros(scan.sites, scan.sites, dtype=torch.bool)
    with evaluating(model), torch.enable_grad(), _embedded(model) as captured:
        for _ in range(trials):
            x = torch.randint(model.net.levels, (1, *scan.shape), generator=generator)
            captured.clear()
            params = _params(model, x)[0]  # (T, P)
            weights = torch.randn(params.shape, generator=generator).to(params)
            for t in range(scan.sites):
                value = (params[t] * weights[t]).sum()
                for by_site in _gradients(model, value, captured):
                    found[t] |= (by_site != 0).any(-1)
    return found


@for_models
def seen_by(
    model: PixelModel,
    t: int,
    x: Array,
    labels: Array | None = None,
    *,
    directions: int = 4,
    seed: int = 0,
) -> Tensor:
    """Returns how strongly the parameters of one site depend on each pixel of an image.

    The measure is the root mean square, over random directions of the parameters, of the gradient
    with respect to the embedded symbols. It is zero for pixels that the site does not depend on.

    Arguments:
        model: The model.
        t: The site.
        x: The symbols of one image with shape (1, C, H, W).
        labels: Its class with shape (1,), for a model that is conditioned on classes.
        directions: The number of random directions.
        seed: Their seed.

    Returns:
        Values with shape (H, W), 0 or more.
    """
    scan, generator, x = model.scan, torch.Generator().manual_seed(seed), model.check_symbols(x)
    if whole_number(t, "t, the number of a site,", 0) >= scan.sites:
        raise DataError(f"t must be a site from 0 to {scan.sites - 1}; got {t}")
    if len(x) != 1:
        raise DataError(f"x must be one image, with shape (1, C, H, W); got {len(x)} images")
    squares = torch.zeros(scan.sites)
    with evaluating(model), torch.enable_grad(), _embedded(model) as captured:
        params = model.net(x, model.check_labels(labels, 1))[0, t]  # (P,)
        for _ in range(directions):
            weights = torch.randn(params.shape, generator=generator).to(params)
            for by_site in _gradients(model, (params * weights).sum(), captured):
                squares += by_site.square().sum(-1)
    each = (squares / directions).sqrt()[None, :, None].expand(-1, -1, scan.symbols)
    return scan.scatter(each.contiguous().to(scan.index.device))[0].amax(0).cpu()


@contextmanager
def _embedded(model: PixelModel) -> Iterator[list[Tensor]]:
    """Collects what the net's embeddings return, as leaves that gradients can be computed for."""
    captured: list[Tensor] = []

    def capture(module: torch.nn.Module, inputs: object, output: Tensor) -> Tensor:
        captured.append(output.detach().requires_grad_())
        return captured[-1]

    handle = model.net.embed.register_forward_hook(capture)
    try:
        yield captured
    finally:
        handle.remove()


def _gradients(model: PixelModel, value: Tensor, captured: list[Tensor]) -> Iterator[Tensor]:
    """Yields the gradients of a value with respect to the embeddings, (T, ·) on the CPU."""
    grads = torch.autograd.grad(value, captured, retain_graph=True, allow_unused=True)
    for grad in grads:
        if grad is not None:
            # values (1, C, H, W) or vectors of sites (1, T, D)
            by_site = model.scan.gather(grad) if grad.ndim == 4 else grad
            yield by_site[0].cpu()


def _params(model: PixelModel, x: Tensor) -> Tensor:
    """Returns the parameters of all sites, (B, T, P), with class 0 as the label of all images."""
    labels = torch.zeros(len(x), dtype=torch.long) if model.classes else None
    return model.net(x.to(model.device), model.check_labels(labels, len(x)))


@for_models
@torch.no_grad()
def sequential_log_prob(model: PixelModel, x: Array, labels: Array | None = None) -> Tensor:
    """Computes log p(x) in nats with shape (B,), symbol by symbol in a pass over the sites: equals
    `model(x, labels)`.

    The pass reads no symbol before it has been scored, so this is what a codec would spend.
    """
    x, labels = model.check_symbols(x), model.check_labels(labels, len(x))
    symbols = model.scan.gather(x)  # (B, T, S)
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)

    def score(log_pmf: Tensor, t: Sites, s: int) -> Tensor:
        total.add_(log_pmf.gather(-1, symbols[:, t, s, None])[:, 0])
        return symbols[:, t, s]

    with evaluating(model):
        for _ in unroll(model, torch.zeros_like(x), score, labels):
            pass
    return total


def surprise_unit(model: PixelModel) -> str:
    """Returns the unit of a model's surprise maps: bits/token of a palette, else bits per pixel.

    With a palette a pixel is one token. Otherwise a pixel's bits are those of all its C values.
    """
    return "bits/token" if model.quantizer.unit == "token" else "bits per pixel"


@for_models
@torch.no_grad()
def surprise_map(model: PixelModel, images: Array, labels: Array | None = None) -> Tensor:
    """Returns the bits that each pixel of images costs the model, with shape (B, H, W).

    The sum over an image is its negative log-likelihood in bits.
    """
    with evaluating(model):
        x = model.encode(images)
        labels = model.check_labels(labels, len(x))
        bits = -model.trusting_log_prob_sites(x, labels) / math.log(2)  # (B, T)
    symbols = model.scan.symbols
    spread = (bits / symbols)[..., None].expand(-1, -1, symbols)
    return model.scan.scatter(spread.contiguous()).sum(1).cpu()
