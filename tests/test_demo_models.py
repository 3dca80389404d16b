"""Every packaged model in a real browser: it shows pictures of its own, and Stop leaves no mess."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zoo
from served import Server, serving

import pixelar
from pixelar.demo.inputs.canvas import settle
from pixelar.demo.inputs.examples import examples
from pixelar.hub.index import packaged

pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
from test_demo_browser import CHROMIUM, User, browser, hatched  # noqa: F401

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
NAMES = sorted(packaged())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("models"), *NAMES) as server:
        yield server
        log = server.log.read_text()
        assert log.count("Traceback") == log.count("requests.ClientDisconnect\n"), log


@pytest.fixture(scope="module")
def user(browser: Any, demo: Server) -> Iterator[User]:  # noqa: ANN401, F811
    user = User(browser, demo.url, viewport={"width": 1280, "height": 900})
    yield user
    user.close()


def own_example(name: str) -> np.ndarray:
    """Returns a model's first example as its input, int (H, W, C)."""
    model = pixelar.load(name)
    picture, _ = examples(name, model)[0]
    seen = model.quantizer.decode(model.encode(settle(picture, model)))[0]
    return seen.movedim(0, -1).numpy().astype(int)


@pytest.mark.parametrize("name", zoo.quick([*NAMES[1:], NAMES[0]], "emoji-gated-pixelcnn"))
def test_a_model_shows_its_own_example(user: User, name: str) -> None:
    """One page is switched through all models, on both tabs that hold a picture."""
    example = own_example(name)
    shape, half = example.shape[:2], example.shape[0] // 2

    def is_shown(pixels: np.ndarray) -> bool:
        return bool(
            (np.abs(pixels[:half] - example[:half]) <= 1).all() and hatched(pixels)[half:].all()
        )

    user.tab("Complete")
    user.choose("Model", name)
    user.until("#complete-seen", shape, is_shown)
    user.page.wait_for_timeout(700)  # and stays: no late event brings the other back
    user.until("#complete-seen", shape, is_shown)
    user.tab("Understand")
    user.choose("Model", name)
    user.until(
        "#understand-seen", shape, lambda pixels: np.array_equal(pixels, example + 0 * pixels)
    )
    user.wait("#understand-headline", "bits/dim")


def test_stop_leaves_a_clean_page(user: User) -> None:
    page = user.page
    user.tab("Complete")
    user.choose("Model", "digits-imagegpt")
    page.click("#complete-go")
    user.wait("#complete-command", "--seed")
    page.get_by_text("All files (ZIP)").locator("visible=true").wait_for()
    user.choose("Model", "mnist-imagegpt")
    page.get_by_label("Every other row").check()
    user.options()
    page.get_by_label("particles", exact=True).check()
    user.fill("number input for Particles of each completion", 128)
    page.click("#complete-go")
    page.wait_for_function("() => document.querySelector('progress')?.value > 0")
    page.locator(".done progress").wait_for()  # the bar is visible
    page.click("#complete-stop")
    user.wait("#complete-note", "Stopped.")
    drawn = user.picture("#complete-result")
    page.wait_for_timeout(1000)
    for part in (".done progress", "#complete-command", "#complete-status"):
        assert not page.locator(part).locator("visible=true").count(), part
    assert not page.get_by_text("All files (ZIP)").locator("visible=true").count()
    assert not page.get_by_text("Picture (PNG)").locator("visible=true").count()
    assert user.picture("#complete-result").shape == drawn.shape, "what was drawn stays"
    page.get_by_label("Bottom half").check()
    user.choose("Model", "digits-imagegpt")
    page.get_by_label("auto", exact=True).check()
    page.click("#complete-go")
    user.wait("#complete-status", "seed")
    assert page.locator("#complete-command").is_visible()
    assert page.locator("#complete-note").is_hidden()
