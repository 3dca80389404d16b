"""The demo under load: many users at once, many pictures one after the other, users who leave.

PIXELAR_SOAK is the number of pictures of the long test, 50 if it is not set.
"""

import io
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
import served
from gradio_client import Client
from PIL import Image
from served import Answer, Server, serving

from pixelar.demo.server.storage import EVERY, MOST_FILES

USERS = 30
QUEUE = 16
SEEDS = 5
RUNS = int(os.environ.get("PIXELAR_SOAK", "50"))
ROW = 8  # frames of a row before they are paced: each is an eighth of it
# The thousands of a seed are the milliseconds that each frame takes; each frame leaves a note.
NOTES = """
import time
from pixelar.demo.tasks import drawing
drawn = drawing.frames
def slowly(task):
    for frame in drawn(task):
        with open("frames.txt", "a") as notes:
            notes.write(".")
        time.sleep(task.seed // 1000 / 1000)
        yield frame
drawing.frames = slowly
"""
LONG = {"seed": 1_000_000, "completions": 1}  # a minute in all
# five seconds in all; a row takes longer than the pace of what is shown
ROWS = {"seed": 100_000, "completions": 1, "method": "particles", "region": "Right half"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("load")
    with serving(folder, served.small_model(folder), before=NOTES) as server:
        yield server
        log = server.log.read_text()
    assert log == "pixelar: device: cpu\n"


def drawn(answer: Answer) -> bytes:
    """Returns the picture that a completion ended with."""
    assert answer.kind == "complete", answer
    return Path(answer.data[0]["path"]).read_bytes()


@pytest.mark.full
def test_thirty_users_at_once(demo: Server) -> None:
    """Requests that fit into the queue get their own results; the others are refused."""
    alone = [drawn(demo.ask("complete", seed=seed)) for seed in range(SEEDS)]
    assert len(set(alone)) == SEEDS
    before, full = demo.rss(), threading.Semaphore(0)

    def ask(k: int) -> Answer:
        answer = demo.ask("complete", seed=k % SEEDS)
        if answer.kind == "refused":
            full.release()
        return answer

    with ExitStack() as stack, ThreadPoolExecutor(USERS) as users:
        work = stack.enter_context(closing(demo.events("complete", **LONG)))
        assert [next(work)[0], next(work)[0]] == ["waiting", "generating"]
        asked = [users.submit(ask, k) for k in range(USERS)]
        told = [full.acquire(timeout=60) for _ in range(USERS - QUEUE)]
        assert all(told), f"only {sum(told)} were refused: the queue is longer than {QUEUE}"
        stack.close()  # who kept all others waiting leaves
        answers = [each.result(timeout=120) for each in asked]
    done = {k: drawn(answer) for k, answer in enumerate(answers) if answer.kind == "complete"}
    refused = [answer for answer in answers if answer.kind != "complete"]
    assert (len(done), len(refused)) == (QUEUE, USERS - QUEUE)
    assert all("ueue is full" in str(answer.data) for answer in refused), refused
    assert all(picture == alone[k % SEEDS] for k, picture in done.items()), "users mix"
    print(
        f"memory: {before:.0f} MB before, {demo.peak():.0f} MB at most, {demo.rss():.0f} MB after"
    )
    assert demo.peak() < before + 150


@pytest.mark.full
def test_a_file_is_left_alone_while_others_get_it(demo: Server) -> None:
    """The same picture is the same file, which must never be sent incomplete."""
    first = demo.ask("complete", seed=77)
    (file, *_, archive) = [Path(first.data[k]["path"]) for k in (0, 4, 5)]
    file.write_bytes(b"as it was")
    again = demo.ask("complete", seed=77)
    assert again.data[0]["path"] == str(file) and file.read_bytes() == b"as it was"
    file.unlink()
    archive.unlink()
    assert Image.open(io.BytesIO(drawn(demo.ask("complete", seed=77)))).size[0] > 100
    assert [path.name for path in file.parent.iterdir()].count("image.png") == 1


@pytest.mark.full
def test_many_pictures_one_after_the_other(demo: Server) -> None:
    for seed in range(10):
        demo.ask("complete", seed=seed)
    before, begin, files = demo.rss(), time.monotonic(), 0
    for seed in range(RUNS):
        assert demo.ask("complete", seed=100 + seed, completions=1).kind == "complete"
        if seed % 20 == 0:
            files = max(files, count(demo))
    speed = RUNS / (time.monotonic() - begin)
    print(
        f"{RUNS} pictures, {speed:.1f} a second: memory grew by {demo.rss() - before:.1f} MB to "
        f"{demo.rss():.0f} MB; at most {files} files, {count(demo)} at the end"
    )
    assert demo.rss() < before + 50
    # what is kept at the end of a sweep, and what comes until the next has ended
    assert files < MOST_FILES + 100 + 12 * speed * 2 * EVERY
    assert not list((demo.folder / "unfinished").iterdir())


def test_files_go_where_there_are_too_many(demo: Server) -> None:
    for part in range(MOST_FILES // 500 + 1):
        demo.upload(*((f"{k}.png", f"{part} {k}".encode()) for k in range(500)))
    assert count(demo) > MOST_FILES
    served.until(lambda: count(demo) <= MOST_FILES + 100, 3 * EVERY)
    assert demo.ask("complete", seed=1).kind == "complete"


def count(demo: Server) -> int:
    return sum(path.is_file() for path in demo.folder.rglob("*"))


def first_frame(demo: Server) -> float:
    """Returns the seconds until a user has a picture on which something was drawn."""
    begin, pictures = time.monotonic(), set()
    with closing(demo.events("complete", seed=1)) as events:
        for kind, data in events:
            if kind in ("generating", "complete"):
                pictures.add(str(data[0]))
            if len(pictures) == 2:
                return time.monotonic() - begin
    raise AssertionError("nothing was drawn")


def frames(demo: Server) -> int:
    """Returns how many frames a demo has drawn, of all users together."""
    return len((demo.log.parent / "frames.txt").read_text())


def test_who_leaves_lets_the_next_begin(demo: Server) -> None:
    idle = first_frame(demo)
    with closing(demo.events("complete", **LONG)) as work:
        assert [next(work)[0] for _ in range(3)] == ["waiting", "generating", "generating"]
    waited = first_frame(demo)
    print(f"first frame {waited:.2f} s after someone left; {idle:.2f} s where nobody was")
    assert waited < idle + 4, "a frame of the long work takes a second"


def test_who_leaves_while_waiting_is_not_served(demo: Server) -> None:
    with ExitStack() as stack:
        for _ in range(QUEUE + 1):
            work = stack.enter_context(closing(demo.events("complete", **LONG)))
            assert next(work)[0] == "waiting"
        assert demo.ask("complete").kind == "refused"
    assert first_frame(demo) < 10


def test_a_cancelled_job_stops_within_a_row(demo: Server, tmp_path: Path) -> None:
    client = Client(demo.url, verbose=False, download_files=str(tmp_path), analytics_enabled=False)
    job = client.submit(**ROWS, api_name="/complete")
    served.until(lambda: len(job.outputs()) > 2, 20)
    at = frames(demo)
    job.cancel()
    assert_stopped(demo, at)


def test_stop_works_within_a_row(demo: Server) -> None:
    """What the page sends when its button is pressed."""
    functions = httpx.get(f"{demo.url}/config", timeout=60).json()["dependencies"]
    (number,) = (each["id"] for each in functions if each["api_name"] == "complete")
    with closing(demo.events("complete", **ROWS)) as work:
        event = next(work)[1]
        assert [next(work)[0] for _ in range(3)] == ["generating"] * 3
        at = frames(demo)
        stop = {"session_hash": event, "fn_index": number, "event_id": event}
        assert demo.post("cancel", json=stop).json() == {"success": True}
        assert_stopped(demo, at)


def test_who_leaves_stops_the_work_within_a_row(demo: Server) -> None:
    with closing(demo.events("complete", **ROWS)) as work:
        assert [next(work)[0] for _ in range(4)] == ["waiting"] + ["generating"] * 3
        at = frames(demo)
    assert_stopped(demo, at)


def assert_stopped(demo: Server, at: int) -> None:
    """Asserts that work has ended within a row after a number of frames."""
    time.sleep(2)  # more than two rows
    more = frames(demo) - at
    print(f"{more} frames after the end, of {ROW} a row")
    assert more <= ROW
    time.sleep(1)
    assert frames(demo) - at == more
