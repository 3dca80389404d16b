"""Models that others trained and saved, as ours."""

from pixelar.importing.pixelcnnpp import import_pixelcnnpp

__all__ = ["import_pixelcnnpp"]
