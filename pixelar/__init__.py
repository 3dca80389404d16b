"""pixelar: pixel-autoregressive image models, with exact likelihoods and cached sampling.

Letters in docstrings: B batch, C H W image of symbols, V levels of a symbol, T sites, S symbols per
site, P parameters per site, D width, K mixture components.
"""

import importlib
from typing import TYPE_CHECKING, Any

from pixelar._version import __version__

if TYPE_CHECKING:
    from pixelar.errors import ConfigError, DataError, PixelarError, StorageError
    from pixelar.hub.loading import load
    from pixelar.io.folders import save
    from pixelar.model import PixelModel, build_model
    from pixelar.model.orders import in_order
    from pixelar.sampling.completion import complete, stream
    from pixelar.sampling.posterior import Posterior, posterior
    from pixelar.sampling.samples import sample
    from pixelar.scan import Scan
    from pixelar.scoring.analysis import dependencies, sequential_log_prob, surprise_map
    from pixelar.scoring.evaluation import EvaluationReport, bits_per_dim, evaluate
    from pixelar.scoring.metrics import BitsPerDim
    from pixelar.scoring.orders import order_averaged_log_prob

_HOMES = {
    "dependencies": "scoring.analysis",
    "sequential_log_prob": "scoring.analysis",
    "surprise_map": "scoring.analysis",
    "complete": "sampling.completion",
    "stream": "sampling.completion",
    "ConfigError": "errors",
    "DataError": "errors",
    "PixelarError": "errors",
    "StorageError": "errors",
    "EvaluationReport": "scoring.evaluation",
    "bits_per_dim": "scoring.evaluation",
    "evaluate": "scoring.evaluation",
    "load": "hub.loading",
    "save": "io.folders",
    "BitsPerDim": "scoring.metrics",
    "PixelModel": "model",
    "build_model": "model",
    "in_order": "model.orders",
    "order_averaged_log_prob": "scoring.orders",
    "Posterior": "sampling.posterior",
    "posterior": "sampling.posterior",
    "sample": "sampling.samples",
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
    "__version__",
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
