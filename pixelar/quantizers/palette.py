"""Tokens that stand for whole colours."""

from typing import Any

import torch
from torch import Tensor

from pixelar.errors import ConfigError
from pixelar.names import Shape
from pixelar.quantizers.base import Quantizer
from pixelar.quantizers.colors import fit_colours, nearest_colours

__all__ = ["Palette"]


class Palette(Quantizer):
    """The nearest of V colours, found by k-means: one token per pixel, a lossy image.

    Distances are computed in float64 whatever the model computes in; of colours that are equally
    near, the first is taken.

    Arguments:
        levels: V, the number of colours.
        seed: The seed of k-means.

    References:
        Generative Pretraining from Pixels (Chen et al., 2020),
        https://proceedings.mlr.press/v119/chen20s.html
    """

    unit = "token"

    def __init__(self, *, levels: int = 512, seed: int = 0) -> None:
        super().__init__()
        if levels < 2:
            raise ConfigError(f"quantizer Palette: levels must be at least 2; got {levels}")
        self.levels, self.seed = levels, seed
        unknown = torch.full((levels, 3), torch.nan, dtype=torch.float32)
        self.register_buffer("colours", unknown)
        self.colours: Tensor  # (V, 3), on the scale 0 … 255

    def symbol_shape(self, shape: Shape) -> Shape:
        if shape[0] != 3:
            raise ConfigError(
                f"quantizer Palette: made for RGB images; these have {shape[0]} channel(s)"
            )
        return 1, *shape[1:]

    def fit(self, images: Tensor, *, progress: bool | None = None) -> None:
        """Finds the colours by k-means of at most a million pixels, unless there are some already.

        The memory it takes does not depend on the number of images.

        Arguments:
            images: Training images, uint8 with shape (N, 3, H, W).
            progress: Whether to show a progress bar; None shows it on a terminal only.

        Raises:
            PixelarError: If the images have fewer colours than the palette.
        """
        if self.colours.isnan().any():  # a resumed run keeps its colours
            self.colours.copy_(fit_colours(images, self.levels, self.seed, progress=progress))

    def check(self, images: Tensor) -> None:
        self._require_colours()

    def encode(self, images: Tensor) -> Tensor:
        return nearest_colours(images, self.colours)[:, None]

    def _require_colours(self) -> None:
        if not self.colours.isfinite().all():
            raise ConfigError(
                "quantizer Palette: has no colours yet; call fit(images) with training images"
            )

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        """Loads colours in the precision in which they are stored, at least float32."""
        stored = state_dict.get(f"{prefix}colours")
        if stored is not None:
            wide = torch.promote_types(stored.dtype, torch.float32)
            self.colours = self.colours.to(wide)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def decode(self, x: Tensor) -> Tensor:
        self._require_colours()
        return self.colours[x[:, 0]].round().clamp(0, 255).to(torch.uint8).movedim(-1, 1)
