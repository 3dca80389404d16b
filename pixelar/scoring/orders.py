"""Models in other orders than the one they were built in, for nets that take any order.

Each order σ factors log p(x; σ) = Σ_t log p(x_σ(t) | x_σ(<t)) with one set of parameters.
These are different distributions; their uniform mixture is a distribution as well, and its
log-likelihood is never worse than the mean of theirs:

    log 1/n Σ_σ p(x; σ)  ≥  1/n Σ_σ log p(x; σ)

References:
    Neural Autoregressive Distribution Estimation (Uria et al., 2016),
    https://arxiv.org/abs/1605.02226
    Locally Masked Convolution for Autoregressive Models (Jain et al., 2020),
    https://arxiv.org/abs/2006.12486
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from pixelar.common.arrays import Array, whole_number
from pixelar.errors import ConfigError
from pixelar.memory.budget import choose_batch_size
from pixelar.model import PixelModel, evaluating
from pixelar.model.boundary import for_models
from pixelar.model.orders import in_order
from pixelar.nets.base import takes_any_order
from pixelar.scan import Scan, build_scan, shuffled, symmetries

__all__ = ["Orders", "log_mean_prob", "order_averaged_log_prob", "orders_of"]

Orders: TypeAlias = Literal["one", "symmetries"] | int


def orders_of(model: PixelModel, orders: Orders) -> tuple[list[Scan], str]:
    """Returns the scans that `orders` stands for, and their description for the card.

    Arguments:
        model: The model; for more than one order, its net must take any order.
        orders: "one": that of the model. "symmetries": the eight mirror images of the scan that it
            was built in. A number n: n random orders, by the seeds 0, 1, 2 …

    Example:
        >>> from pixelar.testing import tiny_model
        >>> orders_of(tiny_model("LMConv"), 3)[1]
        'raster, shuffled by the seeds 0 to 2, mean of probabilities over 3 orders'
    """
    if orders == "one":
        return [model.scan], f"{model.scan.name}, one order, not averaged"
    number = orders if isinstance(orders, int) else 0
    if number < 2 and orders != "symmetries":
        raise ConfigError(
            "orders must be one, symmetries, or the number of random orders, from 2; "
            f"got {orders!r}"
        )
    if not takes_any_order(model.net):
        raise ConfigError(
            f"orders: {orders} needs a net that takes any order, such as LMConv or AnyOrderGPT, "
            f"and the order of {type(model.net).__name__} is fixed; use orders: one"
        )
    name, shape = model.net.built_in, model.scan.shape
    if orders == "symmetries":
        scans = symmetries(name, shape)
        named = "; ".join(scan.name for scan in scans)
    else:
        scans = [shuffled(build_scan(name, shape), seed) for seed in range(number)]
        named = f"{name}, shuffled by the seeds 0 to {number - 1}"
    return scans, f"{named}, mean of probabilities over {len(scans)} orders"


def log_mean_prob(twins: Sequence[PixelModel], x: Tensor, labels: Tensor | None = None) -> Tensor:
    """Returns the log of the mean of an image's probabilities under several models.

    Arguments:
        twins: The models, of equal weight.
        x: Symbols that have been checked, with shape (B, C, H, W).
        labels: Checked classes with shape (B,), for models that are conditioned on them.

    Returns:
        Nats with shape (B,), in float64.
    """
    each = [twin.trusting_log_prob_sites(x, labels).double().sum(1) for twin in twins]
    return torch.stack(each).logsumexp(0) - math.log(len(twins))  # for one, the same bits


@for_models
@torch.no_grad()
def order_averaged_log_prob(
    model: PixelModel,
    images: Array,
    orders: Sequence[Scan],
    labels: Array | None = None,
    *,
    batch_size: int | None = None,
) -> Tensor:
    """Returns the log of the mean of an image's probabilities in several orders.

    The mean is of the probabilities of whole images, so the result is the log-likelihood of a
    distribution.

    Arguments:
        model: A model whose net takes any order.
        images: Images with shape (B, C, H, W), integers of any type.
        orders: The scans, of equal weight.
        labels: Classes with shape (B,), for a model that is conditioned on them.
        batch_size: How many images are evaluated at once; None for a fast number that fits.

    Returns:
        Nats with shape (B,), in float64.
    """
    if not orders:
        raise ConfigError("orders must be one scan or more; got none")
    if batch_size is None:
        batch_size = choose_batch_size(model)
    size = whole_number(batch_size, "batch_size", 1)
    images = model.check_images(images)
    labels = model.check_labels(labels, len(images))
    found = []
    with evaluating(model):
        twins = [in_order(model, scan) for scan in orders]
        for rows in torch.arange(len(images)).split(size):
            x = model.encode(images[rows])  # only once, since a quantizer may draw
            y = None if labels is None else labels[rows]
            found.append(log_mean_prob(twins, x, y))
    return torch.cat(found).cpu()
