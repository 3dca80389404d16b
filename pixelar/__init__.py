"""pixelar: pixel-autoregressive image models, with exact likelihoods and cached sampling.

Letters in docstrings: B batch, C H W image of symbols, V levels of a symbol, T sites, S symbols per
site, P parameters per site, D width, K mixture components.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixelar.analysis import dependencies, sequential_log_prob, surprise_map
    from pixelar.completion import complete, stream
    from pixelar.errors import ConfigError, DataError, PixelarError, StorageError
    from pixelar.evaluation import EvaluationReport, bits_per_dim, evaluate
    from pixelar.folders import load, save
    from pixelar.metrics import BitsPerDim
    from pixelar.model import PixelModel, build_model
    from pixelar.orders import in_order, order_averaged_log_prob
    from pixelar.particles import Posterior, posterior
    from pixelar.sampling import sample
    from pixelar.scan import Scan

__version__ = "0.1.0"

_HOMES = {
    "dependencies": "analysis",
    "sequential_log_prob": "analysis",
    "surprise_map": "analysis",
    "complete": "completion",
    "stream": "completion",
    "ConfigError": "errors",
    "DataError": "errors",
    "PixelarError": "errors",
    "StorageError": "errors",
    "EvaluationReport": "evaluation",
    "bits_per_dim": "evaluation",
    "evaluate": "evaluation",
    "load": "folders",
    "save": "folders",
    "BitsPerDim": "metrics",
    "PixelModel": "model",
    "build_model": "model",
    "in_order": "orders",
    "order_averaged_log_prob": "orders",
    "Posterior": "particles",
    "posterior": "particles",
    "sample": "sampling",
    "Scan": "scan",
}

__all__ = [
    "BitsPerDim",
    "ConfigError",
    "DataError",
    "EvaluationReport",
    "PixelModel",
    "PixelarError",
    "Posterior",
    "Scan",
    "StorageError",
    "bits_per_dim",
    "build_model",
    "complete",
    "dependencies",
    "evaluate",
    "in_order",
    "load",
    "order_averaged_log_prob",
    "posterior",
    "sample",
    "save",
    "sequential_log_prob",
    "stream",
    "surprise_map",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Imports public names when they are first used, so that `pixelar --help` need not wait for
    torch.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'pixelar' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pixelar.{_HOMES[name]}"), name)
