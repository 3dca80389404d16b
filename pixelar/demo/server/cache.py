"""Files of pictures, named by their content: one file for all users who get the same picture.

Gradio writes such a file again each time, and a user who downloads it meanwhile gets part of it.
"""

import os
import tempfile
from pathlib import Path

from gradio import processing_utils
from PIL import Image

from pixelar.demo.server.storage import IN_USE

__all__ = ["save_once"]


def save_once(img: Image.Image, cache_dir: str, name: str = "image", format: str = "webp") -> str:
    """Writes a picture atomically, if there is no such file yet.

    Replaces `gradio.processing_utils.save_pil_to_cache`.

    Arguments:
        img: The picture.
        cache_dir: The folder of all files.
        name: What the file is called.
        format: The format of the file, and its ending.

    Returns:
        The path of the file.
    """
    content = processing_utils.encode_pil_to_bytes(img, format)
    folder = Path(cache_dir) / processing_utils.hash_bytes(content)
    path = (folder / f"{name}.{format}").resolve()
    try:
        os.utime(path)  # counts as new again, so it is not the next to be removed
    except FileNotFoundError:
        number, unfinished = tempfile.mkstemp(prefix=IN_USE, dir=_made(Path(cache_dir)))
        with open(number, "wb") as file:
            file.write(content)
        try:
            os.replace(unfinished, _made(folder) / path.name)
        except FileNotFoundError:  # the folder existed, was empty, and has just been swept
            os.replace(unfinished, _made(folder) / path.name)
    return str(path)


def _made(folder: Path) -> Path:
    """Creates a folder if it is missing, and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder
