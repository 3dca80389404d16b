"""Runs that end early or go on with other batches: what is trained, kept and said."""

import re
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from safetensors.torch import load_file
from test_training import callback as callback_of
from test_training import config, here  # noqa: F401

from pixelar.cli import main
from pixelar.data import Digits
from pixelar.io.checkpoints import newest_checkpoint, read_checkpoint
from pixelar.training.curves import read_curve
from pixelar.training.samplers import Origin, StepSampler

pytestmark = pytest.mark.faults

QUIET = {"trainer__enable_progress_bar": False, "trainer__val_check_interval": 100}


class Seen(L.Callback):
    """Writes the images of each batch, by their index in the data, and the step they are in."""

    def __init__(self) -> None:
        images = Digits().split("train").images
        self.places = {image.numpy().tobytes(): i for i, image in enumerate(images)}

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        outputs: object,
        batch: tuple[torch.Tensor, torch.Tensor],
        batch_idx: int,
    ) -> None:
        step = trainer.global_step
        with open("seen.txt", "a") as file:
            for image in batch[0]:
                file.write(f"{self.places[image.numpy().tobytes()]} {step}\n")


class Stops(L.Callback):
    """Ends a run after step 5, in one of several ways."""

    def __init__(self, by: str) -> None:
        self.by = by

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:  # noqa: ANN401
        if trainer.global_step == 5:
            if self.by == "should_stop":
                trainer.should_stop = True
            if self.by == "error":
                raise ZeroDivisionError("a mistake of one's own")
            if self.by == "memory":
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    def on_before_zero_grad(self, trainer: L.Trainer, *_: Any) -> None:  # noqa: ANN401
        if trainer.global_step == 5 and self.by == "inside":
            raise ZeroDivisionError("a mistake between two steps")

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:  # noqa: ANN401
        if self.by == "validation":
            raise ZeroDivisionError("a mistake while validating")


def callback(name: str, **args: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return [{**callback_of(name, **args)[0], "class_path": f"{__name__}.{name}"}]


def fit(run: str, *options: str, **changes: Any) -> int:  # noqa: ANN401
    return main(["fit", "-c", config(**{**QUIET, **changes}), "--run", run, *options])


def newest(run: str) -> dict[str, Any]:
    path, complaints = newest_checkpoint(Path(run) / "checkpoints")
    assert path and not complaints
    return read_checkpoint(path)


def assert_same_state(left: str, right: str) -> None:
    """Compares the raw and averaged weights and the optimizer's moments of two runs' ends."""
    ends = [newest(run) for run in (left, right)]
    assert ends[0]["global_step"] == ends[1]["global_step"]
    for key in ("state_dict", "current_model_state"):
        for name, value in ends[0][key].items():
            assert torch.equal(value, ends[1][key][name]), f"{key} {name}"
    for i, moments in ends[0]["optimizer_states"][0]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, ends[1]["optimizer_states"][0]["state"][i][name]), name


def seen() -> list[tuple[int, int]]:
    """Returns image and step of all that was trained on since the last call."""
    lines = Path("seen.txt").read_text().split("\n")[:-1]
    Path("seen.txt").unlink()
    return [(int(image), int(step)) for image, step in map(str.split, lines)]


def places(**options: Any) -> list[int]:  # noqa: ANN401
    batches = StepSampler(**{"n": 1337, "batch_size": 8, "seed": 0, **options})
    return list(chain.from_iterable(batches))


@pytest.mark.full
@pytest.mark.parametrize(("before", "after"), [(4, 1), (2, 3)])
def test_another_accumulation_goes_on_with_the_next_images(before: int, after: int) -> None:
    """All steps are complete, the last is reached, and no image is left out or read twice."""
    option, changes = "--trainer.accumulate_grad_batches", {"trainer__callbacks": callback("Seen")}
    assert fit("run", option, str(before), "--trainer.max_steps", "5", **changes) == 0
    assert fit("run", option, str(after), "--resume", **changes) == 0  # of 8 steps
    batches = 5 * before + 3 * after
    trained = seen()
    assert [image for image, _ in trained] == places(total=batches)
    per_step = [len([1 for i in range(len(trained)) if trained[i][1] == s]) for s in range(9)]
    assert sum(per_step) == 8 * batches and newest("run")["global_step"] == 8
    # a batch that ends no step has the number of the step before
    ends = [trained[8 * k][1] for k in range(batches)]
    expected = [(k + 1) // before for k in range(5 * before)]
    expected += [5 + (k + 1) // after for k in range(3 * after)]
    assert ends == expected
    assert read_curve(Path("run"), "train/bits_per_dim")[0] == list(range(1, 9))


def test_after_another_accumulation_runs_resume_bit_for_bit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = ("--trainer.accumulate_grad_batches", "1", "--trainer.max_steps", "4")
    then = ("--trainer.accumulate_grad_batches", "3", "--resume")
    for run in ("whole", "halves"):
        assert fit(run, *first) == 0
    assert fit("whole", *then) == 0
    stop = {"trainer__callbacks": callback("Stops", by="should_stop")}
    assert fit("halves", *then, **stop) == 0 and newest("halves")["global_step"] == 5
    assert "Stopped at step 5 of 8 (a callback)" in capsys.readouterr().out
    assert fit("halves", *then) == 0
    assert_same_state("whole", "halves")


def test_another_batch_size_goes_on_with_the_next_image() -> None:
    changes = {"trainer__callbacks": callback("Seen")}
    assert fit("run", "--trainer.max_steps", "5", **changes) == 0
    options = ("--resume", "--data.batch_size", "12", "--trainer.max_steps", "9")
    assert fit("run", *options, **changes) == 0
    order = places(batch_size=1337, total=1)
    assert [image for image, _ in seen()] == order[: 5 * 8 + 4 * 12]
    # and so it does from there on
    options = ("--resume", "--data.batch_size", "12", "--trainer.max_steps", "10")
    assert fit("run", *options, **changes) == 0
    assert [image for image, _ in seen()] == order[88:100]


def test_batches_of_any_sizes_take_the_images_of_an_epoch_in_turn() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        n, *sizes = torch.randint(1, 12, (4,), generator=generator).tolist()
        origin, k, n = Origin(), 0, n + 11
        for size in sizes:
            stop = k + int(torch.randint(0, 9, (), generator=generator))
            batches = list(StepSampler(n, size, stop, 0, start=k, origin=origin))
            for number, batch in enumerate(batches, start=k):
                one = StepSampler(n, size, number + 1, 0, start=number, origin=origin)
                assert list(one) == [batch]
                before, after = (origin.at(i, n, size) for i in (number, number + 1))
                if after.epoch == before.epoch:
                    assert after.image == before.image + size
                else:  # only once no batch is left
                    assert after[1:] == (before.epoch + 1, size) and n - before.image < size
                order = one.permutation(after.epoch)[after.image - size : after.image]
                assert batch == order.tolist()
            origin, k = origin.at(stop, n, size), stop


def test_two_processes_take_the_batches_of_one_of_twice_the_size() -> None:
    origin = Origin(batch=3, epoch=1, image=5)
    whole = list(StepSampler(23, 6, 17, 0, start=4, origin=origin))
    parts = [
        list(StepSampler(23, 3, 17, 0, rank=r, world=2, start=4, origin=origin)) for r in (0, 1)
    ]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole


def test_other_images_begin_a_new_pass(capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"trainer__callbacks": callback("Seen"), "trainer__max_steps": 3}
    assert fit("run", **changes) == 0
    assert len(seen()) == 24
    assert fit("run", "--resume", "--data.seed", "5", "--trainer.max_steps", "4", **changes) == 0
    assert "(1337 with data.seed 0 then, 1337 with data.seed 5 now): a new pass" in (
        capsys.readouterr().err
    )
    order = StepSampler(1337, 8, 1, 5).permutation(1)[:8].tolist()
    assert [image for image, _ in seen()] == order


def test_fewer_steps_than_were_done_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("run", "--trainer.max_steps", "3") == 0
    assert fit("run", "--trainer.max_steps", "2", "--resume") == 2
    assert "the run is at step 3 already, beyond trainer.max_steps of 2" in capsys.readouterr().err


ENDINGS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "a share": (("--trainer.limit_train_batches", "0.5"), 4, "limit_train_batches"),
    "epochs": (
        ("--trainer.limit_train_batches", "2", "--trainer.max_epochs", "3"),
        6,
        "limit_train_batches",
    ),
    "whole steps": (
        ("--trainer.limit_train_batches", "5", "--trainer.accumulate_grad_batches", "2"),
        2,
        "limit_train_batches",
    ),
    "overfit": (
        ("--trainer.overfit_batches", "2", "--trainer.max_epochs", "2"),
        4,
        "overfit_batches",
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_limit_keeps_its_last_step_and_says_how_to_go_on(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options, step, reason = ENDINGS[name]
    assert fit("run", *options, trainer__callbacks=callback("Seen")) == 0
    said = capsys.readouterr().out
    assert f"Stopped at step {step} of 8 ({reason}). To go on:" in said and "Trained" not in said
    assert newest("run")["global_step"] == step and Path("run/model/config.json").exists()
    if name == "overfit":
        trained = [image for image, _ in seen()]
        assert trained == 2 * places(total=2)
    if name == "epochs":  # the same again has nothing to do, and says the same
        assert fit("run", "--resume", *options) == 0
        assert f"Stopped at step {step} of 8 ({reason})" in capsys.readouterr().out
    command = re.search(r"pixelar (fit -c run/config.yaml .*--resume.*)", said)
    assert command and main(command[1].split()) == 0
    assert "Trained. The model is in" in capsys.readouterr().out
    assert newest("run")["global_step"] == 8


def test_a_limit_that_is_lifted_changes_nothing() -> None:
    assert fit("whole") == 0
    assert fit("parts", "--trainer.limit_train_batches", "3") == 0
    assert fit("parts", "--resume") == 0
    assert_same_state("whole", "parts")
    left, right = (load_file(f"{run}/model/model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(left[key], right[key]) for key in left)


def test_time_ends_a_run_that_goes_on_with_more(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--trainer.max_time", "00:00:00:01")
    assert fit("run", *options, trainer__max_steps=2_000) == 0
    said = capsys.readouterr().out
    step = newest("run")["global_step"]
    assert 0 < step < 2_000 and f"Stopped at step {step:,} of 2,000 (max_time)" in said
    assert fit("run", *options, "--resume", trainer__max_steps=2_000) == 0
    assert f"Stopped at step {step:,} of 2,000 (max_time)" in capsys.readouterr().out
    more = ("--trainer.max_time", "null", "--resume", "--trainer.max_steps", str(step + 2))
    assert fit("run", *more) == 0
    assert newest("run")["global_step"] == step + 2 and "Trained." in capsys.readouterr().out


STEPS_OF_TWO: dict[str, Any] = {
    "trainer__accumulate_grad_batches": 2,
    "trainer__val_check_interval": 11,  # between the batches of a step
}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run in steps of two batches that nothing ends early."""
    folder = tmp_path_factory.mktemp("of_two")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert fit("whole", **STEPS_OF_TWO) == 0
    return str(folder / "whole")


@pytest.mark.parametrize("by", ["error", "inside", "validation"])
def test_a_run_that_a_mistake_ends_goes_on_as_if_it_had_not(by: str, of_two: str) -> None:
    """The last whole step is kept, and its average with it."""
    with pytest.raises(ZeroDivisionError) as error:
        fit("run", **STEPS_OF_TWO, trainer__callbacks=callback("Stops", by=by))
    (note,) = error.value.__notes__
    assert note.startswith("The newest checkpoint is of step 5. To go on:\n  pixelar fit -c")
    assert newest("run")["global_step"] == 5
    assert fit("run", "--resume", **STEPS_OF_TWO) == 0
    assert_same_state(of_two, "run")


def test_too_little_memory_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("run", trainer__callbacks=callback("Stops", by="memory")) == 2
    error = capsys.readouterr().err
    assert "not enough memory for a training step; use a smaller data.batch_size" in error
    assert "The newest checkpoint is of step 5. To go on:" in error and "Traceback" not in error


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "trial": (("--trainer.fast_dev_run", "1"), "for a quick trial use --trainer.max_steps 1"),
    "half": (("--trainer.precision", "16-true"), "16-true cannot train"),
    "epochs": (("--trainer.max_epochs", "3"), "max_epochs is 3, but training is one long epoch"),
    "no batch": (
        ("--trainer.limit_train_batches", "1", "--trainer.accumulate_grad_batches", "2"),
        "there is nothing to train",
    ),
    "schedule": (
        (
            "--trainer.callbacks",
            "lightning.pytorch.callbacks.GradientAccumulationScheduler",
            "--trainer.callbacks.scheduling",
            "{0: 2}",
        ),
        "use trainer.accumulate_grad_batches",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_training_cannot_follow_is_refused(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options, sentence = REFUSED[name]
    assert fit("run", *options) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
    assert not Path("run/checkpoints").exists()
