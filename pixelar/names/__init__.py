"""Names and limits that the API, the command line and the demo share; nothing here needs torch."""

from typing import Literal, TypeAlias, get_args

__all__ = ["METHODS", "SCHEDULES", "Method", "ScheduleName", "Shape"]

Shape: TypeAlias = tuple[int, int, int]
"""The size of an image: channels, height, width."""

Method: TypeAlias = Literal["auto", "prefix", "known_first", "particles", "clamp"]
"""How an image is completed; see `pixelar.complete`."""

ScheduleName: TypeAlias = Literal["auto", "sequential", "compiled", "wavefront", "fixed_point"]
"""In which order sites are drawn, and how many at once; see `pixelar.sampling.schedules`."""

METHODS: tuple[Method, ...] = get_args(Method)
SCHEDULES: tuple[ScheduleName, ...] = get_args(ScheduleName)
