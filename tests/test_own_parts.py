"""Nets, heads and quantizers from outside of the package: recorded, saved, trusted, refused."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pixelar
from pixelar.common.arguments import Recorded
from pixelar.errors import PixelarError
from pixelar.heads import Categorical
from pixelar.io.folders import fingerprint
from pixelar.io.verify import check_description
from pixelar.model import PixelModel, describe_model
from pixelar.model.describe import foreign_classes
from pixelar.nets import ImageGPT, Net
from pixelar.quantizers import Identity
from pixelar.scan import Scan, build_scan
from pixelar.testing import randomize

pytestmark = pytest.mark.faults

SCAN = build_scan("raster", (1, 4, 4))
X = torch.randint(4, (3, 1, 4, 4), generator=torch.Generator().manual_seed(0))


class PassesOn(ImageGPT):
    """A net that passes on all its arguments."""

    def __init__(self, *positional: Any, **named: Any) -> None:  # noqa: ANN401
        super().__init__(*positional, **named)


class Inherits(ImageGPT):
    """A net that has no constructor of its own."""


class Positional(ImageGPT):
    """A net whose arguments may be given by position, and are not kept as attributes."""

    def __init__(self, grid: Scan, values: int, out: int, size: int = 8, parts: int = 1) -> None:
        super().__init__(grid, values, out, width=size, depth=1, heads=parts)


class Stranger(Net):
    """A net that shares nothing with ours: every site gets the same learned parameters."""

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        shift: float,
        sizes: Sequence[int] = (1, 2),
    ) -> None:
        super().__init__(scan, levels, out_features)
        self.embed = nn.Embedding(levels, 1)
        self.out = nn.Parameter(torch.zeros(out_features))
        self.added = shift

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        seen = self.embed(self.scan.gather(x)[..., 0])  # (B, T, 1)
        before = seen.cumsum(1) - seen
        return before + self.out + self.added


class Warmer(Categorical):
    """A head with an argument."""

    def __init__(self, levels: int, symbols: int, *, warmth: float = 1.0) -> None:
        super().__init__(levels, symbols)
        self.by = warmth

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return super().log_prob(params / self.by, x)

    def log_pmf(self, params: Tensor, prefix: Tensor) -> Tensor:
        return super().log_pmf(params / self.by, prefix)


class Greys(Identity):
    """A quantizer of the user's own."""


NETS: dict[str, Callable[[], Net]] = {
    "passes on": lambda: PassesOn(SCAN, 4, 4, width=8, depth=1, heads=2),
    "inherits": lambda: Inherits(SCAN, 4, 4, width=8, depth=1, heads=2),
    "positional": lambda: Positional(SCAN, 4, 4, 16, 4),
    "by keyword": lambda: Positional(SCAN, values=4, out=4, parts=2),
    "stranger": lambda: Stranger(SCAN, 4, 4, shift=0.5, sizes=(3, 4)),
}


def model_of(net: Net, head: Any = None, quantizer: Any = None) -> PixelModel:  # noqa: ANN401
    parts = head or Categorical(4, 1), quantizer or Identity(levels=4)
    return randomize(PixelModel(net, *parts, (1, 4, 4))).float().eval()


@pytest.mark.parametrize("name", NETS)
def test_a_net_of_ones_own_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    model = model_of(NETS[name]())
    pixelar.save(model, tmp_path)
    again = pixelar.load(tmp_path, trust=foreign_classes(model))
    assert type(again.net) is type(model.net)
    assert torch.equal(again(X), model(X)) and fingerprint(again) == fingerprint(model)


def test_heads_and_quantizers_of_ones_own_come_back(tmp_path: Path) -> None:
    model = model_of(NETS["inherits"](), Warmer(4, 1, warmth=3.0), Greys(levels=4))
    pixelar.save(model, tmp_path)
    again = pixelar.load(tmp_path, trust={"Inherits": Inherits, "Warmer": Warmer, "Greys": Greys})
    assert torch.equal(again(X), model(X))
    with pytest.raises(PixelarError, match="head Warmer is not part of pixelar"):
        pixelar.load(tmp_path, trust={"Inherits": Inherits, "Greys": Greys})


def test_classes_that_are_not_trusted_are_named(tmp_path: Path) -> None:
    pixelar.save(model_of(NETS["stranger"]()), tmp_path)
    with pytest.raises(
        PixelarError, match=rf"net Stranger .*{__name__}\.Stranger.*trust=.*--trust"
    ):
        pixelar.load(tmp_path)
    for wrong in (Categorical, len, "Stranger"):
        with pytest.raises(PixelarError, match="trust: Stranger must be a subclass of Net"):
            pixelar.load(tmp_path, trust={"Stranger": wrong})  # type: ignore[dict-item]


def test_a_class_with_the_name_of_ours_is_not_taken_for_it(tmp_path: Path) -> None:
    namesake = type("ImageGPT", (Inherits,), {})
    model = model_of(namesake(SCAN, 4, 4, width=8, depth=1, heads=2))
    pixelar.save(model, tmp_path)
    with pytest.raises(PixelarError, match="net ImageGPT is not part of pixelar"):
        pixelar.load(tmp_path)
    assert type(pixelar.load(tmp_path, trust={"ImageGPT": namesake}).net) is namesake
    # otherwise a later test's config would find two classes of one name
    namesake.__name__ = namesake.__qualname__ = "Namesake"


def test_arguments_that_cannot_be_recorded_are_refused() -> None:
    with pytest.raises(PixelarError, match=r"Stranger: shift must be a number.*got Tensor"):
        describe_model(model_of(Stranger(SCAN, 4, 4, shift=torch.ones(()))))  # type: ignore[arg-type]
    with pytest.raises(PixelarError, match="Stranger: sizes must be"):
        describe_model(
            model_of(
                Stranger(SCAN, 4, 4, shift=1.0, sizes=len)  # type: ignore[arg-type]
            )
        )
    nameless = type("Nameless", (PassesOn,), {"__init__": lambda self, *a: init(self, *a)})

    def init(self: Any, *given: Any) -> None:  # noqa: ANN401
        ImageGPT.__init__(self, *given[:3], width=given[3], depth=1, heads=1)

    with pytest.raises(PixelarError, match=r"was given \(8,\) without a name"):
        describe_model(model_of(nameless(SCAN, 4, 4, 8)))


def test_models_that_do_not_come_back_are_not_saved(tmp_path: Path) -> None:
    """A net that depends on more than its arguments, in a way that no shape of a weight shows."""
    heads = [2]

    class Ambient(ImageGPT):
        def __init__(self, scan: Scan, levels: int, out_features: int) -> None:
            super().__init__(scan, levels, out_features, width=8, depth=1, heads=heads[0])

    fresh = PixelModel(Ambient(SCAN, 4, 4), Categorical(4, 1), Identity(levels=4), (1, 4, 4))
    check_description(fresh)
    trained = model_of(fresh.net)
    heads[0] = 4
    with pytest.raises(PixelarError, match="gives other likelihoods than the one that was saved"):
        pixelar.save(trained, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    # before training, when the output layer is zero and hides the difference
    with torch.no_grad():
        trained.net.out.weight.zero_()  # type: ignore[union-attr, operator]
    with pytest.raises(PixelarError, match="gives other likelihoods"):
        check_description(trained)


def test_the_outermost_constructor_is_what_is_recorded() -> None:
    class Base(Recorded):
        def __init__(self, a: int, *, b: int = 2) -> None:
            pass

    class Derived(Base):
        def __init__(self, *args: int, c: int = 3, **kwargs: int) -> None:
            super().__init__(*args, b=7, **kwargs)

    assert Base(1).arguments() == {"a": 1, "b": 2}
    assert Derived(a=1).arguments() == {"c": 3, "a": 1}
