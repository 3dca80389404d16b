"""A new net is a file, a line in NETS, a preset and a config: all tests and scripts find it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MINE = '''
"""A net that is added while the tests run, and registers itself as `-p mine` is read."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.layers.embedding import LabelEmbedding, TokenEmbedding
from pixelar.nets import NETS, Net
from pixelar.nets.base import require_positive
from pixelar.nets.presets import PRESETS, Preset


class Mine(Net):
    """Every site sees the mean of those before it."""

    embed: TokenEmbedding

    def __init__(
        self, scan, levels, out_features, *, width=16, depth=1, dropout=0.0, classes=0
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_positive(self, width=width, depth=depth)
        self.width, self.depth, self.dropout = width, depth, dropout
        self.embed = TokenEmbedding(scan, levels, width)
        self.label = LabelEmbedding(classes, width)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Sequential(nn.Tanh(), nn.Linear(width, out_features))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        before = F.pad(self.embed(x)[:, :-1], (0, 0, 1, 0)).cumsum(1)  # (B, T, D)
        return self.out(self.drop(before) + self.label(labels)[:, None])


NETS["Mine"] = Mine
PRESETS["Mine"] = Preset(
    tiny={"width": 4}, small={"width": 8}, compared=lambda _: {"depth": 1}
)
'''

# tests that go through all nets
GENERIC = {
    "test_device.py",
    "test_graphs.py",
    "test_likelihood.py",
    "test_model.py",
    "test_nets.py",
    "test_options.py",
    "test_particles.py",
    "test_precisions.py",
    "test_sampling.py",
    "test_throughput.py",
    "test_training_memory.py",
    "test_walks.py",
}


def run(tmp_path: Path, *command: str) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    path = os.pathsep.join(
        (str(tmp_path), str(ROOT / "tests"), str(ROOT / "benchmarks"), *sys.path)
    )
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.full
def test_all_tests_over_nets_find_it(tmp_path: Path) -> None:
    tests = "-m pytest -p mine -p no:cacheprovider -q --full -k Mine"
    files = [f"tests/{name}" for name in sorted(GENERIC)]
    listed = run(tmp_path, *tests.split(), "--collect-only", *files)
    found = {Path(line.split("::")[0]).name for line in listed.splitlines() if "Mine" in line}
    assert found == GENERIC
    run(tmp_path, *tests.split(), "-n", "0", "tests/test_nets.py")


@pytest.mark.parametrize(
    "lines",
    [
        "from pixelar.testing import assert_net, tiny_model; assert_net(tiny_model('Mine'))",
        "from comparison.families import build; build('Mine', (1, 8, 8), 17, 2000, 0)",
        "import torch; from suites.measure import Settings;"
        "from suites.models import build; cpu = torch.device('cpu');"
        "[build(Settings(cpu, 1, tiny, ('Mine',)), 'Mine', 6) for tiny in (True, False)]",
    ],
)
def test_scripts_and_checks_find_it(lines: str, tmp_path: Path) -> None:
    run(tmp_path, "-c", f"import mine; {lines}")
