"""The demo as its users meet it: a real server in a process of its own, called over HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import zoo

import pixelar

META = {"_type": "gradio.FileData"}  # marks what stands for a file in what is posted


@dataclass
class Server:
    """A running demo.

    Attributes:
        process: Its process.
        url: Its address, without a slash at the end.
        folder: Where it keeps its files.
        log: What it writes to standard error.
        info: The description of its API, once it was requested.
    """

    process: subprocess.Popen[str]
    url: str
    folder: Path
    log: Path
    info: dict[str, Any] = field(default_factory=dict)

    def rss(self) -> float:
        """Returns the memory that it has now, in megabytes."""
        return self._status("VmRSS")

    def peak(self) -> float:
        """Returns the most memory that it had since it began or `forget_peak` was called."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _status(self, key: str) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith(f"{key}:"))
        return int(line.split()[1]) / 1024

    def post(self, path: str, **content: Any) -> httpx.Response:  # noqa: ANN401
        return httpx.post(f"{self.url}/gradio_api/{path}", timeout=120, **content)

    def upload(self, *files: tuple[str, bytes]) -> list[str]:
        """Uploads files and returns where they are on the server."""
        answer = self.post("upload", files=[("files", file) for file in files])
        assert answer.status_code == 200, answer.text
        return answer.json()

    def parameters(self, name: str) -> list[dict[str, Any]]:
        """Returns what the API says of the arguments of an event."""
        if not self.info:
            self.info = httpx.get(f"{self.url}/gradio_api/info", timeout=60).json()
        return self.info["named_endpoints"][f"/{name}"]["parameters"]

    def events(self, name: str, **given: object) -> Generator[tuple[str, Any], None, None]:
        """Calls an event as programs do, and yields what it says: its kind, and with what.

        Closing the iterator closes the connection, whatever the event does.

        Arguments:
            name: The event's name in the API.
            given: Arguments by name; the others have their defaults.
        """
        values = [
            given.pop(parameter["parameter_name"], parameter.get("parameter_default"))
            for parameter in self.parameters(name)
        ]
        assert not given, f"{name} has no {list(given)}"
        answer = self.post(f"call/{name}", json={"data": values})
        if answer.status_code != 200:
            yield "refused", answer.text
            return
        kind, event = "", answer.json()["event_id"]
        address = f"{self.url}/gradio_api/call/{name}/{event}"
        with httpx.stream("GET", address, timeout=120) as stream:
            yield "waiting", event
            for line in stream.iter_lines():
                word, _, rest = line.partition(": ")
                if word == "event":
                    kind = rest
                elif word == "data" and kind in ("generating", "complete", "error"):
                    yield kind, json.loads(rest)

    def ask(self, name: str, **given: object) -> "Answer":
        """Calls an event as `events` does, and waits for its end."""
        frames = 0
        for kind, data in self.events(name, **given):
            frames += kind == "generating"
            if kind in ("complete", "error", "refused"):
                return Answer(kind, data, frames)
        return Answer("lost", None, frames)

    def cpu(self) -> float:
        """Returns how many seconds it has computed."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def idle(self) -> bool:
        """Whether it computes nothing, in the second that begins now."""
        before = self.cpu()
        time.sleep(1)
        return self.cpu() - before < 0.3


@dataclass
class Answer:
    """How an event ended: complete, error, refused or lost; with what; after how many frames."""

    kind: str
    data: Any
    frames: int


def canvas(background: str, *layers: str, **more: object) -> dict[str, Any]:
    """Returns what stands for an image editor's value, of files on the server."""
    files = [{"path": path, "meta": META, **more} for path in (background, *layers)]
    return {"background": files[0], "layers": files[1:], "composite": None}


def conditional_model(folder: Path) -> Path:
    """Saves a model of digits with ten classes, which draws in no time."""
    path = folder / "by-class"
    model = zoo.tiny("ImageGPT", shape=(1, 8, 8), levels=17, classes=10).float()
    pixelar.save(model, path)
    return path


def until(test: Callable[[], bool], seconds: float) -> None:
    """Waits until something holds, and fails if it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(0.1)


def small_model(folder: Path) -> Path:
    """Saves a model that draws in no time."""
    path = folder / "small"
    pixelar.save(zoo.tiny("PixelCNN", shape=(1, 8, 8), levels=17).float(), path)
    return path


LAUNCHER = "import sys; from pixelar.__main__ import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def serving(
    folder: Path,
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    before: str = "",
) -> Iterator[Server]:
    """Runs `pixelar demo` with these arguments at any free port until the context ends.

    Arguments:
        folder: Where it runs, and keeps its files.
        arguments: Arguments of the command.
        environment: Settings in addition to those of the tests.
        before: Python statements that its process begins with.
    """
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    log = folder / "log.txt"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"{before}\n{LAUNCHER}",
                "demo",
                *map(str, arguments),
                "--port",
                "0",
            ],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=folder,
            env={**os.environ, **(environment or {}), "TMPDIR": str(temporary)},
        )
    assert process.stdout is not None
    try:
        url = next((w for line in process.stdout for w in line.split() if "://" in w), None)
        assert url, f"the demo did not start: {log.read_text()}"
        (own,) = temporary.glob("pixelar-demo-*")
        yield Server(process, url.rstrip("/"), own, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            process.kill()
            process.stdout.close()
