"""Which images a run reads, and when: pure functions of a seed."""

from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from fixtures import numbered, write_files
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from pixelar.data import Digits
from pixelar.errors import PixelarError
from pixelar.rng import mix
from pixelar.training.data_module import PixelData
from pixelar.training.samplers import ShardSampler, StepSampler


def test_mix() -> None:
    seeds = {mix(a, b) for a in range(30) for b in range(30)} | {mix(a) for a in range(30)}
    assert len(seeds) == 930 and all(0 <= seed < 2**63 for seed in seeds)
    assert mix(0, 1) == 1506311409109703068


def flat(parts: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(parts))


def steps(start: int = 0, **options: int) -> list[list[int]]:
    arguments: dict[str, Any] = {"n": 23, "batch_size": 4, "total": 17, "seed": 0, **options}
    return list(StepSampler(**arguments, start=start))


def test_batches_are_a_function_of_seed_and_number() -> None:
    run = steps()
    assert len(run) == 17 and steps() == run and steps(seed=1) != run
    assert steps(total=40)[:17] == run
    for start in range(18):
        assert steps(start) == run[start:]


def test_epochs_repeat_no_image_and_differ() -> None:
    run = steps()  # 5 batches an epoch
    epochs = [flat(run[i : i + 5]) for i in range(0, 15, 5)]
    for epoch in epochs:
        assert len(set(epoch)) == 20 and all(0 <= i < 23 for i in epoch)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_ranks_share_the_batches_of_one_process() -> None:
    whole = steps(batch_size=6, total=9)
    parts = [steps(batch_size=2, total=9, rank=rank, world=3) for rank in range(3)]
    assert [flat(batch) for batch in zip(*parts, strict=True)] == whole


def test_too_few_images_for_a_batch() -> None:
    with pytest.raises(
        PixelarError,
        match=r"8 images on each of 3 processes, .* only 23 .* batch_size of at most 7",
    ):
        steps(batch_size=8, world=3)


@pytest.mark.parametrize(("n", "world"), [(10, 1), (10, 3), (2, 4)])
def test_shards_are_everything_once(n: int, world: int) -> None:
    shards = [list(ShardSampler(n, rank, world)) for rank in range(world)]
    assert sorted(flat(shards)) == list(range(n))
    assert [len(ShardSampler(n, rank, world)) for rank in range(world)] == list(map(len, shards))


# --- the data module --------------------------------------------------------------------------


class Recorder(L.LightningModule):
    """Keeps the sums of the images it is trained on, and fails at batch `fail_at`."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.fail_at, self.seen = fail_at, dict[int, list[int]]()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        if batch_idx == self.fail_at:
            raise KeyboardInterrupt
        self.seen[batch_idx] = batch[0].flatten(1).sum(1).tolist()
        return self.weight * 1.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def trainer(**options: bool | int | list[L.Callback]) -> L.Trainer:
    defaults: dict[str, Any]
    defaults = {"max_steps": 12, "accumulate_grad_batches": 2, "enable_checkpointing": False}
    return L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        use_distributed_sampler=False,
        check_val_every_n_epoch=None,
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **(defaults | options),
    )


def small() -> PixelData:
    return PixelData(Digits(test_images=1700, val_images=50), batch_size=10)  # 4 batches an epoch


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("saving", "fail_at"),
    [({"every_n_train_steps": 5}, 12), ({"every_n_epochs": 9, "save_on_exception": True}, 10)],
    ids=["after a step", "as a batch fails"],
)
def test_resumed_training_goes_on_with_the_next_batch(
    saving: dict[str, Any], fail_at: int, tmp_path: Path
) -> None:
    whole, first, second = Recorder(), Recorder(fail_at), Recorder()
    trainer().fit(whole, small())
    assert sorted(whole.seen) == list(range(24))
    callback = ModelCheckpoint(tmp_path, **saving)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(enable_checkpointing=True, callbacks=[callback]).fit(first, small())
    (checkpoint,) = tmp_path.glob("*.ckpt")
    trainer().fit(second, small(), ckpt_path=str(checkpoint))
    assert first.seen == {k: whole.seen[k] for k in range(fail_at)}
    assert second.seen == {k: whole.seen[k] for k in range(10, 24)}


@pytest.mark.filterwarnings("ignore")
def test_repeated_resumes_go_on_with_the_next_batch(tmp_path: Path) -> None:
    options: dict[str, Any] = {"accumulate_grad_batches": 1, "enable_checkpointing": True}
    whole, seen, newest = Recorder(), list[list[int]](), None
    trainer(accumulate_grad_batches=1).fit(whole, small())
    for fail_at in (3, 6, 9, None):  # first saved as batch 3 fails, then after a step
        saving = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_on_exception=True)
        run = Recorder(fail_at)
        with suppress(KeyboardInterrupt, SystemExit):
            trainer(callbacks=[saving], **options).fit(run, small(), ckpt_path=newest)
        newest = str(max(tmp_path.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns))
        seen += run.seen.values()
    assert seen == list(whole.seen.values())


@pytest.mark.filterwarnings("ignore")
def test_training_is_counted_in_steps() -> None:
    with pytest.raises(PixelarError, match="give the trainer max_steps of at least 1"):
        trainer(max_steps=-1).fit(Recorder(), small())


def test_evaluation_loaders_need_no_trainer() -> None:
    data = PixelData(Digits(), batch_size=7, eval_batch_size=64)
    assert data.shape == (1, 8, 8) and data.classes == tuple("0123456789")
    for loader, split in ((data.val_dataloader(), "val"), (data.test_dataloader(), "test")):
        batches = list(loader)
        assert {len(images) for images, _ in batches[:-1]} == {64}
        images = torch.cat([images for images, _ in batches])
        assert torch.equal(images, data.dataset.split(split).images)  # type: ignore[arg-type]


def test_loaders_take_the_share_of_their_process() -> None:
    parts = []
    for rank in range(2):
        data = small()
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            global_rank=rank,
            world_size=2,
            max_steps=3,
            accumulate_grad_batches=2,
            lightning_module=None,
        )
        expected = StepSampler(47, 10, total=6, seed=0, rank=rank, world=2)
        own, validated = (
            loader.batch_sampler for loader in (data.train_dataloader(), data.val_dataloader())
        )
        assert own is not None and list(own) == list(expected)
        assert validated is not None
        parts.append(flat(validated))
    assert parts == [list(range(0, 50, 2)), list(range(1, 50, 2))]


def test_batch_sizes_are_checked() -> None:
    with pytest.raises(PixelarError, match=r"data\.eval_batch_size must be at least 1; got 0"):
        PixelData(Digits(), batch_size=4, eval_batch_size=0)


def test_configs_build_datasets(tmp_path: Path) -> None:
    write_files(tmp_path, *numbered("", 20))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(PixelData, "data")
    for name, arguments in (
        ("Digits", {"test_images": 300}),
        ("Folder", {"root": str(tmp_path), "size": 4, "background": [1, 2, 3]}),
    ):
        dataset = {"class_path": name, "init_args": arguments}
        config = parser.parse_object({"data": {"dataset": dataset, "batch_size": 5}})
        data = parser.instantiate(config).data
        assert isinstance(data, PixelData) and type(data.dataset).__name__ == name
        assert len(next(iter(data.val_dataloader()))[0]) <= 5
