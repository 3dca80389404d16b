"""The demo as people meet it: a real browser, driven by pointer and by keyboard."""

import base64
import http.server
import io
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import served
import zoo
from PIL import Image
from served import Server, serving

import pixelar
from pixelar.data import Digits
from pixelar.demo.inputs.pictures import LIMITS
from pixelar.demo.render.pictures import show
from pixelar.sampling.regions import known_region

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
axe = pytest.importorskip("axe_playwright_python.base", reason="they need axe-playwright-python")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

MODELS = ("digits-gated-pixelcnn", "digits-imagegpt", "binary-mnist-gated-pixelcnn")
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
DARK = {"color_scheme": "dark"}
TIME = """name => {  // when a picture changed after a click, in milliseconds
    const shown = () => document.querySelector(name + ' img')?.src;
    let last = shown(), clicked;
    window.changes = [];
    document.addEventListener("click", () => clicked ??= performance.now(), {capture: true});
    setInterval(() => { if (clicked && shown() && shown() !== last) {
        last = shown(); window.changes.push(performance.now() - clicked);
    } }, 5);
}"""
DROP = """async ([name, files]) => {  // drops files as if they came from a folder's window
    const data = new DataTransfer();
    for (const [title, kind, content] of files) {
        const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
        data.items.add(new File([bytes], title, {type: kind}));
    }
    const target = document.querySelector(name);
    const {x, y, width, height} = target.getBoundingClientRect();
    const where = {dataTransfer: data, bubbles: true, cancelable: true,
        clientX: x + width / 2, clientY: y + height / 2};
    const under = document.elementFromPoint(where.clientX, where.clientY) ?? target;
    for (const kind of ["dragenter", "dragover", "drop"])
        under.dispatchEvent(new DragEvent(kind, where));
}"""
LONG = {"particles": 256, "completions": 8, "region": "Every other row", "method": "particles"}
WATCH = """name => { window.seen = new Set(); setInterval(() => {
    const image = document.querySelector(name + ' img'); if (image) window.seen.add(image.src);
}, 20) }"""


@pytest.fixture(scope="module")
def by_class(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a model that is conditioned on classes."""
    return str(served.conditional_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, by_class: str) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("browser"), *MODELS, by_class) as server:
        yield server
        log = server.log.read_text()
        # a page may be closed while it uploads
        assert log.count("Traceback") == log.count("requests.ClientDisconnect\n"), log


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


class User:
    """A user with the demo open, and the requests and errors of their browser."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:  # noqa: ANN401
        self.url = url.rstrip("/")
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector("#complete-go")
        # the canvas is there some time after the page
        self.page.wait_for_selector("#complete-canvas canvas")
        self.page.wait_for_timeout(1500)

    def close(self) -> None:
        own = (f"{self.url}/", "data:", "blob:")
        outside = [url for url in self.requests if not url.startswith(own)]
        self.context.close()
        assert not outside, "something left the machine"
        assert not self.faults

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def options(self) -> None:
        self.page.get_by_role("button", name="Options").locator("visible=true").click()
        self.page.wait_for_timeout(700)  # no user is faster

    def fill(self, label: str, value: object) -> None:
        """Writes into the visible field of that name."""
        field = self.page.get_by_label(label).locator("visible=true").first
        field.fill(str(value))
        field.press("Tab")

    def choose(self, label: str, value: str) -> None:
        box = self.page.get_by_label(label, exact=True).locator("visible=true").first
        box.click()
        self.page.get_by_role("option", name=value, exact=True).locator("visible=true").click()

    def wait(self, name: str, text: str) -> str:
        """Waits until a part of the page says something, and returns all that it says."""
        self.page.wait_for_function(
            "([name, text]) => document.querySelector(name)?.innerText.includes(text)",
            arg=[name, text],
        )
        return str(self.page.locator(name).inner_text())

    def picture(self, name: str) -> np.ndarray:
        """Returns the picture that a part of the page shows, RGB."""
        self.page.wait_for_selector(f"{name} img")
        address = self.page.locator(f"{name} img").get_attribute("src")
        return np.asarray(Image.open(io.BytesIO(self.page.request.get(address).body())))[..., :3]

    def until(self, name: str, shape: tuple[int, int], test: Any) -> np.ndarray:  # noqa: ANN401
        """Waits until the pixels of a shape (H, W) that a picture shows are as they should be."""
        for _ in range(120):
            picture = self.picture(name)
            k = picture.shape[0] // shape[0]
            pixels = picture[k // 2 :: k, k // 2 :: k][: shape[0], : shape[1]].astype(int)
            if test(pixels):
                return pixels
            self.page.wait_for_timeout(250)
        raise AssertionError(f"{name} does not show what it should: {pixels[..., 0]}")

    @contextmanager
    def changed(self, name: str) -> Iterator[None]:
        """Waits, at the end, until a part of the page shows another picture than before."""
        address = self.page.locator(f"{name} img").get_attribute("src")
        yield
        changed = "([name, before]) => document.querySelector(name + ' img')?.src != before"
        self.page.wait_for_function(changed, arg=[name, address])

    def stroke(self, *points: tuple[float, float]) -> None:
        """Paints from point to point, in fractions of the canvas's picture."""
        canvas = self.page.locator("#complete-canvas canvas").first
        canvas.scroll_into_view_if_needed()
        self.page.locator("#complete-canvas button[aria-label='Brush']").first.click()
        box = canvas.bounding_box()
        side, mouse = min(box["width"], 448), self.page.mouse
        left = box["x"] + (box["width"] - side) / 2
        top = box["y"] + (box["height"] - side) / 2
        places = [(left + x * side, top + y * side) for x, y in points]
        mouse.move(*places[0])
        mouse.down()
        for place in places:
            mouse.move(*place, steps=6)
        mouse.up()


@pytest.fixture
def user(browser: Any, demo: Server) -> Iterator[User]:  # noqa: ANN401
    user = User(browser, demo.url, viewport={"width": 1280, "height": 900})
    yield user
    user.close()


def hatched(pixels: np.ndarray) -> np.ndarray:
    """Returns which pixels are shown as unknown: they alone are coloured, and blue."""
    return pixels[..., 2] > pixels[..., 0] + 40


def test_upload_paint_complete_and_download(user: User, tmp_path: Path) -> None:
    half = np.zeros((90, 120), np.uint8)
    half[:, 60:] = 255
    Image.fromarray(half).save(tmp_path / "half.png")
    page = user.page
    canvas, own = (page.locator(f"#complete-canvas{part}").first for part in (" canvas", ""))
    assert canvas.bounding_box()["width"] <= own.bounding_box()["width"]
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Upload a picture").click()
    chooser.value.set_files(tmp_path / "half.png")
    seen = user.until("#complete-seen", (8, 8), lambda p: (p[0, 5:] == 255).all())
    assert not seen[0, :3].any() and hatched(seen)[4:].all() and not hatched(seen)[:4].any()
    user.stroke((0.3, 0.5), (0.5, 0.5))
    user.until(
        "#complete-seen", (8, 8), lambda p: hatched(p)[3:5].any() and not hatched(p)[7].any()
    )
    assert page.get_by_label("Painted").is_checked()
    user.options()
    user.fill("Seed", 7)
    page.evaluate(WATCH, "#complete-result")
    page.click("#complete-go")
    text = user.wait("#complete-status", "seed 7")
    assert text.startswith("Particles · 4 completions in") and "log p(known)" in text
    assert page.evaluate("() => window.seen.size") >= 2
    assert "--method particles --particles 32 -n 4 --seed 7" in " ".join(
        user.wait("#complete-command", "--seed").split()
    )
    with page.expect_download() as download:
        page.get_by_text("All files (ZIP)").locator("visible=true").click()
    assert Path(download.value.path()).stat().st_size > 1000


@pytest.mark.full
def test_choosing_a_region_takes_the_marks_away(user: User) -> None:
    user.stroke((0.3, 0.3), (0.7, 0.3))
    user.until("#complete-seen", (8, 8), lambda p: hatched(p)[2].any() and not hatched(p)[7].any())
    user.page.get_by_label("Right half").check()
    user.until("#complete-seen", (8, 8), lambda p: hatched(p)[:, 4:].all())
    user.page.wait_for_timeout(1000)
    assert not hatched(user.until("#complete-seen", (8, 8), lambda p: True))[:, :4].any()


@pytest.mark.full
def test_a_late_answer_does_not_undo_a_choice(user: User) -> None:
    """What the canvas told before a region was chosen is answered only after that."""
    page = user.page
    held: list[Any] = []
    config = httpx.get(f"{user.url}/config", timeout=60).json()
    (late,) = [f["id"] for f in config["dependencies"] if f["api_name"] == "notice_paint"]

    def hold(route: Any) -> None:  # noqa: ANN401
        own = (route.request.post_data_json or {}).get("fn_index") == late and not held
        held.append(route) if own else route.continue_()

    page.route("**/run/predict*", hold)
    page.locator(".thumbnails button").locator("visible=true").nth(1).click()
    for _ in range(100):
        page.wait_for_timeout(50)
        if held:
            break
    page.get_by_label("Right half").check()
    user.until("#complete-seen", (8, 8), lambda p: hatched(p)[:, 4:].all())
    held[0].continue_()
    page.wait_for_timeout(1500)
    assert page.get_by_label("Right half").is_checked()
    assert hatched(user.until("#complete-seen", (8, 8), lambda p: True))[:, 4:].all()


def test_the_last_look_is_never_left_out(demo: Server) -> None:
    """By default, a request made while an answer is under way is dropped."""
    config = httpx.get(f"{demo.url}/config", timeout=60).json()
    looks = [f for f in config["dependencies"] if str(f["api_name"]).startswith("look")]
    assert len(looks) > 3
    assert {f["trigger_mode"] for f in looks} == {"always_last"}


def test_draw_from_nothing(user: User) -> None:
    user.page.locator(".thumbnails button").locator("visible=true").last.click()
    user.until("#complete-seen", (8, 8), lambda p: not p[:4].any())
    user.page.locator("#complete-canvas button[aria-label='Brush']").first.click()
    user.page.locator("#complete-canvas button[aria-label='Color']").first.click()
    user.page.get_by_label("White ink").first.click()
    user.stroke((0.2, 0.2), (0.8, 0.2))
    seen = user.until("#complete-seen", (8, 8), lambda p: (p[1, 2:6] > 100).all())
    assert hatched(seen)[4:].all() and user.page.get_by_label("Bottom half").is_checked()


def test_paste(browser: Any, demo: Server) -> None:  # noqa: ANN401
    user = User(browser, demo.url, permissions=["clipboard-read", "clipboard-write"])
    user.page.evaluate("""async () => {
        const canvas = Object.assign(document.createElement('canvas'), {width: 80, height: 80});
        const pen = canvas.getContext('2d');
        pen.fillStyle = 'white'; pen.fillRect(0, 0, 80, 80);
        const blob = await new Promise(done => canvas.toBlob(done, 'image/png'));
        await navigator.clipboard.write([new ClipboardItem({'image/png': blob})]);
    }""")
    user.page.locator("#complete-canvas button[aria-label='Clear canvas']").first.click()
    user.wait(".gradio-container", "No picture yet")
    user.page.locator("#complete-canvas button[aria-label='Paste']").first.click()
    user.until("#complete-seen", (8, 8), lambda p: (p[:4] == 255).all())
    user.close()


def test_stop(user: User) -> None:
    page = user.page
    user.choose("Model", MODELS[1])
    page.get_by_label("Every other row").check()
    user.options()
    page.get_by_label("particles", exact=True).check()
    user.fill("number input for Particles of each completion", 256)
    user.fill("number input for Completions", 8)
    page.click("#complete-go")
    page.wait_for_function("() => document.querySelector('progress')?.value > 0")
    page.click("#complete-stop")
    user.wait("#complete-note", "Stopped.")
    page.wait_for_timeout(1000)
    before = page.evaluate("() => document.querySelector('progress').value")
    page.wait_for_timeout(1500)
    assert page.evaluate("() => document.querySelector('progress').value") == before < 1
    assert page.locator("#complete-status").is_hidden()  # nothing is said of what was stopped
    user.tab("Sample")
    page.click("#sample-go")  # the model is free again
    user.wait("#sample-status", "20 samples in")


def test_understand_a_pixel(user: User) -> None:
    user.tab("Understand")
    page = user.page
    page.locator(".thumbnails button").locator("visible=true").nth(2).click()
    before = user.wait("#understand-headline", "bits/dim")
    user.choose("Model", MODELS[1])
    page.wait_for_function(
        "before => document.querySelector('#understand-headline').innerText != before", arg=before
    )
    assert "test set" in user.wait("#understand-headline", "bits in all")
    assert page.locator("#understand-plots svg").count() == 2
    image = page.locator("#understand-seen img")
    image.scroll_into_view_if_needed()
    box = image.bounding_box()
    page.mouse.click(box["x"] + 5.5 / 8 * box["width"], box["y"] + 2.5 / 8 * box["height"])
    assert "The prediction depends on 21 pixels" in user.wait("#pixel-text", "Row 2, column 5:")
    assert page.locator("#pixel-row input").input_value() == "2"
    assert page.locator("#pixel-column input").input_value() == "5"
    seen = user.until("#pixel-looked", (8, 8), lambda p: p[1, 5, 0] > 0)
    assert not seen[3:, :, 0].any(), "later rows are not seen"
    assert "The true level" in page.locator("#pixel-chart svg").get_attribute("aria-label")


@pytest.mark.full
def test_sample_grows(user: User) -> None:
    user.tab("Sample")
    user.choose("Model", MODELS[2])
    user.fill("number input for Samples", 8)
    user.page.evaluate(WATCH, "#sample-result")
    user.page.click("#sample-go")
    user.wait("#sample-status", "8 samples in")
    assert user.page.evaluate("() => window.seen.size") >= 3


def test_keyboard_alone(user: User) -> None:
    """Everything is reached by Tab and arrows, from where the page begins."""
    page, keys = user.page, user.page.keyboard

    def go_to(name: str, most: int = 80) -> None:
        for _ in range(most):
            keys.press("Tab")
            if page.evaluate("name => !!document.activeElement?.closest(name)", name):
                return
        raise AssertionError(f"{name} cannot be reached with Tab")

    def begin() -> None:
        page.evaluate("() => { document.activeElement.blur(); window.scrollTo(0, 0); }")
        page.mouse.click(2, 2)  # outside everything: Tab goes on from there

    def go_to_tab(name: str) -> None:
        begin()
        for _ in range(3):
            go_to("button[role='tab']", 1)
            if page.evaluate("() => document.activeElement.innerText") == name:
                break
        keys.press("Enter")
        page.locator(f"button[role='tab'][aria-selected='true']:has-text('{name}')").wait_for()

    choosers: list[Any] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.locator(".thumbnails button").locator("visible=true").first.wait_for()
    begin()
    go_to(".thumbnails button")
    keys.press("Tab")
    with user.changed("#complete-seen"):
        keys.press("Enter")  # the second example
    go_to("#complete-upload")
    keys.press("Enter")
    page.wait_for_timeout(500)
    assert choosers
    go_to("input[value='Right half']")
    keys.press("Space")
    user.until("#complete-seen", (8, 8), lambda p: hatched(p)[:, 4:].all())
    go_to("#complete-go")
    keys.press("Enter")
    user.wait("#complete-status", "seed")
    keys.press("Enter")
    go_to("#complete-stop")
    keys.press("Enter")
    user.wait("#complete-note", "Stopped.")
    go_to_tab("Understand")
    go_to("#pixel-row input")
    keys.press("Control+a")
    keys.type("1")
    go_to("#pixel-column input")
    keys.press("Control+a")
    keys.type("6")
    go_to("#pixel-look")
    keys.press("Space")
    user.wait("#pixel-text", "Row 1, column 6:")
    go_to_tab("Sample")
    go_to("#sample-go")
    keys.press("Enter")
    user.wait("#sample-status", "samples in")


@pytest.mark.full
def test_two_users_at_once(browser: Any, demo: Server) -> None:  # noqa: ANN401
    """The results of two users who work at once are what the library draws for each of them."""
    users = [User(browser, demo.url) for _ in range(2)]
    for user, model, seed in zip(users, MODELS, (1, 2), strict=False):
        user.choose("Model", model)
        user.page.get_by_label("Centre box").check()
        user.options()
        user.fill("Seed", seed)
    for user in users:
        user.page.click("#complete-go")
    digit = Digits().split("test")
    assert digit.labels is not None
    image = digit.images[(digit.labels == 2).nonzero()[0]]
    known = known_region("frame", 8, 8)
    for user, model, seed in zip(users, MODELS, (1, 2), strict=False):
        user.wait("#complete-status", f"seed {seed}")
        given = image.repeat(4, 1, 1, 1)
        drawn = pixelar.complete(pixelar.load(model), given, known, particles=32, seed=seed)
        grid = show(drawn, side=336, columns=2)
        assert np.array_equal(user.picture("#complete-result"), np.asarray(grid)[..., :3])
        user.close()


@pytest.mark.full
def test_a_phone(browser: Any, demo: Server) -> None:  # noqa: ANN401
    user = User(browser, demo.url, **PHONE)
    for name in ("Complete", "Understand", "Sample"):
        user.tab(name)
        user.page.wait_for_timeout(700)
        assert user.page.evaluate("document.documentElement.scrollWidth") <= 390, name
    user.page.click("#sample-go")
    user.wait("#sample-status", "samples in")
    user.tab("Complete")
    user.stroke((0.3, 0.3), (0.6, 0.6))
    user.until("#complete-seen", (8, 8), lambda p: hatched(p)[3].any() and not hatched(p)[7].any())
    user.page.click("#complete-go")
    user.wait("#complete-status", "completions in")
    assert user.page.evaluate("document.documentElement.scrollWidth") <= 390
    user.close()


@pytest.mark.parametrize("look", zoo.quick([{}, DARK, PHONE], {}), ids=["light", "dark", "phone"])
def test_axe_finds_no_violation(browser: Any, demo: Server, look: dict[str, Any]) -> None:  # noqa: ANN401
    user = User(browser, demo.url, **look)
    page = user.page
    assert page.evaluate("document.body.classList.contains('dark')") == (look is DARK)
    user.options()
    page.click("#complete-go")
    user.wait("#complete-command", "--seed")
    found = {}
    page.evaluate(axe.AXE_SCRIPT)
    for name in ("Complete", "Understand", "Sample"):
        user.tab(name)
        page.wait_for_timeout(800)
        result = page.evaluate("tags => axe.run({runOnly: {type: 'tag', values: tags}})", TAGS)
        for fault in result["violations"]:
            for node in fault["nodes"]:
                found[name, fault["id"], str(node["target"])] = node["html"][:160]
    user.close()
    assert not found, "\n".join(f"{key}: {html}" for key, html in found.items())


@pytest.mark.full
def test_the_api_page_opens(user: User) -> None:
    user.page.get_by_text("Use via API").click()
    user.wait(".api-docs", "/understand")


def test_a_mistake_is_told(user: User) -> None:
    user.page.get_by_label("Painted").check()
    user.wait("#component-0, .gradio-container", "Nothing is painted yet")
    user.page.click("#complete-go")
    user.page.wait_for_selector("text=There is nothing to redraw")


@pytest.mark.full
def test_the_first_frame_comes_soon(browser: Any, demo: Server) -> None:  # noqa: ANN401
    user = User(browser, demo.url)
    user.choose("Model", MODELS[2])
    user.page.get_by_label("Centre box").check()
    user.page.wait_for_timeout(1500)
    user.page.evaluate(TIME, "#complete-result")
    user.page.click("#complete-go")
    user.wait("#complete-status", "completions in")
    first, second, *more = user.page.evaluate("() => window.changes")
    print(f"{first:.0f} ms until something is shown, {second:.0f} ms until something is drawn")
    assert first < 3000 and second < 5000 and more
    user.close()


@pytest.mark.full
def test_who_leaves_lets_the_next_begin(browser: Any, demo: Server) -> None:  # noqa: ANN401
    user = User(browser, demo.url)
    user.choose("Model", MODELS[1])
    user.page.get_by_label("Every other row").check()
    user.options()
    user.page.get_by_label("particles", exact=True).check()
    user.fill("number input for Particles of each completion", 256)
    user.fill("number input for Completions", 8)
    other = User(browser, demo.url)
    other.page.evaluate(TIME, "#complete-result")
    user.page.click("#complete-go")
    user.page.wait_for_function("() => document.querySelector('progress')?.value > 0")
    user.close()
    other.page.click("#complete-go")
    other.wait("#complete-status", "completions in")
    first, second, *_ = other.page.evaluate("() => window.changes")
    print(f"{first:.0f} ms until something is shown, {second:.0f} ms until something is drawn")
    assert first < 5000
    other.close()
    served.until(demo.idle, 10)


@pytest.mark.full
def test_a_full_queue_is_told(user: User, demo: Server) -> None:
    user.page.wait_for_selector("#complete-result img")
    with ExitStack() as stack:
        for _ in range(17):  # one of them is served
            events = stack.enter_context(closing(demo.events("complete", model=MODELS[1], **LONG)))
            assert next(events)[0] == "waiting"
        user.page.click("#complete-go")
        user.page.wait_for_selector("text=/currently busy. Please try again/")
    user.page.wait_for_timeout(1500)
    user.page.click("#complete-go")  # they have left
    user.wait("#complete-status", "completions in")


@pytest.mark.full
def test_classes_are_offered_where_a_model_knows_them(user: User, by_class: str) -> None:
    page = user.page
    field = page.get_by_label("Class", exact=True).locator("visible=true")
    assert field.count() == 0
    user.choose("Model", by_class)
    field.wait_for()
    assert field.input_value() == "likeliest"
    user.choose("Class", "3")
    page.click("#complete-go")
    assert "--label 3 " in " ".join(user.wait("#complete-command", "--label").split())
    user.choose("Model", MODELS[1])
    field.wait_for(state="hidden")
    page.click("#complete-go")
    page.wait_for_function(
        "() => !document.querySelector('#complete-command').innerText.includes('--label')"
    )
    user.tab("Sample")
    assert field.count() == 0
    user.choose("Model", by_class)
    field.wait_for()
    assert field.input_value() == "each in turn"
    page.click("#sample-go")
    user.wait("#sample-status", "20 samples in")
    turns = user.picture("#sample-result")
    user.choose("Class", "5")
    with user.changed("#sample-result"):
        page.click("#sample-go")
    user.wait("#sample-status", "20 samples in")
    assert not np.array_equal(turns, user.picture("#sample-result"))
    user.tab("Understand")
    assert field.count() == 0
    user.choose("Model", by_class)
    field.wait_for()
    user.choose("Class", "4")
    user.wait("#understand-headline", "Scored as class 4")


@pytest.mark.parametrize("empty", zoo.quick([True, False], True), ids=["empty", "full"])
def test_a_file_is_dropped(user: User, empty: bool) -> None:
    if empty:
        user.page.locator("#complete-canvas button[aria-label='Clear canvas']").first.click()
        user.wait(".gradio-container", "No picture yet")
        user.page.wait_for_timeout(500)
    file = io.BytesIO()
    Image.new("L", (80, 80), 255).save(file, "PNG")
    content = base64.b64encode(file.getvalue()).decode()
    user.page.evaluate(DROP, ["#complete-canvas", [["white.png", "image/png", content]]])
    user.until("#complete-seen", (8, 8), lambda p: (p[:4] == 255).all())


@pytest.mark.full
def test_a_file_that_is_no_picture_is_told(user: User, tmp_path: Path) -> None:
    page, sentence = user.page, "The picture cannot be read"
    bad, large, good = (tmp_path / name for name in ("text.png", "large.png", "white.png"))
    bad.write_text("This is no picture.")
    large.write_bytes(bytes(6_000_000))
    Image.new("L", (80, 80), 255).save(good)

    def bring(file: Path) -> None:
        with page.expect_file_chooser() as chooser:
            page.get_by_text("Upload a picture").click()
        chooser.value.set_files(file)

    before = user.picture("#complete-seen")
    bring(bad)
    assert LIMITS in user.wait("#complete-refusal", sentence)
    bring(large)
    page.wait_for_selector("text=/exceed the maximum allowed size/")
    page.wait_for_timeout(500)
    assert np.array_equal(user.picture("#complete-seen"), before)
    bring(good)
    user.until("#complete-seen", (8, 8), lambda p: (p[:4] == 255).all())
    page.wait_for_selector("#complete-refusal", state="hidden")
    user.tab("Understand")
    page.locator("#understand-picture input[type=file]").first.set_input_files(bad)
    page.locator(".toast-body", has_text=sentence).first.wait_for()


def test_limits_are_told(user: User) -> None:
    for name in ("Complete", "Understand"):
        user.tab(name)
        user.page.get_by_text(LIMITS).locator("visible=true").first.wait_for()


class ProxyServer(http.server.ThreadingHTTPServer):
    demo: str  # its address


class Proxy(http.server.BaseHTTPRequestHandler):
    """Shows the demo at `server.demo` below a path, as docs/demo.md has a web server do."""

    server: ProxyServer
    below = "/pixelar/"

    def do_GET(self) -> None:
        if not self.path.startswith(self.below):
            self.send_error(404)
            return
        host = self.headers["Host"]
        skipped = ("connection", "host", "content-length", "accept-encoding")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in skipped}
        headers |= {"Host": host, "X-Forwarded-Host": host, "X-Forwarded-Proto": "http"}
        address = f"{self.server.demo}/{self.path.removeprefix(self.below)}"
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = httpx.stream(
            self.command, address, headers=headers, content=content, timeout=None, trust_env=False
        )
        with suppress(OSError, httpx.HTTPError), asked as answer:  # whichever event ends it
            self.send_response(answer.status_code)
            for key, value in answer.headers.items():
                if key.lower() not in ("connection", "transfer-encoding", "date", "server"):
                    self.send_header(key, value)
            self.end_headers()
            for part in answer.iter_raw():
                self.wfile.write(part)
                self.wfile.flush()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.mark.full
def test_below_a_path_of_a_proxy(browser: Any, tmp_path: Path) -> None:  # noqa: ANN401
    arguments = (MODELS[0], "--root-path", "/pixelar")
    server = ProxyServer(("127.0.0.1", 0), Proxy)
    with serving(tmp_path, *arguments) as demo, server:
        server.demo = demo.url
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            user = User(browser, f"http://127.0.0.1:{server.server_port}/pixelar/")
            user.page.get_by_label("Right half").check()
            user.until("#complete-seen", (8, 8), lambda p: hatched(p)[:, 4:].all())
            user.page.click("#complete-go")
            user.wait("#complete-status", "completions in")
            with user.page.expect_download() as download:
                user.page.get_by_text("Picture (PNG)").locator("visible=true").click()
            assert Image.open(download.value.path()).size[0] > 100
            user.close()  # checks that all requests are below the path
        finally:
            server.shutdown()
