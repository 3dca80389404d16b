"""Whatever the schedule, a seed and a number determine one image."""

from importlib.util import find_spec
from typing import Any

import pytest
import torch
import zoo
from torch import Tensor

import pixelar
from pixelar.caches import has_waves, new_cache, new_waves
from pixelar.caches.base import RecomputeWaves
from pixelar.errors import PixelarError
from pixelar.memory.budget import bytes_of
from pixelar.model import PixelModel
from pixelar.names import SCHEDULES as NAMES
from pixelar.names import ScheduleName
from pixelar.nets import NETS, Net
from pixelar.sampling.canvas import Canvas
from pixelar.sampling.completion import complete
from pixelar.sampling.samples import draw_images, sample
from pixelar.sampling.schedules import SCHEDULES, choose_schedule, numba_rows
from pixelar.sampling.schedules.fixed_point import MOST_AHEAD, Pace
from pixelar.sampling.schedules.wavefront import waves
from pixelar.scoring.analysis import dependencies

WAVING = [name for name in NETS if zoo.tiny(name).net.reach() is not None]
MODELS = [*zoo.every_model((3, 4, 5), levels=3, classes=(0, 3))]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("net", "head", "scan", "classes"), MODELS)
def test_all_walks_draw_the_same_images(net: str, head: str, scan: str, classes: int) -> None:
    model = zoo.tiny(net, head, shape=(3, 4, 5), scan=scan, levels=3, classes=classes)
    labels = torch.arange(3) if classes else None
    one_by_one = draw_images(model, 3, labels, seed=1, schedule="sequential")
    assert one_by_one.steps == model.scan.sites
    methods = ["fixed_point", "wavefront"] if net in WAVING else ["fixed_point"]
    for method in methods:
        drawn = draw_images(model, 3, labels, seed=1, schedule=method)  # type: ignore[arg-type]
        assert torch.equal(drawn.images, one_by_one.images), method
        assert drawn.schedule == method
        assert method == "wavefront" or drawn.steps <= model.scan.sites
        few = None if labels is None else labels[:1]
        alone = sample(model, 1, few, seed=1, schedule=method)
        assert torch.equal(alone, one_by_one.images[:1]), "the batch matters"


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("rows", ["first", "scattered"])
def test_all_walks_complete_alike(net: str, rows: str) -> None:
    model = zoo.tiny(net, shape=(1, 6, 5))
    generator = torch.Generator().manual_seed(0)
    images = model.quantizer.decode(torch.randint(3, (2, 1, 6, 5), generator=generator))
    known = torch.rand(6, 5, generator=generator) < 0.4
    if rows == "first":
        known = torch.arange(6)[:, None].expand(6, 5) < 3
    walks: list[ScheduleName] = ["sequential", "fixed_point"]
    walks += ["wavefront"] if net in WAVING else []
    tried: list[dict[str, Any]] = [{}, {"temperature": 0.7, "top_p": 0.8}]
    for options in tried:
        drawn = [
            complete(model, images, known, seed=3, method="clamp", schedule=walk, **options)
            for walk in walks
        ]
        assert all(torch.equal(other, drawn[0]) for other in drawn[1:])


@pytest.mark.parametrize("net", WAVING)
@pytest.mark.parametrize("size", [3, 5, 7])
def test_the_declared_reach_is_what_the_net_sees(net: str, size: int) -> None:
    """Whatever a site depends on comes in an earlier wave; with one column less it would not."""
    for scan in zoo.scans_of(net):
        model = zoo.tiny(net, shape=(2, 4, 12), scan=scan, first_kernel_size=size)
        depends = dependencies(model, trials=2)
        assert depends.any() and not _broken(model.net, depends)
        reach = model.net.reach()
        assert reach is not None
        model.net.reach = lambda reach=reach: reach - 1  # type: ignore[method-assign, misc]
        assert _broken(model.net, depends), "the reach is declared larger than it is"


def _broken(net: Net, depends: torch.Tensor) -> bool:
    """Whether a site depends on one that does not come in an earlier wave."""
    number, schedule = torch.empty(net.scan.sites, dtype=torch.long), waves(net)
    assert schedule is not None
    assert torch.equal(torch.cat(schedule).sort().values, torch.arange(net.scan.sites))
    for k, sites in enumerate(schedule):
        number[sites] = k
    return bool((number[None, :] >= number[:, None])[depends].any())


@pytest.mark.parametrize("net", WAVING)
def test_a_wave_is_what_forward_gives(net: str) -> None:
    """The sites of later waves are poisoned; the reference is the default, a forward per wave."""
    for scan in zoo.scans_of(net):
        model = zoo.tiny(net, shape=(2, 5, 6), scan=scan, classes=3)
        x, canvas = (torch.randint(3, (2, 2, 5, 6)) for _ in range(2))
        labels, schedule = torch.tensor([1, 2]), waves(model.net)
        assert schedule is not None
        with torch.no_grad():
            expected = model.net(x, labels)
            cache = new_waves(model.net, canvas, labels)
            for sites in schedule:
                params = cache.wave(canvas, sites)
                torch.testing.assert_close(params, expected[:, sites], rtol=0, atol=1e-10)
                slow = RecomputeWaves(model.net, canvas, labels).wave(canvas, sites)
                torch.testing.assert_close(slow, expected[:, sites], rtol=0, atol=1e-10)
                at = model.scan.index[sites].flatten()
                canvas.view(2, -1)[:, at] = x.view(2, -1)[:, at]


@pytest.mark.parametrize(("size", "count"), [(3, 82), (7, 136)])
def test_the_number_of_waves_of_mnist(size: int, count: int) -> None:
    model = zoo.tiny("PixelCNN", shape=(1, 28, 28), first_kernel_size=size)
    found = waves(model.net)
    assert found is not None and len(found) == count


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("method", ["sequential", "wavefront"])
def test_a_cache_does_not_grow_with_the_steps(net: str, method: str) -> None:
    """Nor, for convolutions, with the height of the image: they keep rows."""
    if method == "wavefront" and not has_waves(zoo.tiny(net).net):
        return
    sizes = []
    for height in (6, 12):
        model = zoo.tiny(net, shape=(1, height, 5))
        x = torch.zeros(2, 1, height, 5, dtype=torch.long)
        after = []
        with torch.no_grad():
            if method == "sequential":
                cache = new_cache(model.net, x)
                for t in range(model.scan.sites):
                    cache.step(x, t)
                    if t % 5 == 4:
                        after.append(bytes_of(cache))
            else:
                waving = new_waves(model.net, x)
                for sites in waves(model.net) or []:
                    waving.wave(x, sites)
                    after.append(bytes_of(waving))
        assert len(set(after)) == 1
        sizes.append(after[0])
    if method == "sequential" and net in WAVING:
        assert sizes[0] == sizes[1]


def nothing(model: PixelModel, batch: int, rows: int = 0, **options: Any) -> Canvas:  # noqa: ANN401
    """Returns the canvas of images with only the first rows known."""
    blank = torch.zeros(batch, *model.image_shape, dtype=torch.uint8)
    known = torch.arange(model.image_shape[1])[:, None] < rows
    return Canvas.prepare(model, blank, known, **options)


def test_auto_takes_the_quickest_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    waving, gated, other = (
        zoo.tiny(net, shape=(1, 28, 28)) for net in ("PixelCNN", "GatedPixelCNN", "ImageGPT")
    )
    assert choose_schedule(nothing(waving, 1)) == "wavefront"
    assert choose_schedule(nothing(waving, 64)) == "sequential"
    assert choose_schedule(nothing(waving, 1, rows=14)) == "sequential"
    assert choose_schedule(nothing(zoo.tiny("PixelCNN", shape=(1, 4, 4)), 1)) == "sequential"
    assert choose_schedule(nothing(other, 1)) == "fixed_point"
    assert choose_schedule(nothing(other, 1, rows=25)) == "sequential"
    assert choose_schedule(nothing(other, 64)) == "sequential"
    monkeypatch.setattr(numba_rows, "numba_is_there", lambda: True)
    assert choose_schedule(nothing(gated, 1)) == "compiled"
    assert choose_schedule(nothing(gated, 65)) == "sequential"
    assert choose_schedule(nothing(gated, 1, temperature=0.5)) == "sequential"
    monkeypatch.setattr(numba_rows, "numba_is_there", lambda: False)
    with pytest.warns(UserWarning, match=r"numba is not installed.*pip install 'pixelar\[fast\]'"):
        assert choose_schedule(nothing(gated, 1)) == "sequential"


def test_the_table_has_the_names_that_are_offered() -> None:
    assert {*NAMES} == {"auto", *SCHEDULES}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_streams_of_every_schedule_end_with_the_same_images(schedule: str) -> None:
    """Meanwhile, known pixels stay, and pixels that are not drawn yet are unchanged."""
    net = "GatedPixelCNN" if schedule == "compiled" else "PixelCNN"
    if schedule == "compiled":
        pytest.importorskip("numba", reason="compiled rows are drawn with numba")
    model = zoo.tiny(net, shape=(1, 6, 5), levels=3)
    images = model.quantizer.decode(torch.randint(3, (2, 1, 6, 5)))
    known = torch.arange(6)[:, None] < 2
    frames = [
        *pixelar.stream(model, images, known, every=5, seed=3, schedule=schedule)  # type: ignore[arg-type]
    ]
    drawn = complete(model, images, known, seed=3, schedule="sequential")
    assert torch.equal(frames[-1], drawn)
    for frame in frames:
        assert ((frame == drawn) | (frame == images)).all()
    if schedule in ("sequential", "compiled"):
        assert len(frames) == 4


def test_a_completion_encodes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the method; `known_first` in another order of the same sites."""
    calls: list[int] = []
    encode = PixelModel.encode

    def counted(model: PixelModel, images: Tensor) -> Tensor:
        calls.append(len(images))
        return encode(model, images)

    monkeypatch.setattr(PixelModel, "encode", counted)
    blank, right = torch.zeros(2, 1, 5, 6, dtype=torch.uint8), torch.arange(6) > 2
    for net, method in (
        ("ImageGPT", "prefix"),
        ("AnyOrderGPT", "known_first"),
        ("ImageGPT", "particles"),
        ("ImageGPT", "clamp"),
    ):
        known = torch.zeros(5, 6, dtype=torch.bool) if method == "prefix" else right
        calls.clear()
        complete(zoo.tiny(net), blank, known, method=method, particles=2)  # type: ignore[arg-type]
        assert calls == [2], method
        calls.clear()
        for _ in pixelar.stream(zoo.tiny(net), blank, known, every=9, particles=2):
            pass
        assert calls == [2], method
    calls.clear()
    pixelar.posterior(zoo.tiny("ImageGPT"), blank, right, particles=2)
    assert calls == [2]


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
@pytest.mark.parametrize(("head", "levels"), [("Bernoulli", 2), ("Categorical", 3)])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("args", [{}, {"dilations": [1, 3]}, {"readout": []}, {"readout": [5, 9]}])
def test_compiled_rows_draw_the_same_images(
    head: str, levels: int, classes: int, args: dict[str, Any]
) -> None:
    """From the start, from a row's first pixel and from within a row, with known pixels ahead.

    Seven images are four at once and three one by one.
    """
    model = zoo.tiny("GatedPixelCNN", head, levels=levels, classes=classes, **args)
    generator = torch.Generator().manual_seed(1)
    symbols = torch.randint(levels, (7, 1, 5, 6), generator=generator)
    images, labels = model.quantizer.decode(symbols), torch.arange(7) % 3 if classes else None
    for start in (0, 6, 8):
        known = torch.rand(30, generator=generator) < 0.3
        known[:start], known[start] = True, False
        options: dict[str, Any] = {"seed": 2, "method": "clamp"}
        given = (model, images, known.view(5, 6), labels)
        rows = complete(*given, schedule="compiled", **options)
        assert torch.equal(rows, complete(*given, schedule="sequential", **options))
        assert torch.equal(rows[..., known.view(5, 6)], images[..., known.view(5, 6)])


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
@pytest.mark.parametrize("name", ["binary-mnist-gated-pixelcnn", "mnist-gated-pixelcnn"])
def test_compiled_rows_of_a_trained_model(name: str) -> None:
    """In float32, where rounding differs, with two levels and with 256: hardly an image does."""
    model = pixelar.load(name)
    labels = torch.arange(5) if model.classes else None
    drawn = [draw_images(model, 5, labels, seed=5, schedule=m) for m in ("sequential", "compiled")]
    differing = (drawn[0].images != drawn[1].images).flatten(1).any(1)
    assert differing.sum() <= 1
    assert [d.steps for d in drawn] == [784, 28]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"schedule": "wavefront"},
            "schedule wavefront needs pixels that do not depend on each other",
        ),
        ({"schedule": "wavefrnt"}, "schedule: unknown 'wavefrnt'; did you mean 'wavefront'"),
        ({"schedule": "compiled"}, "schedule compiled is for a GatedPixelCNN of grey images"),
        ({"method": "particles", "schedule": "fixed_point"}, "particles are drawn site by site"),
    ],
)
def test_walks_that_cannot_be_are_explained(options: dict[str, Any], message: str) -> None:
    blank = torch.zeros(1, 1, 5, 6, dtype=torch.uint8)
    with pytest.raises(PixelarError, match=message):
        complete(zoo.tiny("ImageGPT"), blank, torch.zeros(5, 6), **options)


def test_looking_ahead_pays_or_ends() -> None:
    """Where sites turn out right, a pass does many; where none does, they go one by one."""
    sure, unsure = Pace(1), Pace(1)
    for _ in range(200):
        sure.learn(sure.sites)
    assert sure.sites == MOST_AHEAD
    looks = 0
    for _ in range(1000):
        looks += unsure.sites > 1
        unsure.learn(1)
    assert looks < 100


def test_a_trained_model_looks_ahead() -> None:
    drawn = draw_images(pixelar.load("binary-mnist-imagegpt"), 1, seed=1)
    assert drawn.schedule == "fixed_point" and drawn.steps < 784 / 4


@pytest.mark.faults
@pytest.mark.parametrize("width", [1, 2, 3])
def test_waves_of_no_site_in_narrow_images(width: int) -> None:
    """Fewer columns than a site reads to its right: some waves pass between all rows."""
    model = zoo.tiny("PixelCNN", shape=(1, 5, width), classes=2)
    labels = torch.tensor([0, 1])
    drawn = [
        pixelar.sample(model, 2, labels, seed=0, schedule=method)
        for method in ("sequential", "wavefront")
    ]
    assert torch.equal(*drawn)
