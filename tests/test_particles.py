"""Particles converge to the exact conditional, which tiny models let us list; clamping does not."""

import math

import pytest
import torch
import zoo
from torch import Tensor

from pixelar.errors import PixelarError
from pixelar.heads import HEADS
from pixelar.memory.budget import available_memory, memory_of_row
from pixelar.model import PixelModel, build_model
from pixelar.nets import NETS
from pixelar.nets.presets import PRESETS
from pixelar.sampling.canvas import Canvas
from pixelar.sampling.completion import complete, stream
from pixelar.sampling.methods import choose_method
from pixelar.sampling.posterior import Posterior, posterior
from pixelar.sampling.smc import follow
from pixelar.testing import randomize

SHAPE, DIMS = (1, 2, 3), 6
KNOWN = torch.tensor([[False, True, False], [False, False, True]])
GIVEN = torch.tensor([[[[0, 255, 0], [0, 0, 255]]]], dtype=torch.uint8)
CODE = 2 ** torch.arange(DIMS)
EVERY = (CODE[:, None].new_tensor(range(2**DIMS))[:, None] // CODE % 2).view(-1, *SHAPE)


def peaked(net: str, head: str = "Bernoulli", classes: int = 0) -> PixelModel:
    """A model of 64 images whose pixels depend on each other a lot."""
    model = zoo.tiny(net, head, shape=SHAPE, levels=2, classes=classes)
    return randomize(model, **{"scale": 0.5, "seed": 1, **zoo.PEAKED.get(net, {})})


def conditional(model: PixelModel, labels: Tensor | None = None) -> tuple[Tensor, float]:
    """Returns the exact probabilities of all 64 images given the known pixels, and p(known)."""
    with torch.no_grad():
        own = None if labels is None else labels.expand(len(EVERY))
        joint = model(EVERY, own).exp().double()
    agrees = ((EVERY == model.encode(GIVEN)) | ~KNOWN).flatten(1).all(1)
    joint = torch.where(agrees, joint, 0)
    return joint / joint.sum(), float(joint.sum())


def distribution(images: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the (weighted) frequencies of the 64 images among uint8 images (N, 1, 2, 3)."""
    codes = ((images.flatten(1) > 0).long() * CODE).sum(1)
    weights = torch.ones(len(codes), dtype=torch.float64) if weights is None else weights
    counts = torch.zeros(2**DIMS, dtype=torch.float64).index_add_(0, codes, weights.double())
    return counts / counts.sum()


def variation(p: Tensor, q: Tensor) -> float:
    """Returns the total variation between two distributions."""
    return float((p - q).abs().sum() / 2)


def pooled(found: Posterior) -> Tensor:
    return distribution(found.images.flatten(0, 2), found.log_weights.exp().flatten())


@pytest.mark.exhaustive(1)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("head", ["Bernoulli", "Categorical", "LogisticMixture"])
def test_the_population_converges_to_the_exact_conditional(net: str, head: str) -> None:
    assert head in HEADS
    model = peaked(net, head)
    exact, _ = conditional(model)
    errors = []
    for particles in (1, 8, 64, 512):
        found = posterior(model, GIVEN, KNOWN, particles=particles, populations=40, seed=1)
        errors.append(variation(pooled(found), exact))
    assert errors[3] < 0.02
    assert errors[3] < errors[2] < errors[1] < errors[0]


@pytest.mark.full
@pytest.mark.parametrize("net", NETS)
def test_clamping_does_not_converge(net: str) -> None:
    """However many are drawn, they follow another distribution, that of the proposal."""
    model = peaked(net)
    exact, _ = conditional(model)
    with torch.no_grad():
        sites = model.log_prob_sites(EVERY)  # (64, T)
    drawn_only = torch.where(model.scan.gather(KNOWN[None, None])[0, :, 0], 0, sites).sum(1).exp()
    of_the_walk = torch.where(exact > 0, drawn_only, 0)
    many = GIVEN.expand(20_000, -1, -1, -1)
    clamped = distribution(complete(model, many, KNOWN, method="clamp", seed=1))
    assert variation(clamped, of_the_walk) < 0.02
    assert variation(clamped, exact) > 0.05
    one_each = complete(model, many[:1000], KNOWN, method="particles", particles=32, seed=1)
    assert variation(distribution(one_each), exact) < 0.06


@pytest.mark.exhaustive(1)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("resample_below", [0.0, 0.99, 1.0])
def test_log_known_is_an_unbiased_estimate(net: str, resample_below: float) -> None:
    """With three particles, far from convergence, the mean of p̂ is still that of p(known)."""
    model = peaked(net)
    _, p_known = conditional(model)
    found = posterior(
        model,
        GIVEN.expand(6000, -1, -1, -1),
        KNOWN,
        particles=3,
        populations=1,
        resample_below=resample_below,
        seed=2,
    )
    estimates = found.log_known.exp()
    error = float(estimates.std() / math.sqrt(len(estimates)))
    assert abs(float(estimates.mean()) - p_known) < 4 * error
    assert error < 0.02 * p_known  # sharp enough to notice a bias
    assert found.resampled.any() or resample_below < 1


def test_the_spread_tells_how_far_the_estimate_is_off() -> None:
    model = peaked("GatedPixelCNN")
    _, p_known = conditional(model)
    found = posterior(
        model, GIVEN.expand(400, -1, -1, -1), KNOWN, particles=8, populations=16, seed=3
    )
    z = (found.log_known - math.log(p_known)) / found.log_known_stderr
    assert 0.85 < float(z.std()) < 1.2
    one = posterior(model, GIVEN, KNOWN, particles=8, populations=1, seed=3)
    assert one.log_known_stderr.isnan().all()


def test_known_pixels_that_come_first_cost_nothing() -> None:
    """Then the method is plain sampling, and p(known) is exact."""
    model = peaked("ImageGPT", "Categorical")
    known = torch.tensor([[True, True, True], [True, False, False]])
    found = posterior(model, GIVEN, known, particles=8, seed=4)
    with torch.no_grad():
        exact = float(model.log_prob_sites(model.encode(GIVEN))[0, :4].sum())
    assert float(found.log_known) == pytest.approx(exact, abs=1e-9)
    assert float(found.log_known_stderr) == pytest.approx(0, abs=1e-9)
    assert found.ess[0, :, :4].isnan().all()
    assert torch.allclose(found.ess[0, :, 4:], torch.tensor(8.0, dtype=torch.float64))
    everything = posterior(model, GIVEN, torch.ones(1, 1, 1), particles=2, seed=4)
    assert torch.equal(everything.draw(), GIVEN.expand(1, 4, *SHAPE))


@pytest.mark.parametrize("net", NETS)
def test_classes_lead_to_their_own_conditional(net: str) -> None:
    model = peaked(net, classes=3)
    labels = torch.tensor([2, 0])
    found = posterior(
        model, GIVEN.expand(2, -1, -1, -1), KNOWN, labels, particles=400, populations=20, seed=5
    )
    for row, label in enumerate(labels):
        exact, p_known = conditional(model, label)
        own = distribution(found.images[row].flatten(0, 1), found.log_weights[row].exp().flatten())
        assert variation(own, exact) < 0.03
        assert float(found.log_known[row]) == pytest.approx(math.log(p_known), abs=0.05)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("net", "scan", "shape", "classes"), [*zoo.every_net()])
def test_known_values_stay_and_seeds_repeat(
    net: str, scan: str, shape: tuple[int, int, int], classes: int
) -> None:
    """Any net, any scan, single colour values known."""
    model = zoo.tiny(net, shape=shape, scan=scan, classes=classes)
    generator = torch.Generator().manual_seed(0)
    images = model.quantizer.decode(torch.randint(3, (2, *shape), generator=generator))
    known = torch.rand(2, *shape, generator=generator) < 0.5
    labels = torch.tensor([0, 2]) if classes else None
    found = posterior(model, images, known, labels, particles=5, populations=3, seed=5)
    assert torch.equal(
        torch.where(known[:, None, None], found.images, 0).amax((1, 2)), known * images
    )
    drawn = found.draw()
    assert drawn.shape == (2, 3, *shape)
    again = posterior(model, images, known, labels, particles=5, populations=3, seed=5)
    assert torch.equal(again.images, found.images)
    assert torch.equal(again.draw(), drawn)
    other = posterior(model, images, known, labels, particles=5, populations=3, seed=6)
    assert not torch.equal(other.images, found.images)
    assert ((found.unique_particles >= 1) & (found.unique_particles <= 5)).all()
    assert ((found.ess >= 1 - 1e-9) & (found.ess <= 5 + 1e-9) | found.ess.isnan()).all()
    assert torch.allclose(found.log_weights.exp().sum(-1), torch.ones(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("classes", [0, 3])
def test_cached_and_naive_populations_are_the_same(net: str, classes: int) -> None:
    """Resampled at every known pixel, the caches follow their canvases."""
    model = randomize(zoo.tiny(net, shape=(1, 4, 4), classes=classes), scale=0.7)
    generator = torch.Generator().manual_seed(0)
    images = model.quantizer.decode(torch.randint(3, (2, 1, 4, 4), generator=generator))
    known = torch.arange(16).view(4, 4) % 3 != 1
    labels = torch.tensor([1, 2]) if classes else None
    options = {"particles": 6, "populations": 2, "resample_below": 1.0, "seed": 3}
    cached = posterior(model, images, known, labels, **options)  # type: ignore[arg-type]
    model.net = zoo.Naive(model.net)
    naive = posterior(model, images, known, labels, **options)  # type: ignore[arg-type]
    assert torch.equal(cached.images, naive.images)
    assert torch.allclose(cached.log_known, naive.log_known)
    assert cached.resampled.any(2).all()


def test_a_completion_does_not_depend_on_its_batch() -> None:
    model = zoo.tiny("GatedPixelCNN", shape=(1, 4, 4))
    images = model.quantizer.decode(torch.randint(3, (4, 1, 4, 4)))
    known = torch.arange(16).view(1, 4, 4) % 3 == 2
    options = {"method": "particles", "particles": 6, "seed": 7}
    many = complete(model, images, known, **options)  # type: ignore[arg-type]
    assert torch.equal(complete(model, images[:2], known, **options), many[:2])  # type: ignore[arg-type]


def test_palette_tokens_are_known_where_the_whole_pixel_is() -> None:
    model = build_model(
        {
            "image_shape": [3, 2, 3],
            "scan": "raster",
            "quantizer": {"name": "Palette", "args": {"levels": 4}},
            "head": {"name": "Categorical", "args": {}},
            "net": {"name": "ImageGPT", "args": PRESETS["ImageGPT"].tiny},
        }
    )
    randomize(model)
    with torch.no_grad():
        model.quantizer.get_buffer("colours").copy_(torch.randint(256, (4, 3)))
    images = model.quantizer.decode(torch.randint(4, (1, 1, 2, 3)))
    found = posterior(model, images, KNOWN, particles=4, populations=2, seed=0)
    assert torch.equal(torch.where(KNOWN, found.images, images), images.expand_as(found.images))


def test_the_method_is_chosen_by_the_mask() -> None:
    model = peaked("PixelCNN")
    first = torch.tensor([[True, True, True], [True, False, False]])
    assert choose_method(model, first, GIVEN) == "prefix"
    assert choose_method(model, KNOWN, GIVEN) == "particles"
    assert choose_method(model, ~KNOWN & False, GIVEN) == "prefix"
    assert choose_method(model, KNOWN, GIVEN, "clamp") == "clamp"
    with pytest.raises(PixelarError, match="come first in the model's order"):
        choose_method(model, KNOWN, GIVEN, "prefix")
    with pytest.raises(PixelarError, match="did you mean 'particles'"):
        complete(model, GIVEN, KNOWN, method="particle")  # type: ignore[arg-type]
    auto = complete(model, GIVEN, KNOWN, particles=16, seed=8)
    assert torch.equal(
        auto, complete(model, GIVEN, KNOWN, method="particles", particles=16, seed=8)
    )
    assert torch.equal(
        auto, posterior(model, GIVEN, KNOWN, particles=16, populations=1, seed=8).draw()[0]
    )


def test_the_film_ends_with_the_completion() -> None:
    model = zoo.tiny("ImageGPT", shape=(1, 4, 4))
    images = torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)
    known = torch.arange(16).view(1, 4, 4) % 3 == 2
    options = {"particles": 8, "seed": 9}

    def canvas() -> Canvas:
        return Canvas.prepare(model, images, known, method="particles", seed=9)

    frames = [*stream(model, images, known, every=4, method="particles", **options)]  # type: ignore[arg-type]
    assert len(frames) == 4
    assert torch.equal(frames[-1], complete(model, images, known, method="particles", **options))  # type: ignore[arg-type]
    assert (frames[0][:, :, 1:] == 255).all()  # not yet drawn
    states = [*follow(canvas(), every=8, particles=8)]
    assert [int((~s.ess[0, 0].isnan()).sum()) for s in states] == [8, 16]


def test_resampling_copies_in_proportion_to_weight() -> None:
    """Systematic resampling: a canvas of weight w has ⌊K w⌋ or ⌈K w⌉ copies."""
    model = zoo.tiny("PixelCNN", shape=(1, 4, 4))
    images = model.quantizer.decode(torch.randint(3, (1, 1, 4, 4)))
    known = torch.zeros(4, 4, dtype=torch.bool)
    known[0, 3] = True  # after three drawn sites

    def canvas() -> Canvas:
        return Canvas.prepare(model, images, known, method="particles", seed=11)

    before = next(iter(follow(canvas(), every=4, resample_below=0, particles=64)))
    after = next(iter(follow(canvas(), every=5, resample_below=1, particles=64)))

    def rows(found: Posterior) -> Tensor:
        return found.images[0, 0, :, 0, 0]  # (K, 4)

    kinds = rows(before).unique(dim=0)
    for kind in kinds:
        share = before.log_weights[0, 0].exp()[(rows(before) == kind).all(1)]
        copies = int((rows(after) == kind).all(1).sum())
        low, high = (64 * share).floor().sum(), (64 * share).ceil().sum()
        assert low <= copies <= high


def test_a_limit_is_told_before_the_work_begins() -> None:
    model = zoo.tiny("ImageGPT", shape=(1, 28, 28))
    blank = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(PixelarError, match=r"need about .* GB .* are free; use at most \d+ part"):
        posterior(model, blank, torch.rand(28, 28) < 0.5, particles=1_000_000_000)
    free = available_memory(torch.device("cpu"))
    assert free is None or free > 1e8
    cache = 2 * 2 * 784 * 8 * 8  # blocks × keys and values × sites × width × bytes
    assert 3 * cache < memory_of_row(model) < 4 * cache


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"particles": 0}, "particles must be at least 1"),
        ({"populations": 0}, "populations must be at least 1"),
        ({"resample_below": 1.5}, "from 0 to 1; got 1.5"),
        ({"temperature": -1}, "temperature must be 0 or more"),
    ],
)
def test_mistakes_are_told(options: dict[str, float], message: str) -> None:
    with pytest.raises(PixelarError, match=message):
        posterior(peaked("PixelCNN"), GIVEN, KNOWN, **options)  # type: ignore[arg-type]


def test_impossible_pixels_are_told() -> None:
    model = peaked("PixelCNN", "Categorical")
    with torch.no_grad():
        model.net.get_parameter("out.layers.1.bias")[1] = -1.7e308
    with pytest.raises(PixelarError, match="gives the known pixels probability zero"):
        posterior(model, GIVEN, KNOWN, seed=0)
