"""Drawing samples: the computations of the tab "Sample"."""

import zipfile
from pathlib import Path

from PIL import Image

from pixelar.demo.render.pictures import GAP, show, to_picture
from pixelar.demo.tasks.drawing import Frame, Task

__all__ = ["sheet", "summary", "write_files"]

WIDTH, HEIGHT = 920, 560  # pixels of the page, at most, of all samples together


def sheet(frame: Frame) -> Image.Image:
    """Returns the samples of a frame as one picture."""
    count = len(frame.images)
    columns = next(c for c in range(1, count + 1) if c * c >= count and (count % c == 0 or c > 5))
    side = min(WIDTH // columns, HEIGHT // -(-count // columns)) - GAP
    return show(frame.images, frame.hidden, side=side, columns=columns)


def summary(task: Task, seconds: float) -> str:
    """Returns in a line how samples were made."""
    count = len(task.images)
    return f"{count} sample{'s' * (count > 1)} in {seconds:.1f} s · seed {task.seed}"


def write_files(folder: Path, frame: Frame) -> tuple[Path, Path]:
    """Writes the files to download: one picture of all samples, and a ZIP of all of them."""
    picture, archive = folder / "samples.png", folder / "samples.zip"
    sheet(frame).save(picture)
    with zipfile.ZipFile(archive, "w") as file:
        file.write(picture, picture.name)
        for number, image in enumerate(frame.images, 1):
            path = folder / f"{number}.png"
            to_picture(image).save(path)
            file.write(path, path.name)
    return picture, archive
