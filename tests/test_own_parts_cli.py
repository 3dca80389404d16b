"""Parts of the user's own through every command: trained, saved, trusted, or refused at once."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import pixelar
from pixelar.cli import main
from pixelar.data import Digits

pytestmark = pytest.mark.faults

MINE = '''
import torch

from pixelar.data import Digits
from pixelar.nets import ImageGPT


class Mine(ImageGPT):
    """A net that passes on what it is given."""

    def __init__(self, *positional, **named):
        super().__init__(*positional, **named)


class Shaped(ImageGPT):
    """A net with an argument that no file can hold."""

    def __init__(self, scan, levels, out_features, *, width: int = 8, act=torch.tanh):
        super().__init__(scan, levels, out_features, width=width, depth=1, heads=2)


class Few(Digits):
    """A data set with an argument of its own."""

    def __init__(self, *, few: int = 1, **named):
        super().__init__(**named)


class Nameless(Digits):
    """A data set that does not say how its images came about."""

    preprocessing = property()


NUMBER = 3
'''

CONFIG = """
model:
  net: {class_path: NET, init_args: {width: 8 ARGS}}
  head: {class_path: Categorical}
  quantizer: {class_path: Identity, init_args: {levels: 17}}
data:
  dataset: {class_path: DATA}
  batch_size: 8
trainer: {max_steps: 1, enable_progress_bar: false, val_check_interval: 10}
samples: 0
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a module, where the commands run, as a user's would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    (tmp_path / "mine_parts.py").write_text(MINE)
    yield tmp_path
    sys.modules.pop("mine_parts", None)


def fit(
    net: str = "mine_parts.Mine", args: str = ", depth: 1, heads: 2", data: str = "Digits"
) -> int:
    text = CONFIG.replace("NET", net).replace("ARGS", args).replace("DATA", data)
    Path("a.yaml").write_text(text)
    return main(["fit", "-c", "a.yaml", "--run", "run"])


def test_a_net_of_ones_own_goes_through_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(data="mine_parts.Few") == 0
    printed = capsys.readouterr().out
    assert "evaluate run/model --trust mine_parts.Mine --trust mine_parts.Few" in printed
    assert main("evaluate run/model --trust mine_parts.Mine".split()) == 2
    assert "the run's data is mine_parts.Few, which is not part of" in capsys.readouterr().err
    assert main(printed.split("pixelar ")[-1].split()) == 0  # the command that was printed
    trust = ["--trust", "mine_parts.Mine"]
    commands = (
        "evaluate run/model -d digits --limit 4",
        "sample run/model -n 1",
        "complete run/model 0.png --keep top -n 1",
        "export run/checkpoints/step-00000001.ckpt -o out",
    )
    images = Digits().split("test").images
    torch_to_png(images[0], Path("0.png"))
    for command in commands:
        assert main(command.split()) == 2
        assert "net Mine is not part of pixelar" in capsys.readouterr().err
        assert main([*command.split(), *trust]) == 0, capsys.readouterr().err
    assert main(["info", "run/model", *trust]) == 0
    again = "fit -c run/config.yaml --run run --resume --trainer.max_steps 2"
    assert main(again.split()) == 0
    model = pixelar.load("run/model", trust={"Mine": sys.modules["mine_parts"].Mine})
    assert model.net.arguments()["heads"] == 2
    assert pixelar.bits_per_dim(model, images[:2]).isfinite().all()


@pytest.mark.parametrize(
    ("net", "args", "data", "message"),
    [
        ("mine_parts.Shaped", "", "Digits", "Shaped: act must be a number"),
        ("ImageGPT", ", depth: 1, heads: 2", "mine_parts.Nameless", "must set preprocessing"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_training(
    net: str, args: str, data: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(net, args, data) == 2
    assert message in capsys.readouterr().err
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("trust", "message"),
    [
        ("Mine", "write a class as module.Class"),
        ("mine_parts.Theirs", "module mine_parts has no Theirs"),
        ("no_such_module.Mine", "cannot import no_such_module"),
        ("mine_parts.NUMBER", "NUMBER is not a class"),
        ("../x.Mine", "write a class as module.Class"),
    ],
)
def test_mistakes_in_trust_are_named(
    trust: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", "digits-imagegpt", "--trust", trust]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def torch_to_png(image: torch.Tensor, path: Path) -> None:
    from PIL import Image

    Image.fromarray(image[0].numpy()).save(path)
