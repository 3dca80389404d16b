"""Weighted populations of canvases, which approximate p(unknown | known)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pixelar.sampling.draw import invert

__all__ = ["Posterior"]


@dataclass(frozen=True)
class Posterior:
    """Weighted images that approximate p(unknown | known): M populations of K canvases each.

    Attributes:
        images: The canvases, images with shape (B, M, K, C, H, W).
        log_weights: Their normalised log-weights with shape (B, M, K).
        log_known: The estimate of log p(known) in nats with shape (B,): the log of an unbiased
            estimate, pooled over the populations. nan with a temperature, top_k or top_p, as
            the weights then do not estimate the model's p(known).
        log_known_stderr: Its standard error, from the spread of the populations, with shape (B,);
            nan for a single population, and where `log_known` is nan.
        ess: The effective sample size after each site, 1 … K, with shape (B, M, T); nan for
            sites that are not drawn yet.
        resampled: Whether the population was resampled after each site, with shape (B, M, T).
        unique_particles: How many canvases of each population are distinct, with shape (B, M).
        choices: The uniform number by which `draw` picks a canvas, with shape (B, M).
    """

    images: Tensor
    log_weights: Tensor
    log_known: Tensor
    log_known_stderr: Tensor
    ess: Tensor
    resampled: Tensor
    unique_particles: Tensor
    choices: Tensor

    def draw(self) -> Tensor:
        """Returns one image of each population, drawn by weight: (B, M, C, H, W).

        Images of different populations are independent; canvases of one population share ancestors.
        """
        chosen = invert(self.log_weights.exp().flatten(0, 1), self.choices.flatten())
        flat = self.images.flatten(0, 1)
        picked = flat[torch.arange(len(flat)), chosen]
        return picked.view(*self.images.shape[:2], *self.images.shape[3:])
