"""The layers: which package may import which, from the lowest layer to the highest.

Imports within functions and for type checkers count.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pixelar"

# each layer imports from those below it only; packages of one layer do not import each other
FLOORS = (
    ("errors", "_version"),
    ("common", "names", "kernels"),
    ("rng", "scan", "quantizers", "heads", "plotting"),
    ("layers", "data"),
    ("nets",),
    ("caches",),
    ("model",),
    ("memory", "io"),
    ("sampling",),
    ("scoring",),
    ("testing", "training"),
    ("hub",),
    ("demo",),
    ("cli",),
    ("__init__", "__main__"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# packages and modules of the demo, from the lowest layer to the highest
DEMO = ("assets", "render", "inputs", "tasks", "server", "widgets", "theme", "tabs", "app")
MOST_ROOMS = 28
MOST_LINES = 300


def modules() -> dict[str, Path]:
    """Returns the modules of the package by name."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports(file: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yields the modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known or node.module in known:
                    yield inner if inner in known else str(node.module)


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(module) for module in modules()}
    assert rooms == set(FLOOR)
    assert len(rooms) <= MOST_ROOMS


@pytest.mark.parametrize("room", FLOOR)
def test_no_import_runs_upwards(room: str) -> None:
    known = modules()
    for module, file in known.items():
        for other in imports(file, known) if room_of(module) == room else ():
            higher = FLOOR[room_of(other)] >= FLOOR[room]
            assert room_of(other) == room or not higher, f"{module} imports {other}"


def test_no_modules_import_each_other() -> None:
    """Within a package as well: an imported module is complete by then."""
    known = modules()
    left = {module: set(imports(file, known)) - {module} for module, file in known.items()}
    while left:
        done = {module for module, needed in left.items() if not needed & left.keys()}
        assert done, f"a circle of imports among {sorted(left)}"
        left = {module: needed for module, needed in left.items() if module not in done}


def test_files_can_be_read_at_a_sitting() -> None:
    long = {
        module: count
        for module, file in modules().items()
        if (count := len(file.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert not long


def test_nets_are_their_papers() -> None:
    """What makes them fast is elsewhere: no net names a cache, or a method of one."""
    words = ("caches", "def step", "def steps", "def prefill", "def select", "def wave")
    for file in (PACKAGE / "nets").glob("*.py"):
        text = file.read_text(encoding="utf-8").replace("`pixelar.caches`", "")
        text = text.replace("`pixelar.caches.base.Cache`", "")
        assert not [word for word in words if word in text], file.name


def test_data_imports_no_model() -> None:
    known = modules()
    for module, file in known.items():
        if room_of(module) == "data":
            rooms = {room_of(other) for other in imports(file, known)}
            assert rooms <= {"errors", "names", "common", "rng", "data"}, module


def test_no_import_in_the_demo_runs_upwards() -> None:
    """What computes comes before what Gradio shows, and names nothing of it."""
    known = modules()
    for module, file in known.items():
        room = module.split(".")[2] if module.startswith("pixelar.demo.") else ""
        for other in imports(file, known) if room in DEMO else ():
            if other.startswith("pixelar.demo."):
                below = DEMO[: DEMO.index(room) + 1]
                assert other.split(".")[2] in below, f"{module} imports {other}"
        if room in ("render", "inputs", "tasks"):
            assert "gradio" not in file.read_text(encoding="utf-8"), module
