"""The numbers that an option of a training run can take; needs no torch.

The command line checks a whole config by this table before anything is read, and the classes check
their own arguments by it, so that both report a mistake in the same words.
"""

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from pixelar.errors import ConfigError

__all__ = ["LIMITS", "Limit", "check_duration", "check_limits"]


class Limit(NamedTuple):
    """The finite numbers from `low` to `high`, either of which may be excluded.

    Arguments:
        low: The lowest number.
        high: The highest number, infinity for none.
        above: Whether `low` itself is excluded.
        below: Whether `high` itself is excluded.
        share: Whether fractions stand for a share, so that they are at most 1.
        other: A number outside of the limits that is allowed, with a meaning of its own.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False
    share: bool = False
    other: float | None = None

    def holds(self, value: float) -> bool:
        """Returns whether an option can take this number."""
        if value == self.other:
            return True
        return (
            math.isfinite(value)
            and (self.low < value if self.above else self.low <= value)
            and (value < self.high if self.below else value <= self.high)
            and not (self.share and isinstance(value, float) and value > 1)
        )

    def __str__(self) -> str:
        rule = f"{'more than' if self.above else 'at least'} {self.low}"
        if self.high < math.inf:
            rule += f" and {'below' if self.below else 'at most'} {self.high}"
        if self.share:
            rule += ", a whole number or a share up to 1.0"
        return rule if self.other is None else f"{rule}, or {self.other}"


FRACTION = Limit(0, 1, below=True)
SOME = Limit(1)
NONE_OR_MORE = Limit(0)
SEED = Limit(-(2**63), 2**63 - 1)
BATCHES = Limit(0, share=True)

LIMITS: dict[str, Limit] = {
    "seed_everything": Limit(0, 2**32 - 1),
    "ema": FRACTION,
    "checkpoint_every": SOME,
    "samples": NONE_OR_MORE,
    "model.lr": Limit(0, above=True),
    "model.warmup_steps": NONE_OR_MORE,
    "model.betas": FRACTION,
    "model.weight_decay": NONE_OR_MORE,
    "model.corruption": FRACTION,
    "model.net.init_args.dropout": FRACTION,
    "model.net.init_args.readout": SOME,
    "model.quantizer.init_args.seed": SEED,
    "data.dataset.init_args.train_images": SOME,
    "data.dataset.init_args.val_images": NONE_OR_MORE,
    "data.dataset.init_args.test_images": NONE_OR_MORE,
    "data.dataset.init_args.seed": SEED,
    "data.dataset.init_args.val_fraction": Limit(0, 1),
    "data.dataset.init_args.test_fraction": Limit(0, 1),
    "data.batch_size": SOME,
    "data.eval_batch_size": SOME,
    "data.workers": NONE_OR_MORE,
    "trainer.max_steps": SOME,
    "trainer.min_steps": NONE_OR_MORE,
    "trainer.max_epochs": Limit(1, other=-1),
    "trainer.min_epochs": NONE_OR_MORE,
    "trainer.num_nodes": SOME,
    "trainer.accumulate_grad_batches": SOME,
    "trainer.val_check_interval": Limit(0, above=True, share=True),
    "trainer.check_val_every_n_epoch": SOME,
    "trainer.num_sanity_val_steps": Limit(0, other=-1),
    "trainer.log_every_n_steps": SOME,
    "trainer.gradient_clip_val": NONE_OR_MORE,
    "trainer.limit_train_batches": Limit(0, above=True, share=True),
    "trainer.limit_val_batches": BATCHES,
    "trainer.limit_test_batches": BATCHES,
    "trainer.limit_predict_batches": BATCHES,
    "trainer.overfit_batches": BATCHES,
    "trainer.fast_dev_run": NONE_OR_MORE,
    "trainer.reload_dataloaders_every_n_epochs": NONE_OR_MORE,
}

UNITS = ("days", "hours", "minutes", "seconds")


def check_limits(values: Mapping[str, Any]) -> None:
    """Raises PixelarError for the first option whose number is outside of its limits.

    Arguments:
        values: Values by the option's full name. Options without limits and values that are not
            numbers (None, strings, booleans) are not checked; of a list, each element is checked.
    """
    for name, value in values.items():
        limit = LIMITS.get(name)
        for number in value if isinstance(value, list | tuple) else [value]:
            if limit is None or isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if not limit.holds(number):
                finite = "" if math.isfinite(number) else "finite and "
                raise ConfigError(f"{name} must be {finite}{limit}; got {value}")


def check_duration(name: str, value: object) -> None:
    """Raises PixelarError unless a text or a dictionary is a duration that Lightning accepts.

    Arguments:
        name: The option.
        value: DD:HH:MM:SS, or arguments of `timedelta`. Other values are not checked.
    """
    given = value
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+):(\d+):(\d+):(\d+)", value.strip())
        parts = dict(zip(UNITS, found.groups(), strict=True)) if found else {}
        value = {unit: int(number) for unit, number in parts.items()}
    elif not isinstance(value, dict):
        return
    try:
        right = timedelta(**value) > timedelta(0)
    except (TypeError, OverflowError):
        right = False
    if not right:
        raise ConfigError(f"{name} must be a time above 0, written DD:HH:MM:SS; got {given}")
