"""Where commands compute: the best device, the requested one, or the CPU with a reason."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import zoo
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from pixelar.caches import new_cache
from pixelar.cli import device, main
from pixelar.cli.device import choose_device, place
from pixelar.cli.draw import completions
from pixelar.errors import PixelarError
from pixelar.model import PixelModel
from pixelar.nets import NETS

faults = pytest.mark.faults

# what a stand-in without values cannot follow: caches whose layout depends on values
READ_VALUES = {"PixelSNAIL", "LMConv"}


@faults
@pytest.mark.parametrize(
    ("found", "wanted", "rank", "chosen"),
    [
        (["cpu"], "auto", "", "cpu"),
        (["cuda:0", "cpu"], "auto", "", "cuda:0"),
        (["cuda:0", "cuda:1", "cpu"], "auto", "1", "cuda:1"),
        (["cuda:0", "cuda:1", "cpu"], "cuda", "1", "cuda:1"),
        (["cuda:0", "cpu"], "auto", "3", "cuda:0"),
        (["mps", "cpu"], "auto", "", "mps"),
        (["cuda:0", "mps", "cpu"], "auto", "", "cuda:0"),
        (["cuda:0", "cuda:1", "cpu"], "cuda:1", "", "cuda:1"),
        (["cuda:0", "cpu"], "cpu", "", "cpu"),
        (["cpu"], "cuda", "", None),
        (["cuda:0", "cpu"], "cuda:1", "", None),
        (["cuda:0", "cpu"], "mps", "", None),
    ],
)
def test_the_best_device_or_the_one_asked_for_is_chosen(
    found: list[str],
    wanted: str,
    rank: str,
    chosen: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "available", lambda: found)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank:
        monkeypatch.setenv("LOCAL_RANK", rank)
    if chosen is not None:
        assert choose_device(wanted) == torch.device(chosen)
    else:
        with pytest.raises(PixelarError, match=rf"--device {wanted}: this computer has {found[0]}"):
            choose_device(wanted)


@faults
def test_a_device_that_lacks_an_operation_is_given_up_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`meta` stands in for it: it holds no values, so that reading one is a missing operation."""
    monkeypatch.setattr(device, "available", lambda: ["meta", "cpu"])
    model = zoo.tiny("PixelCNN").float()
    before = copy.deepcopy(model.state_dict())
    moved, said = place(model, "auto")
    assert said.startswith("device: cpu, since meta cannot run this model (")
    assert moved is model and all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
    with pytest.raises(PixelarError, match=r"--device meta cannot run this model .*--device cpu"):
        place(model, "meta")


@faults
@pytest.mark.parametrize(
    "command",
    [
        "sample digits-imagegpt -n 2 --seed 0",
        "complete digits-imagegpt {digit} --keep dots -n 1 --particles 4 --seed 0",
        "evaluate digits-imagegpt --limit 2",
    ],
)
def test_commands_say_where_they_compute(
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    digit = Path(__file__).parents[1] / "docs/images/digit.png"
    words = command.format(digit=digit).split()
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    assert main([*words, "--device", "cpu"]) == 0
    plain = capsys.readouterr()
    assert "pixelar: device: cpu\n" in plain.err
    monkeypatch.setattr(device, "available", lambda: ["meta", "cpu"])
    assert main(words) == 0
    fallen = capsys.readouterr()
    assert "pixelar: device: cpu, since meta cannot run" in fallen.err
    assert fallen.out == plain.out


@faults
@pytest.mark.parametrize("wanted", ["gpu", "cuda:", "cuda:x", "", "meta"])
def test_names_that_are_no_device_are_refused(
    wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", "digits-imagegpt", "--device", wanted]) == 2
    assert "--device: must be auto, cpu, cuda, cuda:N or mps; got" in capsys.readouterr().err


def pretended(model: PixelModel, mode: FakeTensorMode) -> Callable[[Tensor], Tensor]:
    """Makes a model pretend to be on a GPU, and returns what does so with a tensor.

    A tensor without values can say that it is anywhere, and mixing it with one from elsewhere is an
    error, as it is on a GPU.
    """

    def pretend(tensor: Tensor) -> Tensor:
        fake = mode.from_tensor(tensor.detach())
        with mode:
            return fake.to("cuda")

    for module in model.modules():
        for name, parameter in [*module.named_parameters(recurse=False)]:
            setattr(module, name, torch.nn.Parameter(pretend(parameter), requires_grad=False))
        for name, buffer in [*module.named_buffers(recurse=False)]:
            setattr(module, name, pretend(buffer))
    return pretend


@pytest.mark.parametrize("net", zoo.quick(NETS, "GatedPixelCNN", "RowLSTM", "ImageGPT"))
def test_nets_make_all_their_tensors_on_their_device(net: str) -> None:
    model, mode = zoo.tiny(net, shape=(1, 8, 8), classes=2).float(), FakeTensorMode()
    pretend = pretended(model, mode)
    x, labels = (pretend(torch.zeros(shape, dtype=torch.long)) for shape in ((3, 1, 8, 8), (3,)))
    rows = pretend(torch.zeros(2, dtype=torch.long))
    found: list[Tensor] = []
    with mode, torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        found.append(model.net(x, labels))
        found.append(model.head.log_prob(found[0], model.scan.gather(x)))
        if net not in READ_VALUES:
            cache = new_cache(model.net, x, labels)
            cache.prefill(x, 20)
            found += [cache.step(x, t) for t in range(20, 24)]
            cache.select(rows)
            found.append(cache.step(x[:2], 24))
            found.append(model.head.log_pmf(found[-1], x[:2].flatten(1)[:, :0]))
    assert {tensor.device.type for tensor in found} == {"cuda"}


@faults
def test_pictures_are_made_on_the_cpu() -> None:
    model, mode = zoo.tiny("PixelCNN", shape=(1, 8, 8), levels=256).float(), FakeTensorMode()
    pretended(model, mode)
    images, known, drawn = (
        mode.from_tensor(torch.zeros(shape, dtype=dtype))
        for shape, dtype in (
            ((2, 1, 8, 8), torch.uint8),
            ((1, 8, 8), torch.bool),
            ((6, 1, 8, 8), torch.uint8),
        )
    )
    with mode:
        assert completions(model, images, known, drawn).device.type == "cpu"
