"""What people may do to the demo, and what happens then: a sentence, and nothing else."""

import http.client
import http.server
import io
import os
import pickle
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path

import httpx
import numpy as np
import pytest
import served
import torch
from fixtures import noise
from PIL import Image
from served import Answer, Server, canvas, serving

from pixelar.cli import main
from pixelar.demo.inputs.pictures import LIMITS
from pixelar.demo.server.serve import checked_host, free_port
from pixelar.demo.server.storage import private_folder, sweep
from pixelar.errors import PixelarError

REPOSITORY = Path(__file__).parent.parent

# settings that open an app up, which may have been made for another one
CARELESS = {
    "GRADIO_ALLOWED_PATHS": "/",
    "GRADIO_SHARE": "True",
    "GRADIO_MCP_SERVER": "True",
    "GRADIO_SERVER_NAME": "0.0.0.0",
    "GRADIO_NUM_WORKERS": "1",
    "GRADIO_ANALYTICS_ENABLED": "True",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("demo")
    with serving(folder, served.small_model(folder), environment=CARELESS) as server:
        yield server
        log = server.log.read_text()
    assert "Exception in ASGI application" not in log


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, content: bytes = b"") -> bytes:
    """Returns a PNG file of one bit per pixel that claims a size, whatever it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", content), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def blank_png(width: int, height: int) -> bytes:
    """Returns a whole and small PNG file of many pixels."""
    return png(width, height, zlib.compress(bytes((width + 7) // 8 + 1) * height, 9))


def bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def gif(width: int, height: int) -> bytes:
    screen = struct.pack("<HHBBB", width, height, 0, 0, 0)
    frame = struct.pack("<BHHHHBB", 0x2C, 0, 0, width, height, 0, 8)
    return b"GIF89a" + screen + frame + b"\x00;"


def picture(mode: str = "RGB", size: tuple[int, int] = (30, 20)) -> Image.Image:
    return Image.fromarray(noise(size[1], size[0], 3)).convert(mode)


def animation() -> bytes:
    frames = [picture("P", (16, 16)), picture("L", (16, 16))]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=0)


GOOD: dict[str, Callable[[], bytes]] = {
    "good.png": lambda: encoded(picture()),
    "one.png": lambda: encoded(picture(size=(1, 1))),
    "thin.png": lambda: encoded(picture(size=(3000, 3))),
    "cmyk.jpg": lambda: encoded(picture("CMYK"), "JPEG"),
    "palette.png": lambda: encoded(picture("P")),
    "deep.png": lambda: encoded(Image.fromarray(noise(20, 30).astype(np.uint16) * 257)),
    "alpha.png": lambda: encoded(picture("LA")),
    "animated.gif": animation,
    "named.svg": lambda: encoded(picture()),  # what counts is the content
    "photo.webp": lambda: encoded(picture(), "WEBP"),
}
ODD: dict[str, Callable[[], bytes]] = {
    "cut.png": lambda: encoded(picture())[:-400],
    "text.png": lambda: b"This is no picture.",
    "empty.png": lambda: b"",
    "drawing.svg": lambda: (
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    ),
    "scan.tiff": lambda: encoded(picture(), "TIFF"),
    "script.eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "large.png": lambda: blank_png(10_000, 10_000),
    "larger.png": lambda: blank_png(20_000, 20_000),
    "largest.png": lambda: png(2**31 - 1, 2**31 - 1),
    "large.gif": lambda: gif(65535, 65535),
    "large.bmp": lambda: bmp(30_000, 30_000),
}


def ask_about(demo: Server, event: str, path: str) -> Answer:
    """Has a picture that was uploaded completed, or understood."""
    if event == "complete":
        return demo.ask(event, canvas=canvas(path), completions=1, seed=0)
    return demo.ask(event, picture={"path": path, "meta": served.META})


@pytest.mark.parametrize("event", ["complete", "understand"])
@pytest.mark.parametrize("name", GOOD)
def test_unusual_pictures_are_taken(demo: Server, name: str, event: str) -> None:
    (path,) = demo.upload((name, GOOD[name]()))
    answer = ask_about(demo, event, path)
    assert answer.kind == "complete", answer


@pytest.mark.parametrize("event", ["complete", "understand"])
@pytest.mark.parametrize("name", ODD)
def test_what_is_no_picture_is_refused_in_a_sentence(demo: Server, name: str, event: str) -> None:
    content = ODD[name]()
    assert len(content) < 60_000
    (path,) = demo.upload((name, content))
    demo.forget_peak()
    before = demo.rss()
    answer = ask_about(demo, event, path)
    assert answer.kind == "error" and "picture cannot be read" in str(answer.data), answer
    assert LIMITS in str(answer.data)
    assert "Traceback" not in str(answer.data) and str(demo.folder) not in str(answer.data)
    assert demo.peak() < before + 60, "a small file took much memory"
    if "large" in name:
        assert "16,000,000 pixels" in str(answer.data)


PLACES = [
    "/gradio_api/file=/etc/passwd",
    "/gradio_api/file=//etc/passwd",
    "/gradio_api/file=../../../../../../../../etc/passwd",
    "/gradio_api/file=..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    f"/gradio_api/file={REPOSITORY}/pixelar/demo/server/serve.py",
    "/gradio_api/file=pyproject.toml",
    "/gradio_api/file=http://127.0.0.1:{port}/config",
    "/gradio_api/file={folder}/lock",
    "/gradio_api/file={folder}/uploads/../lock",
    "/gradio_api/proxy=http://127.0.0.1:{port}/config",
    "/gradio_api/stream/..%2f..%2f/0/0/playlist.m3u8",
    "/static/../../../../../../etc/passwd",
    "/static/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/assets/..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/svelte/..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/gradio_api/custom_component/0/client/component/..%2f..%2fetc%2fpasswd",
    "/gradio_api/monitoring",
    "/gradio_api/monitoring/summary",
    "/monitoring",
    "/gradio_api/mcp/sse",
    "/gradio_api/runs",
]


@pytest.mark.parametrize("place", PLACES)
def test_no_file_of_the_machine_is_served(demo: Server, place: str) -> None:
    host = demo.url.removeprefix("http://")
    port = host.partition(":")[2]
    connection = http.client.HTTPConnection(host, timeout=60)  # which sends paths as they are
    connection.request("GET", place.format(port=port, folder=demo.folder))
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert 400 <= answer.status < 500, (answer.status, content[:200])
    assert b"root:" not in content and b"import " not in content and len(content) < 500


def test_folders_of_others_are_not_served(demo: Server) -> None:
    """Only what was uploaded or drawn is served, by a name made of its content, and no lists."""
    content = GOOD["good.png"]()
    places = [demo.folder / "unfinished", demo.folder.parent, demo.folder.parent.parent]
    secrets = [place / "secret.png" for place in places]
    for secret in secrets:
        secret.write_bytes(content)
    one, other = demo.upload(("same.png", content)) + demo.upload(("same.png", content[:-1]))
    (demo.folder / "uploads" / "link.png").symlink_to(secrets[1])
    kept = demo.folder / "uploads"
    for path in [*secrets, *places, kept, kept / "link.png", Path(one).parent, f"{one}/..", kept]:
        answer = httpx.get(f"{demo.url}/gradio_api/file={path}", timeout=60)
        assert 400 <= answer.status_code < 500 and content not in answer.content, path
    assert httpx.get(f"{demo.url}/gradio_api/file={one}", timeout=60).content == content
    for secret in secrets:
        secret.unlink()
    names = [Path(path).parent.name for path in (one, other)]
    assert all(len(name) == 64 and int(name, 16) for name in names) and names[0] != names[1]


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A web server that the demo must not be made to call: its URL, and the requests it got."""
    visits: list[str] = []

    class Visited(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            visits.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(GOOD["good.png"]())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Visited) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/secret.png", visits
        server.shutdown()


def test_inputs_are_uploaded_files_only(demo: Server, listener: tuple[str, list[str]]) -> None:
    url, visits = listener
    (own,) = demo.upload(("own.png", GOOD["good.png"]()))
    elsewhere = ["/etc/passwd", str(REPOSITORY / "README.md"), f"{demo.folder}/lock", f"{own}/../x"]
    for path in [*elsewhere, url, url.replace("127.0.0.1", "localhost"), f"file://{own}"]:
        answer = demo.ask("complete", canvas=canvas(path), completions=1)
        assert answer.kind == "error", (path, answer)
    answer = demo.ask("complete", canvas=canvas("https://example.com/picture.png"), completions=1)
    assert "this demo fetches nothing" in str(answer.data)
    demo.ask(
        "complete", canvas=canvas(own, url=url), completions=1
    )  # the file is used, the address is not
    assert not visits


def test_names_of_uploads_stay_in_their_folder(demo: Server) -> None:
    before = sorted(demo.folder.parent.iterdir())
    names = [
        "../../evil.png",
        "/etc/evil.png",
        "..\\..\\evil.png",
        ".bashrc",
        "a/../../b.png",
        "%2e%2e%2fc",
    ]
    for name in [*names, "long" * 100 + ".png", "ü ñ;'\".png", "con.png"]:
        answer = demo.post("upload", files=[("files", (name, GOOD["good.png"]()))])
        assert answer.status_code in (200, 400), answer.text
        for path in answer.json() if answer.status_code == 200 else ():
            assert Path(path).resolve().is_relative_to(demo.folder / "uploads"), (name, path)
    assert sorted(demo.folder.parent.iterdir()) == before


def post_blob(demo: Server, component: int, content: bytes, **data: object) -> int:
    fields = {
        "component_id": str(component),
        "session_hash": "s",
        "fn_name": "accept_blobs",
        "type": "layer",
        "id": "x",
        **{key: str(value) for key, value in data.items()},
    }
    return demo.post("component_server", data=fields, files={"file": ("b", content)}).status_code


def editors(demo: Server) -> list[int]:
    config = httpx.get(f"{demo.url}/config", timeout=60).json()
    return [c["id"] for c in config["components"] if c["type"] == "imageeditor"]


def test_the_editor_takes_bounded_memory(demo: Server) -> None:
    assert editors(demo)
    blob = GOOD["good.png"]()
    for component in editors(demo):
        assert post_blob(demo, component, blob, index=0) == 200
        before = demo.rss()
        for index in (4, -1, 20_000_000, 10**9, "1e9", "x"):
            assert post_blob(demo, component, blob, index=index) == 400
        assert post_blob(demo, component, blob, index=0, id="x" * 1000) == 400
        assert post_blob(demo, component, blob, index=0, type="other") == 400
        assert demo.rss() < before + 20
        for k in range(60):  # 240 MB of unused canvases
            assert post_blob(demo, component, bytes(4_000_000), index=0, id=f"waits-{k}") == 200
        assert demo.rss() < before + 150
    assert (
        demo.post(
            "component_server",
            json={
                "data": 1,
                "component_id": editors(demo)[0],
                "fn_name": "accept_blobs",
                "session_hash": "s",
            },
        ).status_code
        == 400
    )


def test_large_requests_are_refused(demo: Server) -> None:
    before = demo.rss()
    six = demo.post("upload", files=[("files", ("six.png", bytes(6_000_000)))])
    assert six.status_code == 413
    many = [("files", (f"{k}.png", bytes(4_900_000))) for k in range(2)]
    assert demo.post("upload", files=many).status_code == 413
    for path in ("queue/join", "call/complete", "component_server"):
        assert demo.post(path, content=bytes(9_000_000)).status_code == 413
        chunks = (bytes(1_000_000) for _ in range(10))
        kind = {"content-type": "application/json"}  # of no announced length
        assert demo.post(path, content=chunks, headers=kind).status_code in (400, 413)
    assert demo.rss() < before + 100


def test_many_files_in_one_post(demo: Server) -> None:
    content = GOOD["good.png"]()
    paths = demo.upload(*((f"{k}.png", content + bytes([k % 256, k // 256])) for k in range(500)))
    assert len(set(paths)) == 500
    assert all(Path(path).is_relative_to(demo.folder / "uploads") for path in paths)


def test_nobody_jumps_the_queue(demo: Server) -> None:
    answer = demo.post("run/complete", json={"data": [], "session_hash": "s"})
    assert answer.status_code == 404 and "join the queue" in answer.text


# every preview takes a while, and notes when it begins and ends
PREVIEWS = """
import time
from pixelar.demo.tasks import complete
def slowly(*arguments):
    for sign in "+-":
        with open("previews.txt", "a") as notes:
            notes.write(sign)
        time.sleep(0.2 * (sign == "+"))
    return preview(*arguments)
preview, complete.preview = complete.preview, slowly
"""
POOR = """
from pixelar.memory import budget as memory
memory.available_memory = lambda device: 1_000_000
"""


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A demo that has little memory, and is slow to show a model's input."""
    folder = tmp_path_factory.mktemp("poor")
    with serving(folder, served.small_model(folder), before=PREVIEWS + POOR) as server:
        yield server


@pytest.mark.full
def test_direct_calls_are_answered_two_at_a_time(poor: Server) -> None:
    (path,) = poor.upload(("own.png", GOOD["good.png"]()))
    config = httpx.get(f"{poor.url}/config", timeout=60).json()
    (look, *_) = [each for each in config["dependencies"] if each["api_name"] == "look"]
    name = next(iter(poor.ask("models").data[0]))["name"]
    call = {
        "data": [canvas(path), "Bottom half", name],
        "fn_index": look["id"],
        "session_hash": "s",
    }
    notes = poor.log.parent / "previews.txt"
    notes.write_text("")
    with ThreadPoolExecutor(8) as users:
        answers = list(users.map(lambda _: poor.post("run/predict", json=call), range(8)))
    assert all("8×8 pixels" in answer.json()["data"][1] for answer in answers)
    depths = list(accumulate({"+": 1, "-": -1}[sign] for sign in notes.read_text()))
    assert len(depths) == 16 and max(depths) == 2


def test_work_that_needs_too_much_memory_is_told_before_it_begins(poor: Server) -> None:
    large = {"method": "particles", "particles": 256, "completions": 8}
    answer = poor.ask("complete", **large)
    assert answer.kind == "error" and answer.frames <= 1, "frames were drawn"
    assert "256 particles for 8 completions need about" in str(answer.data)
    small = poor.ask("complete", method="particles", particles=2, completions=1)
    assert small.kind == "complete"


# Python reports every connection that is opened, and every name that is looked up
NOTES = """
import sys
def note(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        arguments = arguments[1:]
    elif event not in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        return
    with open("connections.txt", "a") as notes:
        print(event, repr(arguments[0]), file=notes)
sys.addaudithook(note)
"""


@pytest.mark.full
def test_nothing_is_asked_of_other_machines(tmp_path: Path) -> None:
    model = served.conditional_model(tmp_path)
    with serving(tmp_path, model, environment=CARELESS, before=NOTES) as demo:
        (path,) = demo.upload(("own.png", GOOD["good.png"]()))
        assert demo.ask("complete", canvas=canvas(path), label="3").kind == "complete"
        picture = {"path": path, "meta": served.META}
        assert demo.ask("understand", picture=picture).kind == "complete"
        assert demo.ask("pixel", picture=picture).kind == "complete"
        assert demo.ask("sample").kind == "complete"
        assert httpx.get(demo.url, timeout=60).status_code == 200
    found = (tmp_path / "connections.txt").read_text().splitlines()
    assert any(line.startswith("socket.connect ('127.0.0.1', ") for line in found), "it notes none"
    outside = [line for line in found if not re.search(r"127\.0\.0\.1|'localhost'|'::1'", line)]
    assert not outside


def test_wrong_arguments_are_told(demo: Server) -> None:
    (path,) = demo.upload(("own.png", GOOD["good.png"]()))
    for wrong in (
        {"completions": 1000},
        {"completions": -3},
        {"temperature": -1},
        {"top_p": 5},
        {"model": "../evil"},
    ):
        answer = demo.ask("complete", canvas=canvas(path), **wrong)
        assert answer.kind == "error" and "Traceback" not in str(answer.data), (wrong, answer)


def test_only_this_machine_can_connect(demo: Server) -> None:
    assert demo.url.startswith("http://127.0.0.1:")
    assert [address.partition(":")[0] for address in listening(demo)] == ["0100007F"]


def listening(demo: Server) -> list[str]:
    """Returns the addresses and ports that a demo listens at, in hexadecimal digits."""
    port = int(demo.url.rpartition(":")[2])
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[1] for row in table if row[3] == "0A" and row[1].endswith(f":{port:04X}")]


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path, served.small_model(tmp_path)) as demo:
        begin_work(demo)
        demo.process.send_signal(number)
        assert demo.process.wait(10) == 0
        assert not demo.folder.exists()
        assert demo.log.read_text() == "pixelar: device: cpu\n"


@pytest.mark.full
def test_a_public_demo_warns(tmp_path: Path) -> None:
    with serving(tmp_path, served.small_model(tmp_path), "--public") as demo:
        assert [address.partition(":")[0] for address in listening(demo)] == ["00000000"]
        assert "without a password or encryption" in demo.log.read_text()


def begin_work(demo: Server) -> None:
    """Has the demo work for longer than a test lasts."""
    (path,) = demo.upload(("own.png", GOOD["good.png"]()))
    ended = []

    def ask() -> None:
        with suppress(httpx.HTTPError, ValueError):  # its end is no answer
            work = {"method": "particles", "particles": 64, "completions": 8}
            ended.append(demo.ask("complete", canvas=canvas(path), **work))

    for _ in range(12):
        threading.Thread(target=ask, daemon=True).start()
    time.sleep(1)
    assert len(ended) < 12


@pytest.mark.full
def test_what_a_killed_demo_leaves_goes_with_the_next(tmp_path: Path) -> None:
    with serving(tmp_path, served.small_model(tmp_path)) as demo:
        begin_work(demo)
        demo.process.kill()
        demo.process.wait()
        left = demo.folder
        assert left.exists() and left.stat().st_mode & 0o077 == 0
    with private_folder_in(tmp_path / "tmp") as own:
        assert own.exists() and not left.exists()
        with private_folder_in(tmp_path / "tmp") as other:
            assert own.exists() and other.exists()  # a living demo keeps its folder
    assert not list((tmp_path / "tmp").glob("pixelar-demo-*"))


@contextmanager
def private_folder_in(place: Path) -> Iterator[Path]:
    before, tempfile.tempdir = tempfile.tempdir, str(place)
    try:
        with private_folder() as folder:
            yield folder
    finally:
        tempfile.tempdir = before


def test_old_files_go_and_the_oldest_when_there_are_too_many(tmp_path: Path) -> None:
    now = time.time()
    for k, age in enumerate((0, 10, 20, 30, 4000, 5000)):
        file = tmp_path / f"{k}" / "file"
        file.parent.mkdir()
        file.write_bytes(bytes(100))
        os.utime(file, (now - age, now - age))
        os.utime(file.parent, (now - 100, now - 100))
    sweep(tmp_path, {tmp_path / "5" / "file"}, most=3)
    assert sorted(path.parent.name for path in tmp_path.rglob("file")) == ["0", "1", "2", "5"]
    sweep(tmp_path, {tmp_path / "5" / "file"}, largest=250)
    assert sorted(path.parent.name for path in tmp_path.rglob("file")) == ["0", "1", "5"]
    for path in tmp_path.iterdir():  # which were touched just now
        os.utime(path, (now - 100, now - 100))
    sweep(tmp_path, set())
    assert not (tmp_path / "5" / "file").exists()
    os.utime(tmp_path / "5", (now - 100, now - 100))
    sweep(tmp_path, set())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_a_port_in_use_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", str(served.small_model(tmp_path)), "--port", str(port)]) == 2
        error = capsys.readouterr().err
        assert f"port {port} cannot be used" in error and "--port" in error
        assert error.count("\n") == 1 + error.startswith("pixelar: device: ")
    assert free_port("127.0.0.1", port) == port
    assert free_port("127.0.0.1", 0) > 0


def test_the_next_free_port_is_taken_where_none_is_named() -> None:
    first = free_port("127.0.0.1", None)
    with socket.create_server(("127.0.0.1", first)):
        assert free_port("127.0.0.1", None) > first


def test_other_machines_connect_only_where_they_may() -> None:
    for own in (None, "127.0.0.1", "localhost", "::1"):
        assert checked_host(own, public=False) in (own, "127.0.0.1")
    for open_to_all in ("0.0.0.0", "192.0.2.1", "::", "example.com"):
        with pytest.raises(PixelarError, match="add --public"):
            checked_host(open_to_all, public=False)
        assert checked_host(open_to_all, public=True) == open_to_all
    assert checked_host(None, public=True) == "0.0.0.0"
    with pytest.raises(PixelarError, match="cannot listen there"):
        free_port("192.0.2.1", 0)  # an address that no machine has


class Evil:
    """Leaves a marker where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_models_that_execute_code_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker, folder = tmp_path / "marker", served.small_model(tmp_path)
    (tmp_path / "raw.ckpt").write_bytes(pickle.dumps(Evil(marker)))
    torch.save({"pixelar": Evil(marker), "state_dict": Evil(marker)}, tmp_path / "evil.ckpt")
    (folder / "model.safetensors").write_bytes(pickle.dumps(Evil(marker)))
    wrong = [tmp_path / "raw.ckpt", tmp_path / "evil.ckpt", folder, tmp_path / "nothing"]
    for name in [*map(str, wrong), "https://example.com/model.ckpt", "no-such-model"]:
        assert main(["demo", name]) == 2
        error = capsys.readouterr().err
        assert error.startswith("pixelar: ") and "Traceback" not in error and len(error) < 900
    assert not marker.exists()


def test_options_are_explained_at_once() -> None:
    code = "import sys; from pixelar.cli import main; main(['demo', '--help'])"
    check = "assert not {'torch', 'gradio'} & set(sys.modules)"
    asked = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    {check}"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--public" in done.stdout, done.stderr
