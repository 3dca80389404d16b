"""ImageGPT of transformers: read as it computes there, written as it loads there, or refused."""

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures import noise, palette_model, save, write_imagegpt, write_lmconv, write_pixelcnnpp
from safetensors.torch import load_file, save_file
from test_configs import CONFIGS, built
from test_folders import mutate
from torch import Tensor

import pixelar
from pixelar.caches import new_cache
from pixelar.cli import main
from pixelar.data import ImageSet
from pixelar.errors import PixelarError
from pixelar.heads import Categorical
from pixelar.io.folders import fingerprint
from pixelar.io.foreign import export_imagegpt, import_imagegpt, import_model
from pixelar.model import PixelModel, describe_model
from pixelar.nets import ImageGPT
from pixelar.quantizers import Palette
from pixelar.testing import assert_autoregressive, assert_cache_equals_forward
from pixelar.training import Training

HEIGHT, WIDTH, COLOURS = 6, 8, 17
REASON = "transformers is not installed: pip install 'pixelar[bench]'"


# --- against transformers ---------------------------------------------------------------------


def their_model() -> Any:  # noqa: ANN401
    """Returns a tiny model of theirs with noise in every parameter: zeros hide mistakes."""
    transformers = pytest.importorskip("transformers", reason=REASON)
    config = transformers.ImageGPTConfig(
        vocab_size=COLOURS + 1, n_positions=HEIGHT * WIDTH, n_embd=32, n_layer=3, n_head=4
    )
    model = transformers.ImageGPTForCausalImageModeling(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
            if "ln_" in name:
                parameter.add_(1)  # small ones leave attention without choice
    return model


def their_processor() -> Any:  # noqa: ANN401
    transformers = pytest.importorskip("transformers", reason=REASON)
    clusters = np.random.default_rng(1).uniform(-1, 1, (COLOURS, 3))
    size = {"height": HEIGHT, "width": WIDTH}
    return transformers.ImageGPTImageProcessor(clusters=clusters, size=size)


@pytest.fixture(params=["safetensors", "bin"])
def theirs(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Path]:
    """A model of theirs and its folder; as .bin with the masks that old versions stored."""
    model, folder = their_model(), tmp_path / "theirs"
    model.save_pretrained(folder)
    their_processor().save_pretrained(folder)
    if request.param == "bin":
        state = dict(model.state_dict())
        for k in range(3):
            state[f"transformer.h.{k}.attn.bias"] = torch.ones(1, 1, 48, 48).tril().byte()
            state[f"transformer.h.{k}.attn.masked_bias"] = torch.tensor(-1e4)
        torch.save(state, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return model, folder


def some_tokens(batch: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(COLOURS, (batch, 1, HEIGHT, WIDTH), generator=generator)


@torch.no_grad()
def their_logits(model: Any, x: Tensor) -> Tensor:  # noqa: ANN401
    """Returns logits (B, T, V): the start token stands before the first pixel."""
    start = torch.full((len(x), 1), COLOURS)
    return model(torch.cat((start, x.flatten(1)[:, :-1]), 1)).logits


@torch.no_grad()
def walked(model: PixelModel, x: Tensor) -> Tensor:
    """Returns the parameters of all sites as steps compute them."""
    cache = new_cache(model.net, x)
    return torch.stack([cache.step(x, t) for t in range(model.scan.sites)], 1)


def assert_equal_logits(model: PixelModel, theirs: Any) -> None:  # noqa: ANN401
    x = some_tokens()
    expected = their_logits(theirs, x)
    assert expected.std() > 1 and expected.std(1).min() > 0.5  # there is something to compare
    with torch.no_grad():
        torch.testing.assert_close(model.net(x), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(walked(model, x), expected, rtol=0, atol=1e-4)


def test_logits_are_theirs(theirs: tuple[Any, Path]) -> None:
    model = import_imagegpt(theirs[1])
    assert isinstance(model.net, ImageGPT) and model.net.bias and not model.training
    assert_equal_logits(model, theirs[0])
    assert_cache_equals_forward(model)
    assert_autoregressive(model, trials=2)


def test_without_biases_the_function_is_the_same(theirs: tuple[Any, Path]) -> None:
    """As in the released weights, whose biases are zero; what is written has them again."""
    model, folder = theirs
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.zero_()
    for old in (*folder.glob("*.safetensors"), *folder.glob("*.bin")):
        old.unlink()
    model.save_pretrained(folder)
    ours = import_imagegpt(folder)
    assert isinstance(ours.net, ImageGPT) and not ours.net.bias
    assert not any(name.endswith(".bias") for name in ours.state_dict())
    assert_equal_logits(ours, model)
    export_imagegpt(ours, folder / "out")
    assert_same_tensors(folder / "out", folder)


def assert_same_tensors(one: Path, other: Path) -> None:
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_what_is_written_loads_there(theirs: tuple[Any, Path]) -> None:
    transformers = pytest.importorskip("transformers", reason=REASON)
    model, folder = theirs
    ours = import_imagegpt(folder)
    export_imagegpt(ours, folder / "out")
    kind = transformers.ImageGPTForCausalImageModeling
    again, report = kind.from_pretrained(folder / "out", output_loading_info=True)
    assert not any(report.values()), report
    assert again.config.embd_pdrop == again.config.attn_pdrop == 0
    assert type(again.transformer.h[0].mlp.act) is type(model.transformer.h[0].mlp.act)
    x = some_tokens()
    assert torch.equal(their_logits(again.eval(), x), their_logits(model, x))
    processor = transformers.ImageGPTImageProcessor.from_pretrained(folder / "out")
    assert torch.allclose(processor.clusters, their_processor().clusters, rtol=0, atol=1e-6)
    assert (processor.size["height"], processor.size["width"]) == (HEIGHT, WIDTH)
    assert fingerprint(import_imagegpt(folder / "out")) == fingerprint(ours)


def test_double_precision_survives(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason=REASON)
    model = palette_model(shape=(3, HEIGHT, WIDTH), levels=COLOURS, bias=True)
    model.net.double()
    export_imagegpt(model, tmp_path)
    loaded = transformers.ImageGPTForCausalImageModeling.from_pretrained(tmp_path).eval()
    x = some_tokens()
    with torch.no_grad():
        expected = model.net(x)
        torch.testing.assert_close(their_logits(loaded, x), expected, rtol=0, atol=1e-12)
        assert torch.equal(import_imagegpt(tmp_path).net(x), expected)


def test_half_precision_is_read(theirs: tuple[Any, Path]) -> None:
    model, folder = theirs
    for old in (*folder.glob("*.safetensors"), *folder.glob("*.bin")):
        old.unlink()
    model.half().save_pretrained(folder)
    ours = import_imagegpt(folder)
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    assert_equal_logits(ours, model.float())


def test_likelihoods_count_every_pixel(theirs: tuple[Any, Path]) -> None:
    """Also the first, which the start token predicts."""
    model, folder = theirs
    x = some_tokens()
    logits = their_logits(model, x).log_softmax(-1)
    nats = -logits.gather(-1, x.flatten(2).mT).squeeze(-1)  # (B, T)
    ours = import_imagegpt(folder)
    with torch.no_grad():
        torch.testing.assert_close(-ours(x), nats.sum(1), rtol=1e-5, atol=1e-3)


def test_colours_are_theirs(theirs: tuple[Any, Path]) -> None:
    """All but pixels between two colours, which 32-bit numbers do not distinguish there."""
    model, processor = import_imagegpt(theirs[1]), their_processor()
    images = torch.from_numpy(noise(40, 3, HEIGHT, WIDTH))
    found = model.encode(images).flatten(1)
    expected = processor(images=list(images), return_tensors="pt")["input_ids"]
    scaled = images.permute(0, 2, 3, 1).flatten(1, 2).double() / 127.5 - 1  # (B, T, 3)
    distance = (scaled[:, :, None] - processor.clusters.double()).square().sum(-1)
    first, second = distance.sort(-1)[0][..., :2].unbind(-1)
    apart = second - first > 1e-5
    assert apart.double().mean() > 0.999
    assert torch.equal(found[apart], expected[apart])
    assert torch.equal(found[apart], distance.argmin(-1)[apart])
    back = (127.5 * (processor.clusters[expected] + 1)).round().to(torch.uint8)  # (B, T, 3)
    decoded = model.quantizer.decode(expected.view(-1, 1, HEIGHT, WIDTH))
    assert torch.equal(decoded, back.mT.reshape(images.shape))


# --- like any other model ---------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as transformers keeps them."""
    write_imagegpt(tmp_path / "theirs")
    return tmp_path / "theirs"


def test_an_imported_model_is_like_any_other(folder: Path) -> None:
    model = import_imagegpt(folder)
    pixelar.save(model, folder / "ours")
    again = pixelar.load(folder / "ours")
    assert fingerprint(again) == fingerprint(model)
    drawn = pixelar.sample(model, 3, seed=0)
    assert torch.equal(drawn, pixelar.sample(again, 3, seed=0))
    assert drawn.shape == (3, 3, 8, 8) and len(drawn.unique()) > 2
    images = model.quantizer.decode(model.encode(torch.from_numpy(noise(2, 3, 8, 8))))
    known = torch.zeros(8, 8, dtype=torch.bool)
    known[:4] = True
    for region in (known, known.T, ~known):
        completed = pixelar.complete(model, images, region, seed=0)
        assert torch.equal(completed[:, :, region], images[:, :, region])
    report = pixelar.evaluate(model, ImageSet(images, None, ["first", "second"]))
    assert report.unit == "bits/token"


def test_training_goes_on_from_an_imported_model(folder: Path) -> None:
    model = import_imagegpt(folder)
    net = partial(ImageGPT, width=32, depth=2, heads=4, bias=True)
    training = Training(
        net=net, head=Categorical, quantizer=Palette(levels=16), scan="raster", shape=(3, 8, 8)
    )
    training.start_from(model)
    x = model.encode(torch.from_numpy(noise(2, 3, 8, 8)))
    assert torch.equal(training.model.encode(torch.from_numpy(noise(2, 3, 8, 8))), x)
    assert torch.equal(training.model.eval()(x), model(x))


def test_the_released_small_model_has_a_config(tmp_path: Path) -> None:
    """`--init` compares the config with the import: no biases, as the released ones are zero."""
    (config,) = (file for file in CONFIGS if file.stem == "imagegpt-s-imagenet32")
    assert describe_model(built(config, tmp_path)) == {
        "image_shape": [3, 32, 32],
        "scan": "raster",
        "quantizer": {"name": "Palette", "args": {"levels": 512, "seed": 0}},
        "head": {"name": "Categorical", "args": {}},
        "net": {
            "name": "ImageGPT",
            "args": {"width": 512, "depth": 24, "heads": 8, "dropout": 0.0, "classes": 0},
        },
    }


def test_a_square_may_be_told_by_its_side(folder: Path) -> None:
    before = fingerprint(import_imagegpt(folder))
    edit("preprocessor_config.json", size=8)(folder)
    assert fingerprint(import_imagegpt(folder)) == before


def test_the_first_of_two_equal_colours_is_taken(folder: Path) -> None:
    file = folder / "preprocessor_config.json"
    clusters = json.loads(file.read_text())["clusters"]
    clusters[9] = clusters[4]
    edit("preprocessor_config.json", clusters=clusters)(folder)
    model = import_imagegpt(folder)
    fours = model.quantizer.decode(torch.full((1, 1, 8, 8), 9))
    assert (model.encode(fours) == 4).all()


def test_the_command_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    count = sum(p.numel() for p in import_imagegpt(folder).parameters())
    assert main(["import", "theirs", "-o", "models/ours"]) == 0
    expected = f"models/ours: ImageGPT, images of 3 × 8 × 8, {count:,} parameters\n"
    assert capsys.readouterr().out == expected
    assert main(["info", "models/ours"]) == 0
    assert "bias=True" in capsys.readouterr().out
    save(noise(8, 8, 3), Path("images/0.png"))
    assert main(["sample", "models/ours", "-n", "2", "-o", "samples.png"]) == 0
    completing = ["complete", "models/ours", "images/0.png", "--keep", "left", "-n", "1"]
    assert main([*completing, "--particles", "4"]) == 0
    assert main(["evaluate", "models/ours", "-d", "images"]) == 0
    assert "bits/token" in capsys.readouterr().out
    for extra in ([], ["--format", "imagegpt"]):
        assert main(["import", "theirs", "-o", "again", *extra]) == 0
    assert main(["export", "again", "-o", "out", "--format", "imagegpt"]) == 0
    assert capsys.readouterr().out.endswith("out: again as an ImageGPT of transformers\n")
    assert_same_tensors(Path("out"), folder)


def test_a_checkpoint_is_for_the_other_readers(tmp_path: Path) -> None:
    """A file that ends as checkpoints do; a folder is none, whatever it is called."""
    for name in ("a.pt", "b.pth", "c.bin"):
        write_pixelcnnpp(tmp_path / name)
    write_lmconv(tmp_path / "e.pth")
    for name, format, kind in (
        ("a.pt", None, "PixelCNNPP"),
        ("b.pth", None, "PixelCNNPP"),
        ("c.bin", "pixelcnnpp", "PixelCNNPP"),
        ("e.pth", None, "LMConv"),
        ("e.pth", "lmconv", "LMConv"),
    ):
        model = import_model(tmp_path / name, format=format, size=(4, 4))
        assert type(model.net).__name__ == kind
    with pytest.raises(PixelarError, match=r"c.bin is neither a folder .* nor a checkpoint"):
        import_model(tmp_path / "c.bin")
    (tmp_path / "d.pt").mkdir()
    with pytest.raises(PixelarError, match=r"d.pt/config.json cannot be read: No such file"):
        import_model(tmp_path / "d.pt")
    with pytest.raises(PixelarError, match="format: unknown 'imagegtp'; did you mean 'imagegpt'"):
        import_model(tmp_path, format="imagegtp")


# --- what is refused --------------------------------------------------------------------------

Damage = Callable[[Path], object]


def edit(name: str, remove: str = "", **values: Any) -> Damage:  # noqa: ANN401
    """Returns a change of the values of a config."""

    def change(folder: Path) -> None:
        config = json.loads((folder / name).read_text())
        config = {key: value for key, value in config.items() if key != remove}
        (folder / name).write_text(json.dumps({**config, **values}))

    return change


def config(remove: str = "", **values: Any) -> Damage:  # noqa: ANN401
    return edit("config.json", remove, **values)


def processor(remove: str = "", **values: Any) -> Damage:  # noqa: ANN401
    return edit("preprocessor_config.json", remove, **values)


def weights(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Returns a change of the tensors."""

    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return damage


def pickled(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Returns a function that replaces the weights by a .bin file with what `change` returns."""

    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        torch.save(change(tensors) or tensors, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()

    return damage


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str, size: int) -> Damage:
    return lambda folder: os.truncate(folder / name, size)


def flip_a_bit(folder: Path) -> None:
    pickled(lambda tensors: None)(folder)
    content = bytearray((folder / "pytorch_model.bin").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "pytorch_model.bin").write_bytes(content)


def cut_pickled(folder: Path) -> None:
    pickled(lambda tensors: None)(folder)
    cut("pytorch_model.bin", 5000)(folder)


ATTENTION = "transformer.h.0.attn.c_attn.weight"
REFUSED: dict[str, tuple[Damage, str]] = {
    "not there": (shutil.rmtree, "no folder at .*theirs: name one with config.json, weights and"),
    "no config": (remove("config.json"), "config.json cannot be read: No such file"),
    "no JSON": (write("config.json", b"{"), "config.json is not JSON"),
    "a list": (write("config.json", b"[]"), "config.json is not a config: it is not a JSON object"),
    "a huge config": (write("config.json", b" " * 2_000_000), "has more than 1,048,576 bytes"),
    "no model_type": (config("model_type"), "is not a config of transformers: it names no model_"),
    "another model": (config(model_type="gpt2"), "model_type is 'gpt2'; pixelar has only 'imagegp"),
    "activation": (
        config(activation_function="gelu"),
        "activation_function is 'gelu'; pixelar has only 'quick_gelu'",
    ),
    "epsilon": (config(layer_norm_epsilon=1e-6), "layer_norm_epsilon is 1e-06; pixelar has only"),
    "unscaled": (config(scale_attn_weights=False), "scale_attn_weights is False; pixelar has only"),
    "scaled by layers": (
        config(scale_attn_by_inverse_layer_idx=True),
        "scale_attn_by_inverse_layer_idx is True; pixelar has only False",
    ),
    "tied": (config(tie_word_embeddings=True), "tie_word_embeddings is True; pixelar has only"),
    "cross": (config(add_cross_attention=True), "add_cross_attention is True; pixelar has only"),
    "inner": (config(n_inner=100), "n_inner is 100; pixelar has only 4 · n_embd"),
    "no width": (config("n_embd"), "n_embd must be a whole number from 1; got None"),
    "a word": (config(n_layer="two"), "n_layer must be a whole number from 1; got 'two'"),
    "no layer": (config(n_layer=0), "n_layer must be a whole number from 1; got 0"),
    "a truth": (config(n_head=True), "n_head must be a whole number from 1; got True"),
    "heads": (config(n_head=5), r"heads \(5\) must divide width \(32\)"),
    "endless": (config(n_layer=10**12), r"requires 1000000000000 blocks, but .* only 24 tensors"),
    "wide": (config(n_embd=10**9), r"has shape \(17, 32\) where config.json requires \(17, 100"),
    "one colour": (
        lambda f: (config(vocab_size=2)(f), processor(clusters=[[0, 0, 0]])(f)),
        r"transformer.wte.weight has shape \(17, 32\) where config.json requires \(2, 32\)",
    ),
    "fewer layers": (config(n_layer=1), r"has 'transformer.h.1.attn.c_attn.bias', .* and 7 more: "),
    "more layers": (config(n_layer=3), r"has no 'transformer.h.2.attn.c_attn.bias', .* and 7 more"),
    "no processor": (
        remove("preprocessor_config.json"),
        "has no file preprocessor_config.json, which holds the colours of the tokens; it comes",
    ),
    "no clusters": (processor("clusters"), "clusters must be colours, .* got None"),
    "null clusters": (processor(clusters=None), "clusters must be colours, .* got None"),
    "bytes": (processor(clusters=[[0, 128, 255]] * 16), "clusters must be colours, .* -1 to 1"),
    "not numbers": (processor(clusters=[[0, 0, float("nan")]] * 16), "clusters must be colours"),
    "words": (processor(clusters=[["0", "0", "0"]] * 16), "clusters must be colours"),
    "pairs": (processor(clusters=[[0, 0]] * 16), "clusters must be colours"),
    "few clusters": (
        processor(clusters=[[0, 0, 0]] * 9),
        "has 9 clusters, but vocab_size requires 16: one for each token but the start",
    ),
    "no size": (processor("size"), "size must be that of images of 64 pixels, .* got None"),
    "default size": (
        processor(size={"height": 256, "width": 256}),
        "size must be that of images of 64 pixels, .* got {'height': 256, 'width': 256}",
    ),
    "edge": (processor(size={"shortest_edge": 8}), "size must be that .* got {'shortest_edge': 8"),
    "no colours": (processor(do_color_quantize=False), "do_color_quantize is False; pixelar has"),
    "other mean": (processor(image_mean=[0.4] * 3), r"image_mean is \[0.4, 0.4, 0.4\]; pixelar"),
    "no weights": (remove("model.safetensors"), "has no weights: no file model.safetensors or"),
    "shards": (write("model.safetensors.index.json", b"{}"), "has its weights in several files"),
    "empty": (write("model.safetensors", b""), "model.safetensors is not a safetensors file"),
    "text": (write("model.safetensors", b"weights" * 99), "is not a safetensors file"),
    "truncated": (cut("model.safetensors", 5000), "model.safetensors is not a safetensors file"),
    "unknown": (
        weights(lambda tensors: tensors.update({"score.weight": torch.zeros(2)})),
        "model.safetensors has 'score.weight': no part of an ImageGPT of this size",
    ),
    "strange name": (
        weights(lambda tensors: tensors.update({"a\n" * 200: torch.zeros(2)})),
        r"model.safetensors has 'a\\na\\n.*: no part of an ImageGPT of this size",
    ),
    "like a mask": (
        weights(lambda tensors: tensors.update({"transformer.h.0.attn.biased": torch.zeros(2)})),
        "has 'transformer.h.0.attn.biased': no part of an ImageGPT",
    ),
    "no head": (
        weights(lambda tensors: tensors.pop("lm_head.weight")),
        "has no 'lm_head.weight', which an ImageGPT must have",
    ),
    "no bias": (
        weights(lambda tensors: tensors.pop("transformer.h.1.mlp.c_fc.bias")),
        "has no 'transformer.h.1.mlp.c_fc.bias', which",
    ),
    "turned": (
        weights(lambda tensors: tensors.update({ATTENTION: tensors[ATTENTION].T.contiguous()})),
        r"c_attn.weight has shape \(96, 32\) where config.json requires \(32, 96\)",
    ),
    "whole numbers": (
        weights(lambda tensors: tensors.update({ATTENTION: tensors[ATTENTION].int()})),
        "c_attn.weight holds no floating-point numbers",
    ),
    "infinite": (
        weights(lambda tensors: tensors[ATTENTION][3].fill_(torch.inf)),
        "c_attn.weight holds numbers that are not finite",
    ),
    "truncated .bin": (cut_pickled, "pytorch_model.bin is not a readable checkpoint"),
    "flipped .bin": (flip_a_bit, "pytorch_model.bin is damaged: .* does not match its checksum"),
    "empty .bin": (
        lambda f: (remove("model.safetensors")(f), write("pytorch_model.bin", b"")(f)),
        "pytorch_model.bin is not a readable checkpoint",
    ),
    "a list in .bin": (pickled(lambda tensors: [*tensors.values()]), "holds no tensors by name"),
    "nested .bin": (
        pickled(lambda tensors: {"last": tensors, "best": tensors}),
        r"holds several sets of weights \(last, best\); save the one that you want alone",
    ),
    "numbered .bin": (
        pickled(lambda tensors: dict(enumerate(tensors.values()))),
        "holds no tensors by name",
    ),
    "a claim": (
        lambda f: (config(n_positions=10**8)(f), processor(size=10**4)(f), claim(f)),  # type: ignore[func-returns-value]
        "pytorch_model.bin holds fewer numbers than its tensors claim",
    ),
    "sparse": (
        pickled(lambda tensors: tensors.update({ATTENTION: tensors[ATTENTION].to_sparse()})),
        "c_attn.weight holds no floating-point numbers",
    ),
    "nothing behind it": (
        pickled(lambda tensors: tensors.update({ATTENTION: tensors[ATTENTION].to("meta")})),
        "c_attn.weight holds no floating-point numbers",
    ),
}


def claim(folder: Path) -> None:
    """Writes a tensor of one row that says that it has a hundred million of them."""
    row = torch.zeros(1, 32).expand(10**8, 32)
    pickled(lambda tensors: tensors.update({"transformer.wpe.weight": row}))(folder)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_damaged_or_another_net_is_refused(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one sentence, by name, and nothing is left behind."""
    damage, message = REFUSED[name]
    damage(folder)
    with pytest.raises(PixelarError, match=message) as caught:
        import_imagegpt(folder)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 600 and str(folder) in text
    assert main(["import", str(folder), "-o", str(folder.parent / "ours")]) == 2
    assert capsys.readouterr().err == f"pixelar: {text}\n"
    assert not (folder.parent / "ours").exists()


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_mutations_are_read_or_refused(kind: str, folder: Path) -> None:
    """100 random changes to one of the files: an error of ours, or a model."""
    if kind.endswith(".bin"):
        pickled(lambda tensors: None)(folder)
    chance = random.Random(0)
    refusals = 0
    for _ in range(100):
        file = folder / chance.choice(["config.json", "preprocessor_config.json", kind])
        content = file.read_bytes()
        file.write_bytes(mutate(content, chance))
        try:
            assert import_imagegpt(folder).scan.sites == 64
        except PixelarError as error:
            refusals += 1
            assert "\n" not in str(error) and len(str(error)) < 600
        file.write_bytes(content)
    assert refusals > 50


def test_nothing_in_a_pickle_is_run(folder: Path) -> None:
    class Malice:
        def __reduce__(self) -> Any:  # noqa: ANN401
            return Path.touch, (folder / "touched",)

    pickled(lambda tensors: {**tensors, "extra": Malice()})(folder)
    with pytest.raises(PixelarError, match=r"pytorch_model.bin holds an object of \w+, whose code"):
        import_imagegpt(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malice()))
    with pytest.raises(PixelarError, match=r"pytorch_model.bin is not a readable checkpoint"):
        import_imagegpt(folder)
    assert not (folder / "touched").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: palette_model("GatedPixelCNN"), "this model has GatedPixelCNN with 0 classes"),
        (lambda: palette_model(scan="hilbert"), "Categorical, Palette and hilbert"),
        (lambda: palette_model(classes=3), "this model has ImageGPT with 3 classes"),
        (lambda: pixelar.load("digits-imagegpt"), "0 classes, Categorical, Identity and raster"),
    ],
)
def test_what_they_do_not_have_is_not_written(
    model: Callable[[], PixelModel], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PixelarError, match=message):
        export_imagegpt(model(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_palette_without_colours_is_not_written(tmp_path: Path) -> None:
    model = palette_model()
    model.quantizer.colours.fill_(torch.nan)  # type: ignore[operator]
    with pytest.raises(PixelarError, match="the palette has no colours yet"):
        export_imagegpt(model, tmp_path / "out")


MISTAKES = {
    "import theirs -o theirs": "-o must be another folder than theirs, which it would overwrite",
    "import theirs -o ./theirs/": "-o must be another folder than theirs",
    "import theirs": "the following arguments are required: -o/--output",
    "import theirs -o x --format imagegtp": "invalid choice: 'imagegtp'",
    "import openai/imagegpt-small -o x": "no folder at openai/imagegpt-small",
    "import theirs/config.json -o x": "say what it is with --format",
    "import ours -o x": "ours/config.json is not a config of transformers: it names no model_type",
    "export ours -o ours --format imagegpt": "-o must be another folder than ours",
    "export theirs -o x --format imagegpt": "theirs/config.json is not the config of a pixelar",
    "export ours -o x --format imagegpt --weights raw": "--weights chooses between those of a .",
    "export ours -o x": "no checkpoint at ours",
    "export digits-imagegpt -o x --format imagegpt": "Categorical, Identity and raster",
    "export nothing.ckpt -o x --format imagegpt": "no checkpoint at nothing.ckpt",
    "export ours -o theirs/config.json --format imagegpt": "cannot write theirs/config.json",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_mistakes_are_told_in_a_sentence(
    command: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder.parent)
    pixelar.save(import_imagegpt("theirs"), "ours")
    assert main(command.split()) == 2
    err = capsys.readouterr().err
    assert MISTAKES[command] in err and err.count("\n") == 1 and "Traceback" not in err
    assert not Path("x").exists()
