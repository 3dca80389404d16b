"""`pixelar list`: names and summaries, read from the sources without importing them, which would
load torch.
"""

import functools
import itertools
import re
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from pixelar.hub.cards import list_lines
from pixelar.hub.configs import configs
from pixelar.hub.index import packaged

__all__ = ["TABLES", "list_names", "names"]

PACKAGE = Path(__file__).parents[1]

# by title: the module that holds the table, and the table's name
TABLES = {
    "nets": ("nets/__init__.py", "NETS"),
    "heads": ("heads/__init__.py", "HEADS"),
    "scans": ("scan.py", "SCANS"),
    "quantizers": ("quantizers/__init__.py", "QUANTIZERS"),
    "data sets": ("data/__init__.py", "DATASETS"),
}


def list_names(options: Namespace) -> int:
    """Prints the packaged models, and the names that configs may use."""
    print("models, which every command takes by name:")
    for line in list_lines(packaged()):
        print(f"  {line}")
    print("configs, for pixelar fit -c NAME:")
    for name, file in configs().items():
        if "/" not in name:  # those of models are called by the models' names
            print(f"  {name:34s}{_first_comment(file)}".rstrip())
    for title in TABLES:
        print(f"{title}:")
        for name, summary in summaries(title):
            print(f"  {name:24s}{summary}".rstrip())
    return 0


def _first_comment(file: Path) -> str:
    """Returns the first comment of a config, up to the end of its first sentence or clause."""
    lines = itertools.takewhile(
        lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines()
    )
    return re.split("[.:;,(]", " ".join(line.strip("# ") for line in lines))[0].strip()


def names(title: str) -> dict[str, str]:
    """Returns the names in a table, each with that of the class or function it stands for."""
    file, variable = TABLES[title]
    return _entries(_read(PACKAGE / file), variable)


def summaries(title: str) -> Iterator[tuple[str, str]]:
    """Yields the names in a table, each with the first line of its docstring."""
    file, variable = TABLES[title]
    source = _read(PACKAGE / file)
    for name, defined in _entries(source, variable).items():
        home = re.search(rf"^from (\S+) import [^\n]*\b{defined}\b", source, re.MULTILINE)
        path = PACKAGE.parent.joinpath(*home[1].split(".")).with_suffix(".py") if home else None
        yield name, _summary(_read(path) if path else source, defined)


@functools.cache
def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _entries(source: str, variable: str) -> dict[str, str]:
    """Returns the keys of a dictionary that a module writes out, and the names of its values."""
    found = re.search(rf"^{variable}: [^\n]*= {{\n(.*?)^}}", source, re.MULTILINE | re.DOTALL)
    assert found, f"no table {variable}"
    return dict(re.findall(r'"(\w+)": (\w+),', found[1]))


def _summary(source: str, name: str) -> str:
    """Returns the first line of the docstring of a class or function of a module."""
    start = rf'^(?:class|def) {name}\b[^"]*?:\n +"""([^\n]*?)(?:"""|\n)'
    found = re.search(start, source, re.MULTILINE)
    return found[1] if found else ""
