"""Completing any region: sequential Monte Carlo along the scan.

A population of K canvases walks the scan together. An unknown symbol is drawn from the model; at a
known one the canvas's weight is multiplied by the model's probability of the known value,

    w ← w · p(known symbol | this canvas so far),

so that canvases which made the known pixels unlikely count for less. When few canvases carry most
of the weight, the population is resampled: canvases, with their caches, are copied or dropped in
proportion to their weights. As K grows, the weighted population converges to the exact conditional
distribution of the unknown pixels, and the product of the mean weights is, for every K, an unbiased
estimate of p(known).

References:
    Novel approach to nonlinear/non-Gaussian Bayesian state estimation (Gordon et al., 1993),
    https://doi.org/10.1049/ip-f-2.1993.0015
    A Tutorial on Particle Filtering and Smoothing: Fifteen years later (Doucet and Johansen, 2009)
"""

import math
import numbers
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from pixelar.common.arrays import Array, whole_number
from pixelar.errors import ConfigError, DataError
from pixelar.memory.budget import require_memory
from pixelar.model import PixelModel, evaluating
from pixelar.model.boundary import for_models
from pixelar.rng import mix
from pixelar.sampling.draw import (
    Draw,
    Sites,
    check_options,
    invert,
    is_tempered,
    seed_of,
    uniforms,
)
from pixelar.sampling.known import known_symbols
from pixelar.sampling.unroll import unroll

__all__ = ["Posterior", "follow", "posterior"]


@dataclass(frozen=True)
class Posterior:
    """Weighted images that stand for p(unknown | known); M populations of K canvases each.

    Attributes:
        images: The canvases, uint8 with shape (B, M, K, C, H, W).
        log_weights: Their normalised log-weights with shape (B, M, K).
        log_known: The estimate of log p(known) in nats with shape (B,): the log of an unbiased
            estimate, pooled over the populations. nan with a temperature, top_k or top_p: the
            weights then are no estimate of the model's p(known).
        spread: Its standard error, from how far the populations differ, with shape (B,); nan for
            a single population, and where `log_known` is.
        ess: The effective sample size after each site, 1 … K, with shape (B, M, T); nan where the
            walk has not been yet.
        resampled: Whether the population was resampled after each site, with shape (B, M, T).
        survivors: How many canvases of each population are distinct, with shape (B, M).
        choices: The uniform number by which `draw` picks a canvas, with shape (B, M).
    """

    images: Tensor
    log_weights: Tensor
    log_known: Tensor
    spread: Tensor
    ess: Tensor
    resampled: Tensor
    survivors: Tensor
    choices: Tensor

    def draw(self) -> Tensor:
        """Returns one image of each population, drawn by weight: uint8 (B, M, C, H, W).

        Images of different populations are independent; canvases of one share ancestors.
        """
        chosen = invert(self.log_weights.exp().flatten(0, 1), self.choices.flatten())
        flat = self.images.flatten(0, 1)
        picked = flat[torch.arange(len(flat)), chosen]
        return picked.view(*self.images.shape[:2], *self.images.shape[3:])


def posterior(
    model: PixelModel,
    images: Array,
    known: Array,
    labels: Array | None = None,
    *,
    particles: int = 64,
    populations: int = 4,
    resample_below: float = 0.5,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Posterior:
    """Approximates the distribution of the unknown pixels given the known ones, for any mask.

    The work is that of sampling B · M · K images. At another temperature than 1, or with top_k or
    top_p, what is unknown is drawn, symbol by symbol, from the narrowed model while the weights
    stay those of the model itself; the result is no exact conditional distribution, and `log_known`
    is nan.

    Arguments:
        model: The model.
        images: uint8 images with shape (B, C, H, W); what the unknown part holds is ignored.
        known: Which pixels are known, with a shape that broadcasts to (B, C, H, W).
        labels: Classes with shape (B,), for a model that is conditioned on them.
        particles: K, the canvases of a population. More are closer to the exact conditional.
        populations: M, the independent populations of each image; they tell the spread.
        resample_below: A population is resampled when its effective sample size falls below this
            share of K: 0 for never, 1 for at every known pixel.
        temperature: Divides the log-probabilities of a symbol; 0 takes the most probable level.
        top_k: Keeps the k most probable levels of a symbol.
        top_p: Keeps the most probable levels of a symbol that together reach this probability.
        seed: Gives the same images again; None draws new ones.
        progress: Whether to show a progress bar.

    Raises:
        PixelarError: Before the work begins, if the caches would not fit into memory; or if the
            model gives the known pixels probability zero.

    Example:
        >>> from pixelar.testing import tiny_model
        >>> known = torch.tensor([[False, True, True], [False, True, False]])
        >>> found = posterior(tiny_model(), torch.zeros(1, 1, 2, 3, dtype=torch.uint8), known)
        >>> found.images.shape, found.draw().shape
        (torch.Size([1, 4, 64, 1, 2, 3]), torch.Size([1, 4, 1, 2, 3]))
    """
    *_, last = follow(
        model,
        images,
        known,
        labels,
        every=model.scan.sites,
        particles=particles,
        populations=populations,
        resample_below=resample_below,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        progress=progress,
    )
    return last


@for_models
@torch.no_grad()
def follow(
    model: PixelModel,
    images: Array,
    known: Array,
    labels: Array | None = None,
    *,
    every: int,
    particles: int = 64,
    populations: int = 1,
    resample_below: float = 0.5,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Iterator[Posterior]:
    """Does what `posterior` does, and yields the populations every so many sites on their way.

    Until the last one, unknown pixels that are not yet drawn are those of `images`, and the
    estimates are of the known pixels so far. Closing the iterator ends the work.
    """
    check_options(temperature, top_k, top_p)
    _check_sizes(every, particles, populations, resample_below)
    seed = seed_of(seed)
    with evaluating(model):
        given = model.encode(images)
        labels = model.check_labels(labels, len(given))
        require_memory(model, len(given), populations, particles)
        mask = known_symbols(model, known, given)
        swarm = _Swarm(model, given, populations, particles, seed)
        swarm.tempered = is_tempered(temperature, top_k, top_p)
        canvas, keep = swarm.copies_of(given), swarm.copies_of(model.scan.gather(mask))  # (R, T, S)
        draw = Draw(
            swarm.copies_of(model.scan.gather(given)), keep, swarm.noise, temperature, top_k, top_p
        )
        start = model.scan.prefix(mask)
        if start:
            before = model.trusting_log_prob_sites(given, labels)[:, :start]
            prefix = before.double().sum(1)  # (B,)
            swarm.log_known += prefix.repeat_interleave(populations)

        def choose(log_pmf: Tensor, t: Sites, s: int) -> Tensor:
            symbol = draw(log_pmf, t, s)
            if draw.some_known[int(t)][s]:
                log_p = log_pmf.gather(-1, symbol[:, None])[:, 0]
                swarm.weigh(torch.where(draw.keep[t, s], log_p, 0))
            return symbol

        walk = unroll(
            model,
            canvas,
            choose,
            None if labels is None else swarm.copies_of(labels),
            start=start,
            copies=populations * particles,
        )
        sites = range(start, model.scan.sites)
        rows: Tensor | None = None
        for t in tqdm(sites, unit="site", desc="drawing", disable=not progress):
            walk.send(rows)
            rows = None
            swarm.record(t)
            if t + 1 < model.scan.sites:
                if (t + 1 - start) % every == 0:
                    yield swarm.snapshot(canvas)
                rows = swarm.resample(t, resample_below)
        yield swarm.snapshot(canvas)


class _Swarm:
    """The weights of P = B · M populations of K canvases on their way; R = P · K rows in all."""

    def __init__(
        self, model: PixelModel, given: Tensor, populations: int, particles: int, seed: int
    ) -> None:
        self.model, self.populations, self.particles = model, populations, particles
        count, sites, device = len(given) * populations, model.scan.sites, model.device
        self.log_weights = torch.zeros(count, particles, dtype=torch.float64, device=device)
        self.log_known = torch.zeros(count, dtype=torch.float64, device=device)
        self.ess = torch.full((count, sites), math.nan, dtype=torch.float64)
        self.resampled = torch.zeros(count, sites, dtype=torch.bool)
        self.tempered = False  # whether the weights are those of another model than draws
        rows = [mix(seed, p, k) for p in range(count) for k in range(particles)]
        self.noise = uniforms((sites, model.scan.symbols), rows).to(device)  # (R, T, S)
        # of each population: where resampling begins to count at every site, and what draw() takes
        own = uniforms((sites + 1,), [mix(seed, p, particles) for p in range(count)]).to(device)
        self.offsets, self.choices = own[:, :-1], own[:, -1]

    def copies_of(self, values: Tensor) -> Tensor:
        """Returns values of the B images (B, …) for each of their canvases, with shape (R, …)."""
        return values.repeat_interleave(self.populations * self.particles, 0)

    def weigh(self, log_p: Tensor) -> None:
        """Multiplies the weights by the probabilities of a known symbol, with shape (R,)."""
        self.log_weights += log_p.double().view_as(self.log_weights)

    def record(self, t: int) -> None:
        """Notes the effective sample size 1 / Σ w² of each population after site t."""
        if not self.log_weights.logsumexp(1).isfinite().all():
            raise DataError(
                f"the model gives the known pixels probability zero (site {t} of "
                f"{self.model.scan.sites}), so there is nothing to complete; "
                "does the picture have the model's levels?"
            )
        self.ess[:, t] = self._weights().square().sum(1).reciprocal().cpu()

    def resample(self, t: int, below: float) -> Tensor | None:
        """Returns the rows that go on after site t, or None where no population needs resampling.

        Systematic: copy k is the canvas at which the cumulative weight passes (k + u) / K.
        """
        low = (self.ess[:, t] < below * self.particles).to(self.log_known.device)
        if not low.any():
            return None
        self.resampled[:, t] = low.cpu()
        steps = torch.arange(self.particles, device=low.device)
        marks = (steps + self.offsets[:, t, None]) / self.particles
        chosen = torch.searchsorted(self._weights().cumsum(1), marks, right=True)
        ancestors = torch.where(low[:, None], chosen.clamp_max(self.particles - 1), steps)
        self.log_known += torch.where(low, self._log_mean_weight(), 0)
        self.log_weights = torch.where(low[:, None], 0, self.log_weights)
        first = self.particles * torch.arange(len(low), device=low.device)  # row of a population
        return (first[:, None] + ancestors).flatten()

    def snapshot(self, canvas: Tensor) -> Posterior:
        """Returns the populations as they are, given their canvases (R, C, H, W)."""
        shape = (-1, self.populations, self.particles)
        images = self.model.quantizer.decode(canvas).cpu().unflatten(0, shape)
        each = (self.log_known + self._log_mean_weight()).cpu().view(-1, self.populations)
        if self.tempered:
            each = torch.full_like(each, math.nan)
        log_known = each.logsumexp(1) - math.log(self.populations)
        share = (each - log_known[:, None]).exp()  # of each population, with mean 1
        error = share.std(1) if self.populations > 1 else torch.full_like(log_known, math.nan)
        distinct = [len(own.unique(dim=0)) for own in images.flatten(0, 1).flatten(2)]
        return Posterior(
            images=images,
            log_weights=self._weights().log().cpu().view(shape),
            log_known=log_known,
            spread=error / math.sqrt(self.populations),
            ess=self.ess.unflatten(0, shape[:2]).clone(),
            resampled=self.resampled.unflatten(0, shape[:2]).clone(),
            survivors=torch.tensor(distinct).view(-1, self.populations),
            choices=self.choices.cpu().view(-1, self.populations),
        )

    def _weights(self) -> Tensor:
        """Returns the normalised weights, with shape (P, K)."""
        return self.log_weights.softmax(1)

    def _log_mean_weight(self) -> Tensor:
        return self.log_weights.logsumexp(1) - math.log(self.particles)


def _check_sizes(every: int, particles: int, populations: int, resample_below: float) -> None:
    for name, value in {"every": every, "particles": particles, "populations": populations}.items():
        whole_number(value, name, 1)
    if not (isinstance(resample_below, numbers.Real) and 0 <= resample_below <= 1):
        raise ConfigError(
            f"resample_below is a share of the particles, from 0 to 1; got {resample_below}"
        )
