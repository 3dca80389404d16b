"""The demo under load: many users at once, and many pictures one after the other."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import served
from served import Answer, Server, serving

USERS = 30
SEEDS = 5
RUNS = 50


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("load")
    with serving(folder, served.small_model(folder)) as server:
        yield server
        log = server.log.read_text()
    assert not log


def drawn(answer: Answer) -> bytes:
    """Returns the picture that a completion ended with."""
    assert answer.kind == "complete", answer
    return Path(answer.data[0]["path"]).read_bytes()


def test_thirty_users_at_once(demo: Server) -> None:
    alone = [drawn(demo.ask("complete", seed=seed)) for seed in range(SEEDS)]
    assert len(set(alone)) == SEEDS
    before = demo.rss()
    with ThreadPoolExecutor(USERS) as users:
        answers = list(users.map(lambda k: demo.ask("complete", seed=k % SEEDS), range(USERS)))
    done = {k: drawn(answer) for k, answer in enumerate(answers) if answer.kind == "complete"}
    told = [answer for answer in answers if answer.kind != "complete"]
    assert all("ueue is full" in str(answer.data) for answer in told), told
    assert len(done) >= 16, "those who wait in the queue are served"
    assert all(picture == alone[k % SEEDS] for k, picture in done.items()), "users mix"
    assert demo.rss() < before + 150


def test_many_pictures_one_after_the_other(demo: Server) -> None:
    for seed in range(10):
        demo.ask("complete", seed=seed)
    memory, files = demo.rss(), count(demo)
    for seed in range(RUNS):
        assert demo.ask("complete", seed=100 + seed, completions=1).kind == "complete"
    assert demo.rss() < memory + 50
    assert count(demo) < files + 12 * RUNS  # some frames and the files to download; see `sweep`
    assert not list((demo.folder / "unfinished").iterdir())


def count(demo: Server) -> int:
    return sum(path.is_file() for path in demo.folder.rglob("*"))
