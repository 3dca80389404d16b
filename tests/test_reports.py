"""What is said of images: no log p where there is none, and the unit that is meant."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from fixtures import palette_model

import pixelar
from pixelar.cli import main
from pixelar.cli.draw import complete_by_particles, report_populations
from pixelar.demo.tabs.understand import charts, headline
from pixelar.demo.tasks.complete import complete_picture
from pixelar.demo.tasks.drawing import Task
from pixelar.demo.tasks.understand import read
from pixelar.plotting import surprise_figure
from pixelar.sampling.draw import is_tempered
from pixelar.sampling.posterior import posterior
from pixelar.scoring.analysis import surprise_map, surprise_unit
from pixelar.testing import tiny_model

pytestmark = pytest.mark.faults

PLAIN = {"temperature": 1.0, "top_k": None, "top_p": None}
TEMPERED = [{"temperature": 0.5}, {"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.9}]
KNOWN = torch.tensor([[False, True, True], [False, True, False]])
BLACK = torch.zeros(1, 1, 2, 3, dtype=torch.uint8)


@pytest.mark.parametrize("options", [{}, {"top_p": 1.0}, *TEMPERED], ids=str)
def test_tempered_particles_estimate_no_log_p(options: dict, capsys: pytest.CaptureFixture) -> None:
    tempered = options in TEMPERED
    assert is_tempered(**options) == tempered
    found = posterior(tiny_model(), BLACK, KNOWN, particles=8, seed=0, **options)
    assert found.log_known.isnan().all() == found.log_known_stderr.isnan().all() == tempered
    assert found.log_weights.isfinite().any() and found.draw().shape == (1, 4, 1, 2, 3)
    given = Namespace(schedule="auto", label=None, particles=8, n=4, images=["a.png"], seed=0)
    vars(given).update(PLAIN, **options)
    complete_by_particles(tiny_model(), BLACK, KNOWN[None], given)
    line = capsys.readouterr().out
    assert line.strip() == report_populations(found, ["a.png"])
    assert ("log p" in line) != tempered and "nan" not in line
    assert line.startswith("a.png: ") and "effective sample size" in line


@pytest.mark.parametrize("top_p", [1.0, 0.5])
def test_the_demo_prints_no_log_p_of_tempered_completions(top_p: float) -> None:
    task = Task(tiny_model(), BLACK, KNOWN[None], None, "particles", 8, 1.0, top_p, 0)
    *_, (_, text, _) = complete_picture(task, "name", None)
    assert ("log p(known)" in text) == (top_p == 1)
    assert "effective sample size" in text and "nan" not in text


@pytest.mark.parametrize("command", ["sample", "complete"])
def test_options_are_said_to_act_on_symbols(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "the distribution of each symbol when it is drawn, not that of whole images" in words
    for function in (pixelar.sample, pixelar.complete, posterior):
        assert "symbol by symbol" in " ".join(str(function.__doc__).split())


def test_a_palette_costs_bits_per_token(tmp_path: Path) -> None:
    model = palette_model()
    images = model.quantizer.decode(torch.randint(16, (2, 1, 8, 8)))
    bits = surprise_map(model, images)
    found = read(model, images[:1], "")
    assert found.per_dim == pytest.approx(float(bits[0].mean()), rel=1e-4)
    assert surprise_unit(model) == found.unit == "bits/token"
    page = headline(found, None) + charts(found, ([0.0, 9.0], [1]))
    assert "bits/token" in page and "bits/dim" not in page and "bits per pixel" not in page
    bar = surprise_figure(images, bits, surprise_unit(model)).axes[-1]
    assert bar.get_ylabel() == "bits/token"
    assert surprise_unit(tiny_model()) == "bits per pixel"
