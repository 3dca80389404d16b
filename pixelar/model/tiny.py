"""Models so small that tests can list all of their images."""

import torch

from pixelar.errors import ConfigError, did_you_mean
from pixelar.model import PixelModel, build_model
from pixelar.names import Shape
from pixelar.nets.presets import PRESETS
from pixelar.scan import build_scan

__all__ = ["randomize", "tiny_model"]


def tiny_model(
    net: str = "PixelCNN", shape: Shape = (1, 2, 3), *, scan: str = "raster", seed: int = 0
) -> PixelModel:
    """Returns a random model of black and white images, small enough to list all of them."""
    if net not in PRESETS:
        raise ConfigError(f"net: {did_you_mean(net, PRESETS)} (in pixelar.nets.presets)")
    preset = PRESETS[net]
    described = {
        "image_shape": list(shape),
        "scan": scan,
        "quantizer": {"name": "Threshold", "args": {}},
        "head": {"name": "Bernoulli", "args": {}},
        "net": {"name": net, "args": preset.tiny_for(build_scan(scan, shape))},
    }
    return randomize(build_model(described), seed=seed).eval()


def randomize(model: PixelModel, *, scale: float = 0.4, seed: int = 0) -> PixelModel:
    """Fills all parameters of a model with noise, in place, and returns the model in float64."""
    generator = torch.Generator().manual_seed(seed)
    model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise * scale)
    return model
