"""Images while they are drawn: encoded once, masked once, their labels checked once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Unpack

import torch
from torch import Tensor

from pixelar.common.arrays import Array
from pixelar.model import PixelModel
from pixelar.model.orders import in_order
from pixelar.names import Method
from pixelar.rng import mix
from pixelar.sampling.draw import Draw, Drawing, check_options, seed_of, uniforms
from pixelar.sampling.known import known_symbols
from pixelar.sampling.methods import Settled, settle
from pixelar.scan import known_first

__all__ = ["Canvas"]


@dataclass
class Canvas:
    """Images whose symbols are partly known; the others are to be drawn.

    Attributes:
        model: The model, in the order in which it draws.
        given: The symbols of the images as they were given, with shape (B, C, H, W).
        symbols: A copy of `given` in which unknown symbols are replaced as they are drawn.
        known: Which symbols are known, with the same shape.
        labels: Classes with shape (B,), on the model's device; None for a model without classes.
        method: How the images are completed, with "auto" resolved.
        seed: The seed of all random numbers.
        options: `temperature`, `top_k` and `top_p`.
    """

    model: PixelModel
    given: Tensor
    symbols: Tensor
    known: Tensor
    labels: Tensor | None
    method: Settled
    seed: int
    options: tuple[float, int | None, float | None]

    @classmethod
    @torch.no_grad()
    def prepare(
        cls,
        model: PixelModel,
        images: Array,
        known: Array,
        labels: Array | None = None,
        *,
        method: Method = "auto",
        **drawing: Unpack[Drawing],
    ) -> "Canvas":
        """Prepares a canvas from images; the arguments are those of `pixelar.complete`.

        Raises:
            PixelarError: If an argument does not fit the model, or the method cannot complete them.
        """
        options = (drawing.get("temperature", 1.0), drawing.get("top_k"), drawing.get("top_p"))
        check_options(*options)
        seed = seed_of(drawing.get("seed"))
        given = model.encode(images)
        labels = model.check_labels(labels, len(given))
        mask = known_symbols(model, known, given)
        settled = settle(model, mask, method)
        if settled == "known_first" and len(given):
            model = in_order(model, known_first(model.scan, mask[0]))
        return cls(model, given, given.clone(), mask, labels, settled, seed, options)

    def __len__(self) -> int:
        return len(self.given)

    @cached_property
    def start(self) -> int:
        """The first site that is not known."""
        return self.model.scan.prefix(self.known)

    @cached_property
    def draw(self) -> Draw:
        """What chooses symbols: keeps known ones, and draws each other one by its own uniform
        number.
        """
        scan = self.model.scan
        numbers = uniforms(
            (scan.sites, scan.symbols), [mix(self.seed, k) for k in range(len(self))]
        )
        given, known = scan.gather(self.given), scan.gather(self.known)
        return Draw(given, known, numbers.to(self.model.device), *self.options)

    def images(self, done: int | None = None) -> Tensor:
        """Decodes the images as they are now, with shape (B, C, H, W), on the CPU.

        Arguments:
            done: How many sites are final; later sites are shown as they were given. None shows
                all symbols drawn so far.
        """
        symbols = self.symbols
        if done is not None:
            scan = self.model.scan
            symbols = self.given.clone()
            final = scan.index[:done].flatten()
            symbols.flatten(1)[:, final] = self.symbols.flatten(1)[:, final]
        return self.model.decode(symbols).cpu()
