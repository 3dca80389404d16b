"""How a symbol is drawn: by inverting its distribution function at one uniform number.

The uniform numbers of an image depend only on the seed and the image's index, so a seed and an
index give one image, in whatever batch and by whatever method it is drawn.
"""

import math
import numbers
from collections.abc import Sequence
from typing import TypeAlias, TypedDict

import torch
from torch import Tensor

from pixelar.common.arrays import whole_number
from pixelar.errors import ConfigError

__all__ = [
    "Draw",
    "Drawing",
    "Sites",
    "check_options",
    "invert",
    "is_tempered",
    "seed_of",
    "temper",
    "uniforms",
]

Sites: TypeAlias = int | Tensor  # one site, or the indices (n,) of several


class Drawing(TypedDict, total=False):
    """How symbols are drawn.

    `temperature`, `top_k` and `top_p` act symbol by symbol: each changes
    p(symbol | earlier symbols) as the symbol is drawn. A whole image is then drawn from the product
    of these modified conditionals, which is neither p(image) at that temperature nor p(image)
    restricted to the most probable images; and temperature 0 takes the most probable symbol each
    time, not the most probable image.

    Attributes:
        temperature: Divides the log-probabilities; 0 takes the most probable level. Default: 1.
        top_k: Keeps the k most probable levels.
        top_p: Keeps the most probable levels that together reach this probability.
        seed: The same seed gives the same images again; None draws new ones.
        progress: Whether to show a progress bar.
    """

    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int | None
    progress: bool


class Draw:
    """Chooses symbols: keeps known ones, and draws each other one by its own uniform number.

    Arguments:
        given: The symbols of the images in scan order, with shape (B, T, S).
        keep: Which symbols are known, with the same shape.
        noise: A uniform number for each symbol, float64 with the same shape.
        temperature: As in `Drawing`; so are `top_k` and `top_p`.
    """

    def __init__(
        self,
        given: Tensor,
        keep: Tensor,
        noise: Tensor,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> None:
        check_options(temperature, top_k, top_p)
        self.options = (temperature, top_k, top_p)
        # the batch comes last, so that the numbers of a site are contiguous
        self.given, self.keep, self.noise = (
            values.permute(1, 2, 0).contiguous() for values in (given, keep, noise)
        )
        self.some_known: list[list[bool]] = keep.any(0).tolist()

    def __call__(self, log_pmf: Tensor, sites: Sites, s: int) -> Tensor:
        """Returns symbols (B,) or (B, n) of sites with log-probabilities (B, V) or (B, n, V)."""
        pmf = temper(log_pmf, *self.options)
        if isinstance(sites, int):
            drawn = invert(pmf, self.noise[sites, s])
            if not self.some_known[sites][s]:
                return drawn
            return torch.where(self.keep[sites, s], self.given[sites, s], drawn)
        noise, keep, given = (
            v[sites, s].T.contiguous() for v in (self.noise, self.keep, self.given)
        )
        return torch.where(keep, given, invert(pmf, noise))


def check_options(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises PixelarError for options that do not define a distribution."""
    _require_number("temperature", temperature)
    if not 0 <= temperature < math.inf:
        raise ConfigError(f"temperature must be 0 or more, and finite; got {temperature}")
    if top_k is not None:
        whole_number(top_k, "top_k", 1)
    if top_p is not None:
        _require_number("top_p", top_p)
        if not 0 < top_p <= 1:
            raise ConfigError(f"top_p must be above 0 and at most 1; got {top_p}")


def _require_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigError(f"{name} must be a number; got {type(value).__name__} {value!r:.60}")


def is_tempered(
    temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> bool:
    """Returns whether symbols are drawn from another distribution than the model's own."""
    return temperature != 1 or top_k is not None or (top_p is not None and top_p < 1)


def seed_of(seed: int | None) -> int:
    """Returns the given seed, or one drawn from torch's global generator where it is None."""
    return int(torch.randint(2**62, ())) if seed is None else whole_number(seed, "seed")


def temper(
    log_pmf: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Returns the masses that symbols are drawn from, float64 with the shape (*, V) of log_pmf."""
    logits = log_pmf.double()
    if temperature == 1 and top_k is None and top_p is None:
        return logits.exp()
    if temperature == 0:
        top_k = 1
    else:
        logits = (logits - logits.amax(-1, keepdim=True)) / temperature
    if top_k is not None:
        # ranks rather than values, so that exactly k levels stay even where some are equal
        ranks = logits.argsort(dim=-1, descending=True, stable=True).argsort(-1)
        logits = logits.masked_fill(ranks >= top_k, -torch.inf)
    probabilities = logits.softmax(-1)
    if top_p is not None:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered  # the mass of more probable levels
        dropped = (before >= top_p).gather(-1, order.argsort(-1))
        probabilities = probabilities.masked_fill(dropped, 0)
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return probabilities


def invert(masses: Tensor, uniform: Tensor) -> Tensor:
    """Returns the levels (*) at which the cumulative masses (*, V) pass the uniform numbers (*)."""
    cumulative = masses.cumsum(-1)
    target = uniform[..., None] * cumulative[..., -1:]
    # the first level whose cumulative mass exceeds the target: never one of mass zero
    found = torch.searchsorted(cumulative, target, right=True)[..., 0]
    return found.clamp_max_(masses.shape[-1] - 1)


def uniforms(shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Returns uniform numbers in [0, 1), float64 with shape (N, *shape): row n from seed n."""
    numbers = torch.empty(len(seeds), *shape, dtype=torch.float64)
    for row, seed in zip(numbers, seeds, strict=True):
        row.uniform_(generator=torch.Generator().manual_seed(seed))
    return numbers
