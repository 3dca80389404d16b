"""What an evaluation reports: the score, a score for every image, and the protocol."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pixelar.common.files import replacing

__all__ = ["EvaluationReport"]


@dataclass(frozen=True)
class EvaluationReport:
    """The result of an evaluation.

    Attributes:
        mean: Bits per dimension, or per token of a palette, averaged over all images.
        standard_error: The standard error of the mean over images; nan for a single image.
        unit: "bits/dim" or "bits/token"; the two are not comparable.
        per_image: The score of every image with shape (N,), float64.
        names: The images' names.
        card: The protocol, as plain values.
    """

    mean: float
    standard_error: float
    unit: str
    per_image: Tensor
    names: Sequence[str]
    card: dict[str, Any]

    def __str__(self) -> str:
        error = f" ± {self.standard_error:.4f}" if len(self.per_image) > 1 else ""
        return f"{self.mean:.4f}{error} {self.unit}"

    def save(self, folder: str | Path) -> None:
        """Writes the protocol, `report.json`, and the table of images, `per_image.csv`."""
        text = json.dumps(self.card, indent=2, ensure_ascii=False, allow_nan=False, default=str)
        # file names may not be valid text: such characters are escaped, as in JSON
        encoding: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
        with replacing(Path(folder) / "report.json") as temporary:
            temporary.write_text(text + "\n", **encoding)
        with (
            replacing(Path(folder) / "per_image.csv") as temporary,
            temporary.open("w", newline="", **encoding) as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["image", self.unit])
            writer.writerows(zip(self.names, self.per_image.tolist(), strict=True))
