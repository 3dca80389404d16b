"""What particles cost: time against one sample, and memory against what is foretold.

    python benchmarks/benchmark_particles.py MODEL [--particles 16 64 256] [--threads 1]

Every row is a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

import pixelar
from pixelar.memory.budget import memory_of_row
from pixelar.sampling.regions import REGIONS

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("model")
parser.add_argument("--particles", type=int, nargs="+", default=[16, 64, 256])
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # measures in this process
options = parser.parse_args()


def measure(particles: int) -> dict[str, float]:
    """Returns seconds, extra peak bytes and resamplings of a completion; of a sample for 0."""
    torch.set_num_threads(options.threads)
    model = pixelar.load(options.model)
    blank = torch.zeros(1, *model.image_shape, dtype=torch.uint8)
    labels = torch.zeros(1, dtype=torch.long) if model.classes else None
    known = REGIONS["right"](*model.image_shape[1:])
    pixelar.complete(model, blank, REGIONS["top"](*model.image_shape[1:]), labels, seed=0)  # warm
    before, began, resampled = peak(), time.perf_counter(), 0
    if particles:
        found = pixelar.posterior(
            model, blank, known, labels, particles=particles, populations=1, seed=0
        )
        resampled = int(found.resampled.sum())
    else:
        pixelar.sample(model, 1, labels, seed=0)
    seconds = time.perf_counter() - began
    foretold = particles * memory_of_row(model)
    return {
        "seconds": seconds,
        "peak": peak() - before,
        "foretold": foretold,
        "resampled": resampled,
    }


def peak() -> int:
    """Returns the most memory that this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if options.one is not None:
    print(json.dumps(measure(options.one)))
    raise SystemExit
print(f"{options.model}, right half of a black image known, {options.threads} thread(s)")
print("particles  seconds  × one sample  resampled  peak MB  foretold MB")
command = [sys.executable, __file__, options.model, "--threads", str(options.threads), "--one"]
for count in (0, *options.particles):
    found = json.loads(subprocess.check_output([*command, str(count)], text=True))
    if count == 0:
        one = found["seconds"]
    print(
        f"{count or 'sample':>9}  {found['seconds']:7.2f}  {found['seconds'] / one:12.1f}  "
        f"{found['resampled']:9.0f}  {found['peak'] / 1e6:7.1f}  {found['foretold'] / 1e6:11.1f}",
        flush=True,
    )
