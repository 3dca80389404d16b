"""Completing any region: sequential Monte Carlo along the scan.

The K canvases of a population are drawn together, along the scan. An unknown symbol is drawn from
the model; at a known one the canvas's weight is multiplied by the model's probability of the known
value,

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

import torch
from torch import Tensor
from tqdm import tqdm

from pixelar.common.arrays import whole_number
from pixelar.errors import ConfigError, DataError
from pixelar.memory.budget import require_memory
from pixelar.model import PixelModel, evaluating
from pixelar.model.boundary import for_models
from pixelar.rng import mix
from pixelar.sampling.canvas import Canvas
from pixelar.sampling.draw import Draw, Sites, is_tempered, uniforms
from pixelar.sampling.populations import Posterior
from pixelar.sampling.unroll import unroll

__all__ = ["follow"]


@for_models
@torch.no_grad()
def follow(
    canvas: Canvas,
    *,
    every: int,
    particles: int = 64,
    populations: int = 1,
    resample_below: float = 0.5,
    progress: bool = False,
) -> Iterator[Posterior]:
    """Does what `posterior` does, and yields intermediate populations every `every` sites.

    In all but the last, unknown pixels that are not yet drawn are those of the canvas, and the
    estimates cover only the known pixels so far. Closing the iterator stops the work.
    """
    _check_sizes(every, particles, populations, resample_below)
    if not len(canvas):
        raise DataError("particles complete at least one image; got none")
    model, given, start = canvas.model, canvas.given, canvas.start
    with evaluating(model):
        require_memory(model, len(given), populations, particles)
        swarm = _Swarm(model, given, populations, particles, canvas.seed)
        swarm.tempered = is_tempered(*canvas.options)
        draw = Draw(
            swarm.copies_of(model.scan.gather(given)),
            swarm.copies_of(model.scan.gather(canvas.known)),
            swarm.noise,
            *canvas.options,
        )
        symbols = swarm.copies_of(given)  # (R, C, H, W)
        if start:
            before = model.trusting_log_prob_sites(given, canvas.labels)[:, :start]
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
            symbols,
            choose,
            None if canvas.labels is None else swarm.copies_of(canvas.labels),
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
                    yield swarm.snapshot(symbols)
                rows = swarm.resample(t, resample_below)
        yield swarm.snapshot(symbols)


class _Swarm:
    """The weights of P = B · M populations of K canvases in progress; R = P · K rows in all."""

    def __init__(
        self, model: PixelModel, given: Tensor, populations: int, particles: int, seed: int
    ) -> None:
        self.model, self.populations, self.particles = model, populations, particles
        count, sites, device = len(given) * populations, model.scan.sites, model.device
        self.log_weights = torch.zeros(count, particles, dtype=torch.float64, device=device)
        self.log_known = torch.zeros(count, dtype=torch.float64, device=device)
        self.ess = torch.full((count, sites), math.nan, dtype=torch.float64)
        self.resampled = torch.zeros(count, sites, dtype=torch.bool)
        self.tempered = False  # whether draws use modified conditionals, unlike the weights
        rows = [mix(seed, p, k) for p in range(count) for k in range(particles)]
        self.noise = uniforms((sites, model.scan.symbols), rows).to(device)  # (R, T, S)
        # of each population: the offset of resampling at every site, and the number for draw()
        own = uniforms((sites + 1,), [mix(seed, p, particles) for p in range(count)]).to(device)
        self.offsets, self.choices = own[:, :-1], own[:, -1]

    def copies_of(self, values: Tensor) -> Tensor:
        """Repeats values of the B images (B, …) for each of their canvases, with shape (R, …)."""
        return values.repeat_interleave(self.populations * self.particles, 0)

    def weigh(self, log_p: Tensor) -> None:
        """Multiplies the weights by the probabilities of a known symbol, with shape (R,)."""
        self.log_weights += log_p.double().view_as(self.log_weights)

    def record(self, t: int) -> None:
        """Records the effective sample size 1 / Σ w² of each population after site t."""
        if not self.log_weights.logsumexp(1).isfinite().all():
            raise DataError(
                f"the model gives the known pixels probability zero (site {t} of "
                f"{self.model.scan.sites}), so there is nothing to complete; "
                "does the picture have the model's levels?"
            )
        self.ess[:, t] = self._weights().square().sum(1).reciprocal().cpu()

    def resample(self, t: int, below: float) -> Tensor | None:
        """Returns the rows that continue after site t, or None if no population needs resampling.

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
        first = self.particles * torch.arange(len(low), device=low.device)  # of a population
        return (first[:, None] + ancestors).flatten()

    def snapshot(self, symbols: Tensor) -> Posterior:
        """Returns the current populations, given their symbols (R, C, H, W)."""
        shape = (-1, self.populations, self.particles)
        images = self.model.decode(symbols).cpu().unflatten(0, shape)
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
            log_known_stderr=error / math.sqrt(self.populations),
            ess=self.ess.unflatten(0, shape[:2]).clone(),
            resampled=self.resampled.unflatten(0, shape[:2]).clone(),
            unique_particles=torch.tensor(distinct).view(-1, self.populations),
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
