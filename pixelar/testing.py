"""Properties that every model must have, as assertions that you can run on your own nets.

Each raises AssertionError with a message that says which site is at fault. They are meant for small
models; weights that start at zero hide bugs, so fill all parameters with noise first (`randomize`).

Example:
    >>> model = tiny_model()
    >>> assert_autoregressive(model)
    >>> assert_cache_equals_forward(model)
    >>> assert_cache_selects(model)
    >>> assert_normalized(model)
    >>> assert_net(model)  # all of these, as far as they apply
"""

import itertools
import math

import torch
from torch import Tensor

from pixelar.caches import Cache, StepsCache, new_cache
from pixelar.caches.base import Rows
from pixelar.model import PixelModel, evaluating
from pixelar.model.tiny import randomize, tiny_model
from pixelar.nets import Net
from pixelar.sampling.schedules.fixed_point import looks_ahead
from pixelar.scoring.analysis import dependencies, gradient_dependencies

__all__ = [
    "assert_autoregressive",
    "assert_cache_equals_forward",
    "assert_cache_selects",
    "assert_net",
    "assert_normalized",
    "assert_uses_labels",
    "randomize",
    "tiny_model",
]


MOST_IMAGES = 1 << 16  # that are enumerated


def assert_autoregressive(model: PixelModel, *, trials: int = 3, seed: int = 0) -> None:
    """Checks that no site depends on itself or on a later one, by perturbation and by gradient, to
    the last bit.
    """
    found = {
        "changes with": dependencies(model, trials=trials, seed=seed),
        "has a gradient from": gradient_dependencies(model, trials=trials, seed=seed),
    }
    for verb, depends in found.items():
        leaks = depends.triu().nonzero().tolist()
        if leaks:
            (t, u), rest = leaks[0], len(leaks) - 1
            raise AssertionError(
                f"{type(model.net).__name__} leaks: site {t} ({_where(model, t)}) {verb} "
                f"site {u} ({_where(model, u)}), which does not come before it; "
                f"{rest} more such pairs"
            )


@torch.no_grad()
def assert_cache_equals_forward(
    model: PixelModel, *, batch: int = 3, tolerance: float | None = None, seed: int = 0
) -> None:
    """Checks that `step`, from the start and after `prefill`, equals `forward`.

    Later sites of the canvas are poisoned with other symbols, and two passes alternate, so a step
    that reads ahead or keeps state in the module is detected. Where a cache has `steps`, that reads
    poisoned symbols ahead, and must discard them later.
    """
    tolerance = tolerance or _tolerance(model)
    generator = torch.Generator().manual_seed(seed)
    scan, net, levels = model.scan, model.net, model.net.levels
    shape = (2, batch, *scan.shape)
    images, poison = (
        torch.randint(levels, shape, generator=generator).to(model.device) for _ in range(2)
    )
    labels = [_some_labels(model, batch, generator) for _ in range(2)]
    keys = list(net.state_dict())
    with evaluating(model):
        expected = [net(x, y) for x, y in zip(images, labels, strict=True)]
        _check_shape(model, expected[0], batch)
        for start in sorted({0, 1, scan.sites // 3, scan.sites // 2 + 1, scan.sites - 1}):
            canvases = poison.clone()
            for canvas, x in zip(canvases, images, strict=True):
                _reveal(model, canvas, x, range(start))
            caches = [new_cache(net, c, y) for c, y in zip(canvases, labels, strict=True)]
            for canvas, cache in zip(canvases, caches, strict=True):
                cache.prefill(canvas, start)
            for t in range(start, scan.sites):
                for canvas, cache, x, params in zip(
                    canvases, caches, images, expected, strict=True
                ):
                    error = float((cache.step(canvas, t) - params[:, t]).abs().max())
                    if not error <= tolerance:
                        raise AssertionError(
                            f"{type(net).__name__}: a step differs from forward by {error:.2e} "
                            f"at site {t} "
                            f"({_where(model, t)}), in a pass from site {start}"
                        )
                    _reveal(model, canvas, x, [t])
            if looks_ahead(net):
                for x, y, other in zip(images, labels, poison, strict=True):
                    _assert_steps_equal_forward(model, x, y, other, start, tolerance)
    assert list(net.state_dict()) == keys, f"{type(net).__name__}: a step added to state_dict"


def _assert_steps_equal_forward(
    model: PixelModel,
    x: Tensor,
    labels: Tensor | None,
    poison: Tensor,
    start: int,
    tolerance: float,
) -> None:
    net, sites = model.net, model.scan.sites
    canvas, expected = poison.clone(), net(x, labels)
    _reveal(model, canvas, x, range(start))
    cache = new_cache(net, canvas, labels)
    assert isinstance(cache, StepsCache)
    cache.prefill(canvas, start)
    final = start
    while final < sites:
        stop = min(final + 5, sites)
        wrong = canvas.clone()
        _reveal(model, canvas, x, range(stop))
        for seen in (wrong, canvas):
            found = cache.steps(seen, final, stop)
        error = float((found - expected[:, final:stop]).abs().max())
        if not error <= tolerance:
            raise AssertionError(
                f"{type(net).__name__}: steps differ from forward by {error:.2e} in sites {final} "
                f"to {stop - 1}, in a pass from site {start}"
            )
        final += 1 + final % 3  # accepts some or all of the sites computed ahead
        final = min(final, stop)


@torch.no_grad()
def assert_cache_selects(
    model: PixelModel, *, tolerance: float | None = None, seed: int = 0
) -> None:
    """Checks that `select` copies, drops and reorders rows, from the start and after `prefill`.

    Rows are selected at several sites, sometimes without changing their number, and each continues
    with its own symbols.
    """
    tolerance = tolerance or _tolerance(model)
    generator = torch.Generator().manual_seed(seed)
    scan, net = model.scan, model.net
    with evaluating(model):
        for start in sorted({0, scan.sites // 2}):
            x = torch.randint(net.levels, (3, *scan.shape), generator=generator).to(model.device)
            labels = _some_labels(model, 3, generator)
            cache = new_cache(net, x, labels)
            cache.prefill(x, start)
            for t in range(start, scan.sites):
                if (t - start) % 3 < 2:  # a batch of another size, then the same one reordered
                    rows = torch.randint(len(x), (2 + t % 4,), generator=generator)
                    if (t - start) % 3 == 1:
                        rows = torch.arange(len(x)).roll(1)
                    rows = rows.to(model.device)
                    cache.select(rows)
                    past = x[rows]
                    _check_rows(net, cache, len(rows))
                    labels = None if labels is None else labels[rows]
                    x = torch.randint(net.levels, past.shape, generator=generator).to(past)
                    _reveal(model, x, past, range(t))
                error = float((cache.step(x, t) - net(x, labels)[:, t]).abs().max())
                if not error <= tolerance:
                    raise AssertionError(
                        f"{type(net).__name__}: a step after select differs from forward by "
                        f"{error:.2e} at site {t} ({_where(model, t)}), in a pass from site {start}"
                    )


def _check_rows(net: Net, cache: Cache[Net], count: int) -> None:
    """Raises AssertionError if a declared field of a cache does not have `count` rows."""
    for name, axis in cache.batch_axis.items():
        value, at = getattr(cache, name), axis.axis if isinstance(axis, Rows) else axis
        if isinstance(value, Tensor) and value.shape[at] != count:
            raise AssertionError(
                f"{type(net).__name__}: after select of {count} rows, {name} of its cache has "
                f"{value.shape[at]}"
            )


def _check_shape(model: PixelModel, params: Tensor, batch: int) -> None:
    expected = (batch, model.scan.sites, model.head.num_params)
    if tuple(params.shape) != expected:
        raise AssertionError(
            f"{type(model.net).__name__}: forward gave {tuple(params.shape)}; "
            f"expected (B, T, P) = {expected}"
        )


@torch.no_grad()
def assert_normalized(
    model: PixelModel, *, tolerance: float = 1e-6, limit: int = MOST_IMAGES
) -> None:
    """Checks Σ p(x) = 1 by enumerating all images of a model, at most `limit`."""
    scan, levels = model.scan, model.net.levels
    count = levels**scan.dims
    if count > limit:
        raise ValueError(f"{count} images are too many to enumerate; use fewer pixels or levels")
    every = torch.tensor(list(itertools.product(range(levels), repeat=scan.dims)))
    x = every.view(count, *scan.shape).to(model.device)
    labels = torch.zeros(count, dtype=torch.long) if model.classes else None
    with evaluating(model):
        total = float(model(x, labels).double().exp().sum())
    if not math.isclose(total, 1, abs_tol=tolerance):
        raise AssertionError(
            f"{type(model.net).__name__}: the probabilities of all {count} images sum to {total}"
        )


@torch.no_grad()
def assert_uses_labels(model: PixelModel, *, seed: int = 0) -> None:
    """Checks that labels change the parameters of each site, in `step` as in `forward`."""
    if not model.classes:
        return
    net, tolerance = model.net, _tolerance(model)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(net.levels, (1, *model.scan.shape), generator=generator)
    x = x.to(model.device).repeat(model.classes, 1, 1, 1)
    labels = torch.arange(model.classes, device=model.device)
    with evaluating(model):
        params = net(x, labels)  # of one image with every label
        for t in range(model.scan.sites):
            same = [k for k in range(1, len(params)) if torch.equal(params[k, t], params[0, t])]
            if same:
                raise AssertionError(
                    f"{type(net).__name__} ignores labels: the parameters of site {t} "
                    f"({_where(model, t)}) are the same for the classes 0 and {same[0]}"
                )
        cache = new_cache(net, x, labels)
        for t in range(model.scan.sites):
            error = float((cache.step(x, t) - params[:, t]).abs().max())
            if not error <= tolerance:
                raise AssertionError(
                    f"{type(net).__name__}: a step uses other labels than forward: it differs by "
                    f"{error:.2e} at site {t} ({_where(model, t)})"
                )


def assert_net(model: PixelModel, *, seed: int = 0) -> None:
    """Checks all of the above, Σ p(x) = 1 only where there are few enough images.

    Parameters should be noise (`randomize`), and dropout is off.
    """
    assert_autoregressive(model, seed=seed)
    assert_cache_equals_forward(model, seed=seed)
    assert_cache_selects(model, seed=seed)
    assert_uses_labels(model, seed=seed)
    if model.net.levels**model.scan.dims <= MOST_IMAGES:
        assert_normalized(model)


def _tolerance(model: PixelModel) -> float:
    """Returns how much two computations of parameters may differ in the model's data type."""
    return 1e-10 if next(model.parameters()).dtype == torch.float64 else 1e-4


def _some_labels(model: PixelModel, batch: int, generator: torch.Generator) -> Tensor | None:
    if not model.classes:
        return None
    return torch.randint(model.classes, (batch,), generator=generator).to(model.device)


def _reveal(model: PixelModel, canvas: Tensor, x: Tensor, sites: range | list[int]) -> None:
    """Copies sites of images x onto a canvas."""
    at = model.scan.index[list(sites)].flatten()
    canvas.view(len(x), -1)[:, at] = x.flatten(1)[:, at]


def _where(model: PixelModel, t: int) -> str:
    """Returns the position of a site in words."""
    _, height, width = model.scan.shape
    channel, pixel = divmod(int(model.scan.index[t, 0]), height * width)
    place = f"row {pixel // width}, column {pixel % width}"
    return place if model.scan.symbols == model.scan.shape[0] else f"{place}, channel {channel}"
