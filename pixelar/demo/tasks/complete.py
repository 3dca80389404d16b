"""Completing a picture: the computations of the tab "Complete"."""

import math
import shlex
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from torch import Tensor

from pixelar.demo.inputs.canvas import Canvas, read_canvas
from pixelar.demo.inputs.regions import PAINTED, known_pixels
from pixelar.demo.render.pictures import show, to_picture
from pixelar.demo.tasks.drawing import Frame, Task, frames, paced
from pixelar.model import PixelModel

__all__ = [
    "command_line",
    "complete_picture",
    "preview",
    "sheet",
    "summary",
    "write_files",
]

SEEN = 280  # pixels of the page
SIDES = {1: 448, 2: 336, 4: 168}  # of an image, by the number of columns
WORDS = {
    "prefix": "**Prefix**, exact",
    "known_first": "**Known first**, exact",
    "particles": "**Particles**",
    "clamp": "**Clamp**, biased: what is drawn does not depend on known pixels after it",
}


def preview(canvas: Canvas, region: str, model: PixelModel) -> tuple[Image.Image, str]:
    """Returns the model's input from a canvas, the part to redraw hatched, and a caption."""
    picture, paint = read_canvas(canvas, model)
    known = known_pixels(region, paint)
    seen = model.decode(model.encode(picture)).cpu()
    _, height, width = model.image_shape
    share = float((~known).float().mean())
    caption = f"{width}×{height} pixels, {levels(model)}. {share:.0%} of them will be redrawn."
    if region == PAINTED and not bool(paint.any()):
        caption = "Nothing is painted yet: choose the brush and paint over what should change."
    elif not bool(known.any()):
        caption = "Nothing of the picture is kept: the tab Sample draws pictures from nothing."
    return show(seen, ~known, side=SEEN), caption


def levels(model: PixelModel) -> str:
    """Describes in a few words the values that the pixels of a model can have."""
    count = model.quantizer.levels
    if model.quantizer.unit == "token":
        return f"a palette of {count} colours"
    if model.image_shape[0] == 3:
        return f"{count} levels of red, green and blue"
    return "black and white" if count == 2 else f"{count} levels of grey"


def complete_picture(task: Task, name: str, label: int | None) -> Iterator[tuple[Frame, str, str]]:
    """Completes a picture, and yields frames, the last one with a summary of the result.

    Yields:
        A frame, a summary, and the command that draws the same; both texts are empty until the end.
    """
    begin, frame = time.monotonic(), None
    for frame in paced(frames(task)):
        if frame.done < 1:
            yield frame, "", ""
    assert frame is not None
    yield frame, summary(task, frame, time.monotonic() - begin), command_line(task, name, label)


def summary(task: Task, frame: Frame, seconds: float) -> str:
    """Returns in Markdown how the images of the last frame were made."""
    count = len(frame.images)
    parts = [
        WORDS[task.method],
        f"{count} completion{'s' * (count > 1)} in {seconds:.1f} s",
        f"seed {task.seed}",
    ]
    if frame.found is None:
        return " · ".join(parts)
    found, size = frame.found, task.particles
    if not found.log_known.isnan().any():
        parts.append(f"log p(known) ≈ {_log_known(found.log_known)}")
    ess = found.ess[~found.ess.isnan()]
    parts.append(f"effective sample size {ess.mean():.0f} of {size} (lowest {ess.min():.0f})")
    parts.append(f"{found.unique_particles.float().mean():.0f} distinct canvases at the end")
    return " · ".join(parts)


def _log_known(each: Tensor) -> str:
    """Returns the pooled estimate of independent populations with its standard error."""
    mean = float(each.logsumexp(0)) - math.log(len(each))
    if len(each) == 1:
        return f"{mean:.1f} nats"
    error = float((each - mean).exp().std()) / math.sqrt(len(each))
    return f"{mean:.1f} ± {error:.1f} nats"


def command_line(task: Task, name: str, label: int | None) -> str:
    """Returns the command that draws the same completions from picture.png and mask.png."""
    words: list[object] = ["pixelar", "complete", name, "picture.png", "--mask", "mask.png"]
    words += ["--method", task.method]
    if task.method == "particles":
        words += ["--particles", task.particles]
    words += ["-n", len(task.images)]
    if label is not None:
        words += ["--label", label]
    if task.temperature != 1:
        words += ["--temperature", task.temperature]
    if task.top_p < 1:
        words += ["--top-p", task.top_p]
    return shlex.join(map(str, [*words, "--seed", task.seed]))


def write_files(folder: Path, task: Task, frame: Frame, command: str) -> tuple[Path, Path]:
    """Writes the files to download: a picture of all completions, and a ZIP of everything."""
    pictures = {f"{k}.png": to_picture(image) for k, image in enumerate(frame.images, 1)}
    pictures |= {
        "picture.png": to_picture(task.images[0]),
        "mask.png": to_picture(task.known.byte() * 255),
        "completions.png": sheet(frame),
    }
    archive = folder / "completions.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("command.txt", command + "\n")
        for name, picture in pictures.items():
            picture.save(folder / name)
            file.write(folder / name, name)
    return folder / "completions.png", archive


def sheet(frame: Frame) -> Image.Image:
    """Returns the images of a frame as one picture."""
    columns = 1 if len(frame.images) == 1 else 2 if len(frame.images) < 5 else 4
    return show(frame.images, frame.hidden, side=SIDES[columns], columns=columns)
