"""Cards of packaged models as text: for people in Markdown, and in one line for lists."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pixelar.errors import plural
from pixelar.hub.index import read_card
from pixelar.names.classes import listed

__all__ = ["course", "duration", "fill_in", "headline", "images_in_words", "in_full", "list_lines"]
__all__ += ["render_card"]

Card = Mapping[str, Any]


def headline(figure: Mapping[str, Any], levels: int) -> str:
    """Formats a score as it is usually quoted: in nats for black and white, else in bits.

    Example:
        >>> headline({"mean": 1.5, "standard_error": 0.25, "unit": "bits/dim"}, levels=256)
        '1.5000 ± 0.2500 bits/dim'
    """
    if levels == 2:
        return f"{figure['nats_mean']:.2f} ± {figure['nats_standard_error']:.2f} nats"
    return f"{figure['mean']:.4f} ± {figure['standard_error']:.4f} {figure['unit']}"


def in_full(figure: Mapping[str, Any]) -> str:
    """Formats a score per dimension or token, and in nats per image."""
    bits = f"{figure['mean']:.4f} ± {figure['standard_error']:.4f} {figure['unit']}"
    return (
        f"{bits} = {figure['nats_mean']:.2f} ± {figure['nats_standard_error']:.2f} nats per image"
    )


def images_in_words(data: Mapping[str, Any]) -> str:
    """Returns how many images of which split were scored, given the "data" of a report's card.

    Example:
        >>> images_in_words({"images": 1, "split": "test", "limit": None})
        '1 test image'
        >>> images_in_words({"images": 40, "split": "all", "limit": None})
        'all 40 images'
    """
    count, split = data["images"], data["split"]
    noun = "image" if split in ("all", None) else f"{split} image"
    if data.get("limit") is not None and data["limit"] <= count:
        return f"the first {plural(count, noun)}" if count > 1 else f"the first {noun}"
    return f"all {plural(count, noun)}" if split == "all" and count > 1 else plural(count, noun)


def list_lines(folders: Mapping[str, Path]) -> list[str]:
    """Returns an aligned line for each packaged model: name, summary, score, size.

    Arguments:
        folders: The models' folders by name.
    """
    rows = []
    for name, folder in folders.items():
        card = read_card(folder) or {}
        size = (folder / "model.safetensors").stat().st_size / 1e6
        rows.append((name, card.get("summary", ""), card.get("headline", ""), f"{size:.1f} MB"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:{width}s}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def render_card(card: Card, folder: Path) -> str:
    """Returns a card in Markdown.

    Arguments:
        card: The card as plain values.
        folder: The folder with the configs that train the model.
    """
    configs = {file: (folder / file).read_text(encoding="utf-8") for file in card["configs"]}
    where = ", where `DIR` is the folder of the images" if "DIR" in card["evaluate"] else ""
    retrain = card["retrain"].replace(" && ", "\n")
    sections = [
        f"# {card['title']}",
        f"`{card['name']}`: {card['parameters']:,} parameters, "
        f"{card['bytes'] / 1e6:.2f} MB. **{card['headline']}** on "
        f"{card['figure']['images']:,} {card['figure']['split']} images.",
        "![Samples](samples.png)",
        "*Drawn by the stored model, seed 0"
        + (", a column per class" * bool(card["classes"]))
        + ".*",
        _use(card),
        "## Score",
        _rows(_figure(card)),
        card["published"],
        "## Data",
        _rows(_data(card)),
        "## Training",
        _rows(_training(card)),
        *card["training"]["notes"],
        _course(card),
        card["training"].get("outlook", ""),
        "## Reproduce",
        f"The score{where}:\n\n```bash\n{card['evaluate']}\n```\n\n"
        f"The model:\n\n```bash\n{retrain}\n```",
        *(f"`{file}`:\n\n```yaml\n{text.rstrip()}\n```" for file, text in configs.items()),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def fill_in(page: str, folders: Sequence[Path]) -> str:
    """Returns a page on packaged models with its tables generated again.

    Each table stands between two marks, `<!-- NAME -->` and `<!-- end of NAME -->`.

    Arguments:
        page: The page, as `docs/models.md`.
        folders: The models' folders.
    """
    cards = [card for card in map(read_card, folders) if card]
    tables = {
        "models": _table(cards),
        "curves": _courses(cards),
        "outlooks": "\n".join(
            _item(f"`{card['name']}`: {card['training']['outlook']}")
            for card in cards
            if card["training"].get("outlook")
        ),
        "samples": "\n\n".join(
            f"![Samples](../pixelar/hub/models/{card['name']}/samples.png)\n\n*{card['title']}.*"
            for card in cards
        ),
    }
    for name, text in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        assert begin in page and end in page, f"the page has no place for {name}"
        before, _, rest = page.partition(begin)
        page = before + begin + text + "\n" + end + rest.partition(end)[2]
    return page


def _item(text: str) -> str:
    """Returns text as an item of a list, in lines of at most 120."""
    return textwrap.fill(
        text, 120, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
    )


def _table(cards: Sequence[Card]) -> str:
    """Returns a Markdown table of packaged models, each linked to its card."""
    head = ["model", "what", "score", "images", "parameters", "size", "training"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for card in cards:
        training = card["training"]
        cells = [
            f"[{card['name']}](../pixelar/hub/models/{card['name']}/README.md)",
            card["summary"],
            card["headline"],
            f"{card['figure']['images']:,} {card['figure']['split']}",
            f"{card['parameters']:,}",
            f"{card['bytes'] / 1e6:.2f} MB",
            f"{training['steps']:,} steps, {training['images']:,} images, "
            f"{duration(training['seconds'])}, {training['hardware']}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Returns a duration in words.

    Example:
        >>> duration(95), duration(7500)
        ('95 s', '125 min')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _use(card: Card) -> str:
    labels = ", labels=torch.arange(16) % 10" if card["classes"] else ""
    imports = "import torch\n\nimport pixelar" if labels else "import pixelar"
    return (
        f'```python\n{imports}\n\nmodel = pixelar.load("{card["name"]}")\n'
        f"images = pixelar.sample(model, 16{labels}, seed=0)\n```"
    )


def _figure(card: Card) -> dict[str, str]:
    figure, protocol = card["figure"], card["protocol"]
    error, nats_error = figure["standard_error"], figure["nats_standard_error"]
    quantizer = card["model"]["quantizer"]
    kept = "lossless" if card["lossless"] else "the score is that of the reduced images"
    dims = next(f"{v:,} {k.split('_')[0]}" for k, v in protocol.items() if k.endswith("per_image"))
    return {
        figure["unit"]: f"{figure['mean']:.4f} ± {error:.4f} (standard error over images)",
        "nats per image": f"{figure['nats_mean']:.2f} ± {nats_error:.2f}",
        "images": f"{figure['images']:,}, split {figure['split']}, {dims} each, each image once",
        "images' SHA-256": f"`{protocol['images_sha256']}`",
        "preprocessing": protocol["preprocessing"],
        "symbols": f"{_part(quantizer)}, {kept}",
        "conditioning": protocol["conditioning"],
        **({"classes": listed(names)} if (names := card.get("class_names")) else {}),
        "order": protocol["order"],
        "weights": f"{_WEIGHTS[protocol['weights']]}, stored in {protocol['storage']}",
        "computed in": protocol["dtype"],
        "model's SHA-256": f"`{card['model_sha256']}`",
    }


_WEIGHTS = {"ema": "moving average (ema)", "raw": "of the last step (raw)"}


def _part(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']}({', '.join(f'{k}={v}' for k, v in entry['args'].items())})"


def _data(card: Card) -> dict[str, str]:
    data = card["data"]
    return {"images": data["about"], "licence": data["licence"], "from": f"<{data['url']}>"}


def _training(card: Card) -> dict[str, str]:
    training = card["training"]
    return {
        "net": f"`{_part(card['model']['net'])}`",
        "head": f"`{_part(card['model']['head'])}`",
        "steps": _steps(training),
        "images seen": f"{training['images']:,}",
        "time": f"{duration(training['seconds'])} for the steps, without validation and pictures",
        "hardware": training["hardware"],
        "precision": training["precision"],
        "seed": str(training["seed"]),
    }


def _steps(training: Mapping[str, Any]) -> str:
    """Returns the steps of each part of a training in words."""
    parts = []
    for part in training["parts"]:
        early = part["steps"] < part["planned"]
        stopped = f" (stopped early: {part['planned']:,} were planned)" if early else ""
        parts.append(f"{part['steps']:,} of {part['batch_size']} images{stopped}")
    return ", then ".join(parts)


def course(card: Card) -> tuple[list[tuple[int, float]], str]:
    """Returns steps and validation scores, and their unit, which is that of the headline."""
    figure, curve = card["figure"], card["curve"]
    if card["headline"].endswith(" nats"):
        scale = figure["nats_mean"] / figure["mean"]
        return [(step, scale * value) for step, value in curve], "nats"
    return [(step, value) for step, value in curve], figure["unit"]


def _points(card: Card) -> list[tuple[str, str]]:
    """Returns at most ten steps and scores of a curve, including first and last, as text."""
    curve, unit = course(card)
    chosen = sorted({round(i * (len(curve) - 1) / 9) for i in range(10)})
    digits = 2 if unit == "nats" else 4
    return [(f"{curve[i][0]:,}", f"{curve[i][1]:.{digits}f}") for i in chosen]


def _course(card: Card) -> str:
    """Returns the validation curve and how it ends."""
    curve, unit = course(card)
    if len(curve) < 2:
        return ""
    steps, values = zip(*_points(card), strict=True)
    (before, high), (last, low) = curve[-2:]
    fell = f"fell by {high - low:.4f}" if low < high else "did not fall"
    end = f"From step {before:,} to {last:,} it {fell}."
    if card.get("curve_end_measured_afterwards"):
        end += (
            f" The last validation of the run was at step {before:,}; the point at step {last:,} "
            "is of the stored model on the same images, measured afterwards."
        )
    return (
        f"| step | {' | '.join(steps)} |\n|{'---|' * (len(steps) + 1)}\n"
        f"| validation, {unit} | {' | '.join(values)} |\n\n{end}"
    )


def _courses(cards: Sequence[Card]) -> str:
    """Returns a Markdown table of validation curves."""
    lines = ["| model | in | step: validation |", "|---|---|---|"]
    for card in cards:
        points = " · ".join(f"{step}: {value}" for step, value in _points(card))
        lines.append(f"| `{card['name']}` | {course(card)[1]} | {points} |")
    return "\n".join(lines)


def _rows(entries: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {v} |" for key, v in entries.items())])
