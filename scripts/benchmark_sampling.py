"""Cached sampling against re-running the network for every site, in turns in one process."""

import argparse
import statistics
import time

import torch

from pixelar.model import PixelModel, build_model
from pixelar.nets import Net
from pixelar.sampling import sample

NETS = {
    "PixelCNN": {"width": 32, "depth": 8, "readout": [64]},
    "GatedPixelCNN": {"width": 64, "depth": 10},
    "ImageGPT": {"width": 64, "depth": 4, "heads": 4},
}


def build(name: str, side: int) -> PixelModel:
    return build_model(
        {
            "image_shape": [1, side, side],
            "scan": "raster",
            "quantizer": {"name": "Identity", "args": {}},
            "head": {"name": "Categorical", "args": {}},
            "net": {"name": name, "args": NETS[name]},
        }
    ).eval()


@torch.no_grad()
def naive(model: PixelModel, batch: int, sites: int) -> float:
    """Returns the seconds that a sample takes without a cache, from the first few sites."""
    x = torch.zeros(batch, *model.scan.shape, dtype=torch.long)
    began = time.perf_counter()
    for t in range(sites):
        model.head.log_pmf(Net.step(model.net, x, t, None), x.flatten(1)[:, :0])
    return (time.perf_counter() - began) * model.scan.sites / sites


def cached(model: PixelModel, batch: int) -> float:
    began = time.perf_counter()
    sample(model, batch, seed=0)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--naive-sites", type=int, default=4, help="that its time is scaled from")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    side, sites = options.side, options.naive_sites
    print(f"{side}×{side}, 256 levels, float32, {options.threads} thread(s)")
    print(
        f"torch {torch.__version__}; medians of {options.repeats} taken in turns; "
        f"naive is extrapolated from {sites} sites"
    )
    print("net            batch  forward s  cached s  naive s  naive/cached  cached in forwards")
    for name in NETS:
        model = build(name, side)
        for batch in options.batches:
            naive(model, batch, 1)  # warm up
            pairs = [
                (cached(model, batch), naive(model, batch, sites)) for _ in range(options.repeats)
            ]
            fast, slow = (statistics.median(times) for times in zip(*pairs, strict=True))
            forward = slow / model.scan.sites
            print(
                f"{name:15s}{batch:5d}{forward:11.4f}{fast:10.2f}{slow:9.1f}"
                f"{slow / fast:13.0f}×{fast / forward:20.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
