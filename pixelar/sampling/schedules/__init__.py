"""In which order sites are drawn, and how many at once; the images are the same.

To add one: write its file, and add a line here and its name in `pixelar.names`.
"""

from pixelar.errors import ConfigError, did_you_mean
from pixelar.names import SCHEDULES as NAMES
from pixelar.names import ScheduleName
from pixelar.sampling.canvas import Canvas
from pixelar.sampling.schedules.base import MANY_SITES, Schedule
from pixelar.sampling.schedules.fixed_point import FIXED_POINT
from pixelar.sampling.schedules.numba_rows import COMPILED
from pixelar.sampling.schedules.sequential import SEQUENTIAL
from pixelar.sampling.schedules.wavefront import WAVEFRONT

__all__ = ["MANY_SITES", "SCHEDULES", "Schedule", "choose_schedule", "require_sequential"]

# "auto" takes the first that applies and is quick
SCHEDULES: dict[ScheduleName, Schedule] = {
    "compiled": COMPILED,
    "wavefront": WAVEFRONT,
    "fixed_point": FIXED_POINT,
    "sequential": SEQUENTIAL,
}


def choose_schedule(canvas: Canvas, name: ScheduleName = "auto") -> ScheduleName:
    """Returns the schedule that draws a canvas: resolves "auto", and checks the others.

    Raises:
        PixelarError: If there is no schedule of that name, or it cannot draw the canvas.
    """
    if name == "auto":
        quick = (s for s, row in SCHEDULES.items() if row.quick_for(canvas))
        return next(s for s in quick if not SCHEDULES[s].applies(canvas))
    if name not in SCHEDULES:
        raise ConfigError(f"schedule: {did_you_mean(str(name), NAMES)}")
    if reason := SCHEDULES[name].applies(canvas):
        raise ConfigError(f"schedule {name} {reason}")
    return name


def require_sequential(name: ScheduleName) -> None:
    """Raises PixelarError for a schedule by which particles cannot be drawn."""
    if name not in NAMES:
        raise ConfigError(f"schedule: {did_you_mean(str(name), NAMES)}")
    if name not in ("auto", "sequential"):
        raise ConfigError(f"particles are drawn site by site; schedule {name} does not apply")
