"""Corrects the environment variables that number processes, before a library reads them.

torchrun, a scheduler (SLURM) and Lightning number processes by environment variables. A shell may
hold such variables by mistake: empty ones, those of an allocation in which srun has started
nothing, or those of an earlier launch. Needs no torch.
"""

import os
from collections.abc import MutableMapping

from pixelar.errors import ConfigError

__all__ = ["settle_processes"]

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "JSM_NAMESPACE_RANK")
SIZES = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "JSM_NAMESPACE_SIZE")
STEP = ("SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
# the first makes Lightning assume a launch by srun; the second numbers a process
OF_SRUN = ("SLURM_NTASKS", "SLURM_PROCID")
LARGEST = 1 << 31  # SLURM numbers the shells of an allocation from the top of the range


def settle_processes(environment: MutableMapping[str, str] | None = None) -> None:
    """Removes variables that number no process, and refuses those that contradict each other.

    Arguments:
        environment: The variables; None for those of this process.

    Raises:
        PixelarError: If the environment announces several processes, but not which one this is.
    """
    variables = os.environ if environment is None else environment
    for name in (*RANKS, *SIZES, *STEP, "MASTER_ADDR", "MASTER_PORT"):
        if not variables.get(name, "unset").strip():
            del variables[name]
    if not all(_number(variables.get(name)) is not None for name in STEP):
        for name in OF_SRUN:  # a shell in an allocation: srun has started nothing here
            variables.pop(name, None)
    for name in (*RANKS, *SIZES, "MASTER_PORT"):
        if name in variables and _number(variables[name]) is None:
            raise ConfigError(
                f"the environment variable {name} must be a whole number; got "
                f"{variables[name]!r:.60}. Where it is a leftover: unset {name}"
            )
    started = int(variables.get("WORLD_SIZE", 1))
    ranks = {name: int(variables[name]) for name in RANKS if name in variables}
    if started == 1:
        if not _managed(variables):
            for name in ranks:  # a single process is the first
                del variables[name]
    elif started < 1 or not ranks:
        raise ConfigError(
            f"the environment says that {started} processes were started (WORLD_SIZE), but not "
            "which one this is (RANK or LOCAL_RANK). Where that is a leftover: unset WORLD_SIZE"
        )
    elif max(ranks.values()) >= started:
        name = max(ranks, key=lambda rank: ranks[rank])
        raise ConfigError(
            f"the environment numbers this process {ranks[name]} ({name}) of {started} "
            f"(WORLD_SIZE), counted from 0. Where these are leftovers: unset {name} WORLD_SIZE"
        )


def _managed(variables: MutableMapping[str, str]) -> bool:
    """Returns whether a launcher that does not set WORLD_SIZE numbers this process."""
    return "JSM_NAMESPACE_SIZE" in variables


def _number(text: str | None) -> int | None:
    """Returns the whole number, at least 0, that a text is; None if it is not one."""
    number = int(text) if text and text.isascii() and text.isdigit() else LARGEST
    return number if number < LARGEST else None
