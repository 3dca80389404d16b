"""`pixelar sample` and `pixelar complete`: images drawn into one picture."""

import functools
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pixelar.cli.inputs import (
    drawing,
    labels_for,
    open_model,
    output_file,
    placed,
    read_images,
    region,
    write_output,
)
from pixelar.cli.trust import trusted
from pixelar.model import PixelModel
from pixelar.names import ScheduleName
from pixelar.plotting import as_pictures, grid, show_unknown
from pixelar.sampling.completion import complete as complete_images
from pixelar.sampling.methods import choose_method
from pixelar.sampling.posterior import Posterior, posterior
from pixelar.sampling.samples import draw_images
from pixelar.sampling.schedules import MANY_SITES, SCHEDULES, require_sequential

__all__ = ["complete", "sample"]


def sample(options: Namespace) -> int:
    """Draws images into one picture; without a label, all classes of the model take turns."""
    output = output_file(options.output)
    model = open_model(options.model, trusted(options.trust))
    if model.classes and options.label is None:
        labels: Tensor | None = torch.arange(options.n) % model.classes
    else:
        labels = labels_for(model, options.label, options.n)
    drawn = draw_images(
        placed(model, options),
        options.n,
        labels,
        schedule=quickest_at_once(model, options.schedule),
        **drawing(options),
        progress=sys.stderr.isatty(),
    )
    write_output(
        drawn.images, lambda: grid(as_pictures(drawn.images, model.quantizer.values)), output
    )
    print(output)
    if options.schedule != "auto":
        steps = SCHEDULES[drawn.schedule].step.format(drawn.steps)
        print(f"pixelar: {steps} for {model.scan.sites} sites", file=sys.stderr)
    return 0


def quickest_at_once(model: PixelModel, schedule: ScheduleName) -> ScheduleName:
    """Returns the schedule for one call: small images take less time than loading machine code."""
    return "sequential" if schedule == "auto" and model.scan.sites < MANY_SITES else schedule


def complete(options: Namespace) -> int:
    """Draws completions: in each row the original, what is kept of it, and n completions."""
    output = output_file(options.output)
    model = open_model(options.model, trusted(options.trust))
    images = read_images(options.images, model, fit=options.fit)
    known = region(options, model.image_shape)
    options.method = method = choose_method(model, known, images, options.method)
    draw = complete_by_particles if method == "particles" else complete_in_order
    drawn = draw(placed(model, options), images, known, options)
    if method in NOTES:
        print(f"pixelar: {NOTES[method].format(options.particles)}", file=sys.stderr)
    write_output(drawn, lambda: completions(model, images, known, drawn), output)
    rows = f"in each row the original, what is kept, {options.n} completions"
    print(f"{output}: {rows}" if output.suffix.lower() == ".png" else output)
    return 0


NOTES = {
    "particles": "some known pixels come after unknown ones in this model's order, so each "
    "completion is drawn from {} weighted canvases (--particles)",
    "clamp": "clamping: known pixels do not influence the pixels drawn before them, so these "
    "completions do not follow the model's conditional distribution; those of --method particles "
    "do",
}


def complete_in_order(
    model: PixelModel, images: Tensor, known: Tensor, options: Namespace
) -> Tensor:
    """Returns n completions of each image, uint8 (B · n, C, H, W), drawn along the scan."""
    labels = labels_for(model, options.label, options.n * len(images))
    return complete_images(
        model,
        images.repeat_interleave(options.n, 0),
        known,
        labels,
        method=options.method,
        schedule=options.schedule,
        **drawing(options),
        progress=sys.stderr.isatty(),
    )


def complete_by_particles(
    model: PixelModel, images: Tensor, known: Tensor, options: Namespace
) -> Tensor:
    """Returns n completions of each image, one per population, and prints their statistics."""
    require_sequential(options.schedule)
    found = posterior(
        model,
        images,
        known,
        labels_for(model, options.label, len(images)),
        particles=options.particles,
        populations=options.n,
        **drawing(options),
        progress=sys.stderr.isatty(),
    )
    print(report_populations(found, options.images))
    return found.draw().flatten(0, 1)


def report_populations(found: Posterior, names: Sequence[str]) -> str:
    """Returns a line per image: log p(known), effective sample size and distinct canvases.

    Tempered populations do not estimate log p(known); their lines leave it out.
    """
    lines = []
    for name, log_known, spread, ess, survivors in zip(
        names,
        found.log_known,
        found.log_known_stderr,
        found.ess,
        found.unique_particles,
        strict=True,
    ):
        error = f" ± {float(spread):.2f}" if len(survivors) > 1 else ""
        size = found.images.shape[2]
        lowest = min(ess[~ess.isnan()].tolist(), default=size)
        likely = "" if log_known.isnan() else f"log p(known) ≈ {float(log_known):.2f}{error} nats; "
        lines.append(
            f"{Path(name).name}: {likely}effective sample size at least {lowest:.1f} of {size}; "
            f"{int(survivors.min())} to {int(survivors.max())} distinct canvases"
        )
    return "\n".join(lines)


def completions(model: PixelModel, images: Tensor, known: Tensor, drawn: Tensor) -> Tensor:
    """Returns a picture with a row per image: the image, what is kept of it, its completions."""
    show = functools.partial(as_pictures, values=model.quantizer.values)
    kept = show(model.decode(model.encode(images)).cpu())
    channels, height, width = model.image_shape
    if kept.shape[-1] > width:  # channels are next to each other
        known = known.expand(-1, -1, height, width).repeat(1, 1, 1, channels)
    own = show(drawn).unflatten(0, (len(images), -1)).expand(-1, -1, 3, -1, -1)  # (B, n, …)
    given, kept = show(images).expand(-1, 3, -1, -1), show_unknown(kept, known)
    rows = torch.cat((given[:, None], kept[:, None], own), 1)
    return grid(rows.flatten(0, 1), columns=rows.shape[1])
