"""Model folders come back as they were, or are refused in a sentence; they never run anything."""

import hashlib
import json
import os
import pickle
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from safetensors.torch import save as save_tensors

import pixelar
from pixelar.errors import PixelarError
from pixelar.io.folders import fingerprint, load_checkpoint
from pixelar.model import PixelModel, build_model, describe_model
from pixelar.nets.presets import PRESETS
from pixelar.testing import randomize

PARTS: list[tuple[str, str, str, str, dict[str, Any], int]] = [
    ("PixelCNN", "Categorical", "subpixel", "BitDepth", {"bits": 2}, 0),
    ("PixelCNN", "Bernoulli", "raster", "StochasticBinarisation", {"seed": 3}, 3),
    ("GatedPixelCNN", "LogisticMixture", "raster", "Identity", {"levels": 256}, 0),
    ("GatedPixelCNN", "Categorical", "raster", "Palette", {"levels": 5}, 2),
    ("PixelCNNPP", "LogisticMixture", "raster", "Identity", {"levels": 256}, 2),
    ("ImageGPT", "Categorical", "hilbert", "Palette", {"levels": 4}, 0),
    ("ImageGPT", "Bernoulli", "snake", "Threshold", {"threshold": 100}, 2),
]

IMAGES = torch.randint(256, (4, 3, 4, 4), generator=torch.Generator().manual_seed(0)).to(
    torch.uint8
)


def model_of(
    net: str, head: str, scan: str, quantizer: str, args: dict[str, Any], classes: int
) -> PixelModel:
    model = build_model(
        {
            "image_shape": [3, 4, 4],
            "scan": scan,
            "quantizer": {"name": quantizer, "args": args},
            "head": {"name": head, "args": zoo.HEAD_ARGS[head]},
            "net": {"name": net, "args": {**PRESETS[net].tiny, "classes": classes}},
        }
    )
    model.quantizer.fit(IMAGES)
    return randomize(model).float().eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder that is as it should be."""
    pixelar.save(zoo.tiny("PixelCNN", shape=(1, 4, 4)).float(), tmp_path / "model")
    return tmp_path / "model"


def refused(folder: Path, message: str) -> None:
    """Asserts that loading fails with one sentence that names a path in it."""
    with pytest.raises(PixelarError, match=message) as caught:
        pixelar.load(folder)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 600
    assert str(folder) in text


def forge(folder: Path, change: Callable[[dict[str, Any]], Any], tensors: bytes = b"") -> None:
    """Changes a folder on purpose: the sums are right, as an attacker would make them."""
    file, weights = folder / "config.json", folder / "model.safetensors"
    config = json.loads(file.read_text())
    change(config["model"])
    weights.write_bytes(tensors or weights.read_bytes())
    config["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    del config["config_sha256"]
    sum_of_rest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    file.write_text(json.dumps({**config, "config_sha256": sum_of_rest}))


# --- round trip -------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: "-".join(map(str, parts[:4])))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_comes_back_as_it_was(parts: Any, dtype: torch.dtype, tmp_path: Path) -> None:  # noqa: ANN401
    model = model_of(*parts).to(dtype)
    labels = torch.tensor([0, 1, 1, 0]) if model.classes else None
    pixelar.save(model, tmp_path / "model")
    random_state = torch.get_rng_state()
    again = pixelar.load(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), random_state)
    assert describe_model(again) == describe_model(model)
    assert fingerprint(again) == fingerprint(model)
    assert not again.training
    x = model.encode(IMAGES)
    assert torch.equal(again.encode(IMAGES), x)
    with torch.no_grad():
        assert torch.equal(again(x, labels), model(x, labels))
    drawn = [pixelar.sample(m, 4, labels, seed=5) for m in (model, again)]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: "-".join(map(str, parts[:4])))
def test_half_precision_is_for_storage_only(parts: Any, tmp_path: Path) -> None:  # noqa: ANN401
    model = model_of(*parts)
    for storage in (torch.float16, torch.bfloat16):
        pixelar.save(model, tmp_path / "half", storage=storage)
        again = pixelar.load(tmp_path / "half")
        assert {p.dtype for p in again.parameters()} == {torch.float32}
        for name, tensor in model.state_dict().items():
            own = name.startswith("quantizer.") or not tensor.is_floating_point()
            rounded = tensor if own else tensor.to(storage).float()
            assert torch.equal(again.state_dict()[name], rounded), name
    pixelar.save(model, tmp_path / "full")
    size = {n: (tmp_path / n / "model.safetensors").stat().st_size for n in ("half", "full")}
    numbers = sum(p.numel() for p in model.parameters())
    assert size["full"] - size["half"] == pytest.approx(2 * numbers, rel=0.05, abs=100)


def test_stored_halves_of_a_wide_model_stay_wide_in_the_original(tmp_path: Path) -> None:
    model = zoo.tiny("PixelCNN", shape=(1, 4, 4))  # float64
    before = fingerprint(model)
    pixelar.save(model, tmp_path / "model", storage=torch.float16)
    assert fingerprint(model) == before


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        (torch.float16, r"weights net\.\S+ are too large for torch.float16"),
        (torch.int8, r"storage must be a floating-point data type; got torch.int8"),
    ],
)
def test_storage_that_would_lose_weights_is_refused(
    storage: torch.dtype, message: str, tmp_path: Path
) -> None:
    model = zoo.tiny("PixelCNN", shape=(1, 4, 4)).float()
    with torch.no_grad():
        next(model.net.parameters()).view(-1)[0] = 1e5
    with pytest.raises(PixelarError, match=message):
        pixelar.save(model, tmp_path / "model", storage=storage)
    assert not (tmp_path / "model").exists()


def test_every_weight_changes_the_fingerprint() -> None:
    model = zoo.tiny("PixelCNN")
    seen = {fingerprint(model)}
    filled = [p for p in model.parameters() if p.numel()]
    for parameter in filled:
        with torch.no_grad():
            parameter.view(-1)[-1] += 1e-9
        seen.add(fingerprint(model))
    assert len(seen) == 1 + len(filled)


def test_saving_replaces_a_model_whole(folder: Path) -> None:
    other = zoo.tiny("ImageGPT", shape=(1, 4, 4))
    pixelar.save(other, folder)
    assert fingerprint(pixelar.load(folder)) == fingerprint(other)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]


# --- accidents --------------------------------------------------------------------------------


def replace_by(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def change_text(old: str, new: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, 1))

    return change


def exchange(folder: Path) -> None:
    """Puts the weights of another model of the same kind there."""
    other = randomize(pixelar.load(folder), seed=9).float()
    pixelar.save(other, folder.parent / "other")
    shutil.copy(folder.parent / "other" / "model.safetensors", folder)


def flip_last(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def directory_instead(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


def loop(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(folder / "config.json")


ACCIDENTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit flip": (flip_last, "model.safetensors is damaged or was replaced"),
    "empty weights": (replace_by("model.safetensors", b""), "is damaged or was replaced"),
    "cut off": (
        lambda f: os.truncate(f / "model.safetensors", 100),
        "is damaged or was replaced",
    ),
    "exchanged": (exchange, "is damaged or was replaced"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no file model.safetensors"),
    "directory": (directory_instead, "has no file model.safetensors"),
    "no config": (lambda f: (f / "config.json").unlink(), "has no file config.json"),
    "link to itself": (loop, "has no file config.json"),
    "empty config": (replace_by("config.json", b""), "config.json is not JSON"),
    "binary config": (replace_by("config.json", b"\xff\xfe\x00"), "config.json is not JSON"),
    "deep config": (replace_by("config.json", b"[" * 200_000), "config.json is not JSON"),
    "endless number": (replace_by("config.json", b"9" * 10_000), "config.json is not JSON"),
    "huge config": (replace_by("config.json", b" " * 2_000_000), "more than 1,048,576 bytes"),
    "list": (replace_by("config.json", b"[1, 2]"), "it is not a JSON object"),
    "number": (replace_by("config.json", b"3"), "it is not a JSON object"),
    "other JSON": (replace_by("config.json", b'{"a": 1}'), "it has no format, model, weights"),
    "other format": (
        change_text('"format": 1', '"format": 7'),
        "has format 7; this version reads format 1",
    ),
    "edited depth": (change_text('"depth": 2', '"depth": 3'), "was edited"),
    "edited dropout": (change_text('"dropout": 0.0', '"dropout": 0.1'), "was edited"),
    "edited weights": (change_text('"weights": "raw"', '"weights": "ema"'), "was edited"),
}


@pytest.mark.parametrize("name", ACCIDENTS)
def test_what_is_damaged_is_refused(name: str, folder: Path) -> None:
    damage, message = ACCIDENTS[name]
    damage(folder)
    refused(folder, message)


def test_what_is_no_folder_is_refused(folder: Path) -> None:
    refused(folder / "nothing", "there is no such folder")
    refused(folder / "model.safetensors", "is a file; a model is a folder or a checkpoint")


def test_links_to_the_files_will_do(folder: Path) -> None:
    """Caches of downloaded models are made of links."""
    linked = folder.parent / "linked"
    linked.mkdir()
    for file in folder.iterdir():
        (linked / file.name).symlink_to(file)
    assert fingerprint(pixelar.load(linked)) == fingerprint(pixelar.load(folder))


def test_mutations_never_pass_for_a_model(folder: Path) -> None:
    """200 random changes to one of the files: an error of ours, or the very same model."""
    before = fingerprint(pixelar.load(folder))
    chance = random.Random(0)
    refusals = 0
    for _ in range(200):
        file = folder / chance.choice(["config.json", "model.safetensors"])
        content = file.read_bytes()
        file.write_bytes(mutate(content, chance))
        try:
            assert fingerprint(pixelar.load(folder)) == before
        except PixelarError:
            refusals += 1
        file.write_bytes(content)
    assert refusals > 150
    assert fingerprint(pixelar.load(folder)) == before


def mutate(content: bytes, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(content)), chance.randint(1, 16)
    match chance.randrange(5):
        case 0:
            flipped = content[at] ^ (1 << chance.randrange(8))
            return content[:at] + bytes([flipped]) + content[at + 1 :]
        case 1:
            return content[:at]
        case 2:
            return content[:at] + content[at + length :]
        case 3:
            return content[:at] + chance.randbytes(length) + content[at:]
        case _:
            return content[:at] + chance.randbytes(length) + content[at + length :]


# --- malice -----------------------------------------------------------------------------------


class Bomb:
    """Leaves a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_a_bomb_goes_off_where_pickles_are_loaded(tmp_path: Path) -> None:
    """The markers below prove something."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("sums", ["stale sums", "right sums"])
def test_a_pickle_named_safetensors_is_not_run(sums: str, folder: Path) -> None:
    marker = folder / "marker"
    bomb = pickle.dumps(Bomb(marker))
    if sums == "right sums":
        forge(folder, lambda model: None, bomb)
        refused(folder, "is not a safetensors file")
    else:
        (folder / "model.safetensors").write_bytes(bomb)
        refused(folder, "is damaged or was replaced")
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["bare pickle", "torch", "weights"])
def test_a_checkpoint_with_a_bomb_is_refused(kind: str, tmp_path: Path) -> None:
    file, marker = tmp_path / "evil.ckpt", tmp_path / "marker"
    description = describe_model(zoo.tiny("PixelCNN"))
    if kind == "bare pickle":
        file.write_bytes(pickle.dumps(Bomb(marker)))
    elif kind == "torch":
        torch.save({"pixelar": description, "state_dict": {}, "x": Bomb(marker)}, file)
    else:
        torch.save({"pixelar": description, "state_dict": {"model.x": Bomb(marker)}}, file)
    with pytest.raises(PixelarError, match=r"evil\.ckpt is not a readable checkpoint"):
        load_checkpoint(file)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ({"pixelar": None, "state_dict": {}}, "a model is described by"),
        ({"pixelar": {}}, "holds no tensors by name"),
        ({"pixelar": {}, "state_dict": {"model.x": 3}}, "holds no tensors by name"),
        ({"pixelar": {}, "state_dict": [1]}, "holds no tensors by name"),
    ],
)
def test_checkpoints_of_another_form_are_refused(
    checkpoint: object, message: str, tmp_path: Path
) -> None:
    torch.save(checkpoint, tmp_path / "odd.ckpt")
    with pytest.raises(PixelarError, match=rf"odd\.ckpt.*{message}"):
        load_checkpoint(tmp_path / "odd.ckpt", weights="raw")
    with pytest.raises(PixelarError, match="has no ema weights; it has raw"):
        load_checkpoint(tmp_path / "odd.ckpt")


@pytest.mark.parametrize("part", ["net", "head", "quantizer", "scan"])
@pytest.mark.parametrize("name", ["os.system", "evil_marker", "evil_marker.Net", "__import__"])
def test_names_are_not_imported(
    part: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = folder / "marker"
    (folder / "evil_marker.py").write_text(f"import os; os.mkdir({str(marker)!r})\nNet = print\n")
    monkeypatch.syspath_prepend(str(folder))
    new = name if part == "scan" else {"name": name, "args": {}}
    forge(folder, lambda model: model.__setitem__(part, new))
    refused(folder, f"{part}: unknown '{name}'")
    assert "evil_marker" not in sys.modules and not marker.exists()


def in_part(part: str, **args: object) -> Callable[[dict[str, Any]], object]:
    return lambda model: model[part]["args"].update(args)


FORGERIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "nearest name": (
        lambda m: m["net"].update(name="PixlCNN"),
        "net: unknown 'PixlCNN'; did you mean 'PixelCNN'",
    ),
    "nearest argument": (
        in_part("net", dept=1),
        "net PixelCNN: unknown 'dept'; did you mean 'depth'",
    ),
    "word": (in_part("net", depth="two"), "net PixelCNN: depth must be int; got 'two'"),
    "truth": (in_part("net", depth=True), "net PixelCNN: depth must be int; got True"),
    "nothing": (in_part("net", depth=None), "net PixelCNN: depth must be int; got None"),
    "fraction": (in_part("net", depth=1.5), "net PixelCNN: depth must be int; got 1.5"),
    "list of words": (in_part("net", readout=["a"]), "net PixelCNN: readout must be .*Sequence"),
    "no list": (in_part("net", readout=3), "net PixelCNN: readout must be .*Sequence"),
    "negative": (in_part("net", width=-1), "net PixelCNN: width must be at least 1; got -1"),
    "no number": (in_part("net", dropout=float("nan")), "dropout must be float; got nan"),
    "a position": (in_part("net", levels=3), "its config describes no model"),
    "extra part": (lambda m: m.update(extra=1), "a model is described by image_shape, scan"),
    "missing part": (lambda m: m.pop("head"), "a model is described by image_shape, scan"),
    "part of another kind": (lambda m: m.update(head="x"), "head must be a name and its args"),
    "shape of two": (lambda m: m.update(image_shape=[4, 4]), "image_shape must be three numbers"),
    "shape of words": (lambda m: m.update(image_shape="144"), "image_shape must be three numbers"),
    "empty image": (lambda m: m.update(image_shape=[1, 0, 4]), "image_shape must be three"),
    "scan of a number": (lambda m: m.update(scan=3), "scan must be a name; got 3"),
    # these would require more memory than there is
    "image of 10^12 pixels": (
        lambda m: m.update(image_shape=[1, 10**6, 10**6]),
        "at most 2048 pixels a side",
    ),
    "channels": (lambda m: m.update(image_shape=[2000] * 3), "and 16,777,216 values"),
    "layers": (in_part("net", depth=10**9), "far more layers than it has tensors for"),
    "readout": (in_part("net", readout=[1] * 100_000), "far more layers than it has tensors"),
    "width": (in_part("net", width=10**6), "tensor .* is .* where the model has"),
    "overflow": (in_part("net", width=10**15), "its config describes no model"),
    "no machine number": (in_part("net", width=10**30), "its config describes no model"),
    "kernel": (in_part("net", first_kernel_size=10**5 + 1), "tensor .* where the model has"),
    "classes": (in_part("net", classes=10**9), "tensor .* where the model has"),
    "components": (
        lambda m: m.update(head={"name": "LogisticMixture", "args": {"components": 10**9}}),
        "tensor .* is .* where the model has",
    ),
    "transformer": (
        lambda m: m.update(
            net={"name": "ImageGPT", "args": {"width": 10**5, "depth": 10**6, "heads": 1}}
        ),
        "far more layers than it has tensors for",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_configs_are_refused_at_no_cost(name: str, folder: Path) -> None:
    """With sums that are right, too, nothing is allocated that the weights do not fit."""
    change, message = FORGERIES[name]
    forge(folder, change)
    began, memory = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(folder, message)
    assert time.perf_counter() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200_000  # KiB


def test_forged_palettes_are_refused(tmp_path: Path) -> None:
    pixelar.save(model_of(*PARTS[3]), tmp_path / "model")
    forge(tmp_path / "model", in_part("quantizer", levels=10**9))
    refused(tmp_path / "model", "tensor .* where the model has")


JUNK: tuple[Any, ...] = (
    *(None, True, -1, 0, 2, 10**30, 1e308),
    *("x", "os.system", [], [[]], {}, {"name": "os.system"}),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    """Yields the way to every value in nested lists and dicts."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_junk_anywhere_in_a_forged_config_is_no_crash(folder: Path) -> None:
    config = (folder / "config.json").read_bytes()
    described = json.loads(config)["model"]
    tried = 0
    for path in [*places(described)][1:]:
        for junk in JUNK:

            def change(model: dict[str, Any], path: Any = path, junk: object = junk) -> None:  # noqa: ANN401
                for key in path[:-1]:
                    model = model[key]
                model[path[-1]] = junk

            forge(folder, change)
            try:
                assert isinstance(pixelar.load(folder), PixelModel)
            except PixelarError as error:
                assert "\n" not in str(error)
            (folder / "config.json").write_bytes(config)
            tried += 1
    assert tried > 150


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("net.stem.bias"), r"'net.stem.bias' is nothing where the model has \(12,"),
        (lambda s: s.update(extra=torch.zeros(1)), r"'extra' is \(1,\) where the model has noth"),
        (
            lambda s: s.update({"net.stem.bias": torch.zeros(3)}),
            r"is \(3,\) where the model has \(12",
        ),
        (
            lambda s: s.update({"net.stem.bias": torch.zeros(12, dtype=torch.int64)}),
            r"'net.stem.bias' is \(12,\) of torch.int64 where the model has \(12,\)",
        ),
    ],
)
def test_weights_of_other_names_shapes_and_types_are_refused(
    change: Callable[[dict[str, Any]], object], message: str, folder: Path
) -> None:
    state = dict(pixelar.load(folder).state_dict())
    change(state)
    forge(folder, lambda model: None, save_tensors(state))
    refused(folder, message)
