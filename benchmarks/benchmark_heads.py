"""What each head costs by its number of levels: parameters, time and memory, for 1,024 sites.

    python benchmarks/benchmark_heads.py [--threads 1]

Training is a log-likelihood and its gradient, for 4 images of 32×32 sites; drawing is `log_pmf` of
64 sites. Memory is the peak of tensors alive at once in a training step, parameters included.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from pixelar.heads import HEADS, Head
from pixelar.memory.peaks import LiveBytes

LEVELS = (256, 1024, 8192, 65536)
CASES: dict[str, int] = {
    "Categorical": 8192,
    "FactoredCategorical": 65536,
    "LogisticMixture": 65536,
}
SITES, DRAWN, REPEATS = 4096, 64, 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    print("| head | V | parameters per symbol | training, ms | memory, MB | drawing, ms |")
    print("|---|---|---|---|---|---|")
    for name, most in CASES.items():
        for levels in LEVELS:
            if levels <= most:
                print(row(HEADS[name](levels, 1)))


def row(head: Head) -> str:
    """Measures a head, and returns a row of the table."""
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(SITES, head.num_params, generator=generator).requires_grad_()
    x = torch.randint(head.levels, (SITES, 1), generator=generator)

    def train() -> None:
        (gradient,) = torch.autograd.grad(head.log_prob(params, x).sum(), params)
        assert gradient.shape == params.shape

    def draw() -> None:
        with torch.no_grad():
            head.log_pmf(params[:DRAWN].detach(), x[:DRAWN, :0])

    with LiveBytes() as live:
        train()
    memory = live.peak + params.nbytes
    per_image = SITES / 1024
    return (
        f"| {type(head).__name__} | {head.levels:,} | {head.num_params:,} | "
        f"{1e3 * median_of(train) / per_image:.1f} | {memory / per_image / 1e6:.1f} | "
        f"{1e3 * median_of(draw):.2f} |"
    )


def median_of(work: Callable[[], None]) -> float:
    """Returns the median of the seconds that some work takes, after a first time."""
    work()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
