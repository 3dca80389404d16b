"""Completing any region: the distribution of the unknown pixels, by sequential Monte Carlo."""

from pixelar.common.arrays import Array
from pixelar.model import PixelModel
from pixelar.model.boundary import for_models
from pixelar.sampling.canvas import Canvas
from pixelar.sampling.populations import Posterior
from pixelar.sampling.smc import follow

__all__ = ["Posterior", "posterior"]


@for_models
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

    The work is that of sampling B · M · K images. At a temperature other than 1, or with top_k
    or top_p, unknown symbols are drawn, symbol by symbol, from the modified conditionals, while the
    weights stay those of the model itself; the result is then not the exact conditional
    distribution, and `log_known` is nan.

    Arguments:
        model: The model.
        images: Images with shape (B, C, H, W); what the unknown part holds is ignored.
        known: Which pixels are known, with a shape that broadcasts to (B, C, H, W).
        labels: Classes with shape (B,), for a model that is conditioned on them.
        particles: K, the canvases of a population; more come closer to the exact conditional.
        populations: M, the independent populations of each image; their spread gives the error.
        resample_below: A population is resampled when its effective sample size falls below this
            share of K: 0 never resamples, 1 does at every known pixel.
        temperature: Divides the log-probabilities of a symbol; 0 takes the most probable level.
        top_k: Keeps the k most probable levels of a symbol.
        top_p: Keeps the most probable levels of a symbol that together reach this probability.
        seed: The same seed gives the same images again; None draws new ones.
        progress: Whether to show a progress bar.

    Raises:
        PixelarError: Before the work begins, if the caches would not fit into memory; or if the
            model gives the known pixels probability zero.

    Example:
        >>> import torch
        >>> from pixelar.testing import tiny_model
        >>> known = torch.tensor([[False, True, True], [False, True, False]])
        >>> found = posterior(tiny_model(), torch.zeros(1, 1, 2, 3, dtype=torch.uint8), known)
        >>> found.images.shape, found.draw().shape
        (torch.Size([1, 4, 64, 1, 2, 3]), torch.Size([1, 4, 1, 2, 3]))
    """
    canvas = Canvas.prepare(
        model,
        images,
        known,
        labels,
        method="particles",
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    *_, last = follow(
        canvas,
        every=model.scan.sites,
        particles=particles,
        populations=populations,
        resample_below=resample_below,
        progress=progress,
    )
    return last
