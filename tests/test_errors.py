"""Errors are of the kind that a program can act on."""

import errno
from pathlib import Path

import pytest
import torch
import zoo

import pixelar
from pixelar import ConfigError, DataError, PixelarError, StorageError
from pixelar.common.files import replacing


def test_kinds() -> None:
    assert all(issubclass(kind, PixelarError) for kind in (ConfigError, DataError, StorageError))
    assert not issubclass(PixelarError, ValueError | OSError)
    assert issubclass(DataError, ValueError) and not issubclass(StorageError, ValueError)
    assert issubclass(StorageError, OSError) and not issubclass(ConfigError, ValueError | OSError)


def test_each_mistake_has_its_kind(tmp_path: Path) -> None:
    model = zoo.tiny("ImageGPT")
    images = torch.zeros(1, 1, 5, 7, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="temperature must be"):
        pixelar.sample(model, 1, temperature=-1)
    with pytest.raises(ConfigError, match="scan: unknown"):
        zoo.tiny("ImageGPT", scan="spiral")
    with pytest.raises(DataError, match="the model takes images of shape"):
        pixelar.bits_per_dim(model, images)
    with pytest.raises(DataError, match="labels given"):
        pixelar.sample(model, 1, torch.tensor([0]))
    with pytest.raises(StorageError):
        pixelar.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        pixelar.save(model, tmp_path / "file" / "model")


@pytest.mark.parametrize(
    "error", [RuntimeError("of a net"), FileNotFoundError(errno.ENOENT, "No such file", "a.png")]
)
def test_other_errors_while_a_file_is_written_stay_what_they_are(
    error: Exception, tmp_path: Path
) -> None:
    with pytest.raises(type(error)) as raised, replacing(tmp_path / "a"):
        raise error
    assert raised.value is error and not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
    ],
)
def test_what_hinders_writing_is_named(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*a: .*Files written before are intact"):
        with replacing(tmp_path / "a"):
            raise error
    assert not [*tmp_path.iterdir()]
