"""The model: quantizer × net × head, its description, and what guards functions of it."""

from pixelar.model.describe import build_model, describe_model
from pixelar.model.pixel_model import PixelModel, evaluating

__all__ = ["PixelModel", "build_model", "describe_model", "evaluating"]
