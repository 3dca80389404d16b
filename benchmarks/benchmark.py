"""Measures pixelar against itself and others, in turns in one process.

    python benchmarks/benchmark.py                        all suites, about two hours on one thread
    python benchmarks/benchmark.py sampling loss          some of them
    python benchmarks/benchmark.py pixels --nets LMConv   where a suite has them all
    python benchmarks/benchmark.py --device cuda
    python benchmarks/benchmark.py --document             docs/performance.md from the JSON

Results go to the JSON file case by case. A run of everything replaces it; others add to what
was measured there by the same machine and versions. Nothing else should run meanwhile.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from suites import GROUPS, SUITES
from suites.arguments import earlier, positive
from suites.document import write
from suites.measure import Row, Settings, environment
from suites.report import draw, load, save, text

from pixelar.nets.presets import PRESETS

DOCS = Path(__file__).parents[1] / "docs"


def device(name: str) -> torch.device:
    """Returns the device of that name, for argparse."""
    try:
        found = torch.device(name)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise argparse.ArgumentTypeError(f"{name} cannot be used: {reason}") from error
    return found


def joined(rows: list[Row], more: list[Row]) -> list[Row]:
    """Returns rows with new ones added, which replace earlier ones of the same case."""
    found = {row.case: row for row in rows}
    found.update((row.case, row) for row in more)
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join((*SUITES, *GROUPS)))
    parser.add_argument(
        "--nets",
        nargs="+",
        choices=PRESETS,
        default=list(PRESETS),
        metavar="NET",
        help="in suites that go through all nets",
    )
    parser.add_argument("--device", type=device, default="cpu")
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--tiny", action="store_true", help="only to see that everything runs")
    parser.add_argument("-o", "--output", type=Path, metavar="JSON")
    parser.add_argument("--document", action="store_true", help="write the tables of the documents")
    options = parser.parse_args()
    suites = [each for name in options.suites for each in GROUPS.get(name, (name,))]
    unknown = set(suites) - set(SUITES)
    if unknown:
        known = ", ".join((*SUITES, *GROUPS))
        parser.error(f"unknown suite: {', '.join(sorted(unknown))}; known: {known}")
    stored = DOCS / "performance" / f"{options.device.type}.json"
    if options.document:
        print("\n".join(map(str, write(DOCS))))
        return
    folder = Path(tempfile.mkdtemp()) if options.tiny else stored.parent
    output = options.output or folder / stored.name
    torch.set_num_threads(options.threads)
    repeats = 1 if options.tiny else options.repeats
    settings = Settings(options.device, repeats, options.tiny, tuple(options.nets))
    about = environment(settings)
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    adding = suites or len(settings.nets) < len(PRESETS)
    kept: dict[str, list[Row]] = earlier(parser, output, load, about) if adding else {}
    for name in suites or SUITES:
        print(f"\n== {name}: min / median / max, and the ratio to the reference", flush=True)
        measured = []
        for row in SUITES[name](settings):
            print(text([row]), flush=True)
            measured.append(row)
            save(output, about, {**kept, name: joined(kept.get(name, []), measured)})
        if len(settings.nets) == len(PRESETS):
            kept[name] = measured  # drops what has no case any more
        else:
            kept[name] = joined(kept.get(name, []), measured)
        save(output, about, {name: rows for name, rows in kept.items() if rows})
    print(f"\n{output}")
    print("\n".join(map(str, draw(kept, output.parent))))


if __name__ == "__main__":
    main()
