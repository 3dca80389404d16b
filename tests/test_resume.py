"""Runs that are killed, interrupted, damaged or extended go on as if nothing had happened.

Run as a script, this file is a server of real `pixelar fit` processes: it imports once and forks
one process per line of JSON that it reads, which makes dozens of starts and kills affordable.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
import zoo
from safetensors.torch import load_file

from pixelar.io.checkpoints import newest_checkpoint, read_checkpoint
from pixelar.training.curves import read_curve

TINY: dict[str, Any] = {
    "model": {
        "net": {
            "class_path": "GatedPixelCNN",
            "init_args": {"width": 6, "depth": 2, "first_kernel_size": 3, "dropout": 0.2},
        },
        "head": {"class_path": "Categorical"},
        "quantizer": {"class_path": "Identity", "init_args": {"levels": 17}},
        "corruption": 0.1,
        "warmup_steps": 5,
    },
    "data": {"dataset": {"class_path": "Digits"}, "batch_size": 8, "eval_batch_size": 50},
    "trainer": {
        "max_steps": 60,
        "val_check_interval": 5,
        "log_every_n_steps": 1,
        "accelerator": "cpu",
        "callbacks": [{"class_path": "test_resume.Beacon"}],
    },
    "ema": 0.9,
    "checkpoint_every": 3,
    "samples": 2,
}


class Beacon(L.Callback):
    """Reports to the parent process what it is about to do, one letter per action."""

    def _tell(self, letter: bytes) -> None:
        if "BEACON" in os.environ:
            os.write(int(os.environ["BEACON"]), letter)

    def on_train_batch_start(self, *_: Any) -> None:  # noqa: ANN401
        self._tell(b"b")

    def on_train_batch_end(self, *_: Any) -> None:  # noqa: ANN401
        self._tell(b"e")

    def on_validation_batch_start(self, *_: Any) -> None:  # noqa: ANN401
        self._tell(b"v")

    def on_save_checkpoint(self, *_: Any) -> None:  # noqa: ANN401
        self._tell(b"s")


def serve() -> None:
    """Runs `pixelar` once per request, in a process of its own; stops it as the request says."""
    from pixelar.cli import main
    from pixelar.cli.fit import fit  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(told)
            os.environ["BEACON"] = str(tell)
            os.chdir(request["folder"])
            log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1), os.dup2(log, 2)
            code = 99
            try:
                code = main(request["arguments"])
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush(), sys.stderr.flush()
                os._exit(code)
        os.close(tell)
        seen = b""
        while letter := os.read(told, 1):
            seen += letter
            if request["signal"] and seen.count(request["letter"].encode()) == request["count"]:
                time.sleep(request["delay"])
                os.kill(pid, request["signal"])
                break
        while more := os.read(told, 4096):
            seen += more
        os.close(told)
        _, status = os.waitpid(pid, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), seen.decode()]), flush=True)


class Server:
    """The other end of `serve`."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)},
        )

    def fit(
        self,
        run: Path,
        *options: str,
        stop: int = 0,
        letter: str = "b",
        count: int = 1,
        delay: float = 0.0,
    ) -> tuple[int, str, str]:
        """Runs `pixelar fit` on TINY in a run's folder, with a signal at the count-th letter.

        Returns:
            The exit code (minus the signal), what it did in Beacon's letters, and its messages.
        """
        config = run.parent / "tiny.yaml"
        config.write_text(yaml.safe_dump(TINY))
        request = {
            "folder": str(run.parent),
            "arguments": ["fit", "-c", str(config), "--run", str(run), *options],
            **{"signal": int(stop), "letter": letter, "count": count, "delay": delay},
        }
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        code, seen = json.loads(self.process.stdout.readline())
        return code, seen, (run.parent / "log.txt").read_text()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.process.communicate()


def result(run: Path) -> dict[str, Any]:
    """Returns what a run came to: curves, averaged and raw weights, and the optimizer's state."""
    curves = {k: read_curve(run, k) for k in ("train/bits_per_dim", "val/bits_per_dim", "train/lr")}
    path, complaints = newest_checkpoint(run / "checkpoints")
    assert path and not complaints
    checkpoint = read_checkpoint(path)
    moments = checkpoint["optimizer_states"][0]["state"]
    return {
        **curves,
        "ema": load_file(run / "model" / "model.safetensors"),
        "raw": checkpoint["current_model_state"],
        "adam": {f"{i} {k}": v for i, state in moments.items() for k, v in state.items()},
    }


def assert_same(left: dict[str, Any], right: dict[str, Any], note: str = "") -> None:
    for key, value in left.items():
        if isinstance(value, dict):
            assert value.keys() == right[key].keys(), f"{key} {note}"
            for name in value:
                assert torch.equal(value[name], right[key][name]), f"{key} {name} {note}"
        else:
            assert value == right[key], f"{key} {note}"


@pytest.fixture(scope="module")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of TINY without interruption."""
    run = tmp_path_factory.mktemp("whole") / "run"
    code, _, log = server.fit(run)
    assert code == 0, log
    return result(run)


def test_the_undisturbed_run_is_complete(whole: dict[str, Any]) -> None:
    assert whole["train/bits_per_dim"][0] == list(range(1, 61))
    assert whole["val/bits_per_dim"][0] == list(range(5, 61, 5))


def kill_until_done(
    server: Server, run: Path, rng: random.Random, kills: int, *options: str
) -> list[str]:
    """Kills a run with SIGKILL at random moments, by turns in saves, validations and anywhere."""
    history: list[str] = []
    while True:
        some = any((run / "checkpoints").glob("*.ckpt"))
        resume = ["--resume"] if some else []
        letter = ("e", "s", "v")[len(history) % 3]
        count = rng.randint(1, {"e": 7, "s": 1, "v": 2}[letter])
        stop, delay = (signal.SIGKILL if len(history) < kills else 0), rng.uniform(0, 0.012)
        code, seen, log = server.fit(
            run, *resume, *options, stop=stop, letter=letter, count=count, delay=delay
        )
        history.append(f"{seen} {code}")
        if code == 0:
            return history
        assert code == -signal.SIGKILL, f"{history}\n{log}"


@pytest.mark.full
def test_kill_9_at_any_moment_changes_nothing(
    server: Server, whole: dict[str, Any], tmp_path: Path
) -> None:
    seed = 0
    history = kill_until_done(server, tmp_path / "run", random.Random(seed), kills=40)
    note = f"(seed {seed}: {history})"
    assert len(history) > 20, note
    assert any("v -9" in h for h in history) and any("s -9" in h for h in history), note
    assert_same(whole, result(tmp_path / "run"), note)
    assert not list((tmp_path / "run" / "checkpoints").glob(".*")), "temporary files are left"


@pytest.mark.full
def test_kill_9_with_a_worker_process(
    server: Server, whole: dict[str, Any], tmp_path: Path
) -> None:
    rng, options = random.Random(1), ("--data.workers", "1")
    history = kill_until_done(server, tmp_path / "run", rng, 3, *options)
    assert len(history) == 4, history
    assert_same(whole, result(tmp_path / "run"), str(history))


@pytest.mark.full
def test_kill_9_with_checkpointing(server: Server, whole: dict[str, Any], tmp_path: Path) -> None:
    """The run has the same result as without: each block has the same dropout both times."""
    rng, options = random.Random(2), ("--model.grad_checkpointing", "true")
    history = kill_until_done(server, tmp_path / "run", rng, 3, *options)
    assert len(history) == 4, history
    assert_same(whole, result(tmp_path / "run"), str(history))


@pytest.mark.parametrize("number", zoo.quick((signal.SIGINT, signal.SIGTERM), signal.SIGINT))
@pytest.mark.parametrize("letter", zoo.quick("bvs", "b"))
def test_interrupt_saves_and_says_how_to_go_on(
    server: Server, whole: dict[str, Any], tmp_path: Path, letter: str, number: int
) -> None:
    run = tmp_path / "run"
    code, seen, log = server.fit(run, stop=number, letter=letter, count=5)
    assert code == 130, log
    step = seen.count("e")
    assert (run / "checkpoints" / f"step-{step:08d}.ckpt").exists(), (seen, log)
    assert f"The newest checkpoint is of step {step}. To go on:\n  pixelar fit -c" in log
    assert "Traceback" not in log and not (run / "model").exists()
    command = log.split("To go on:\n  pixelar fit -c ")[1].split()
    assert command[1:] == ["--run", str(run), "--resume"]
    code, _, log = server.fit(run, "-c", command[0], *command[1:])
    assert code == 0, log
    assert_same(whole, result(run), seen)


@pytest.mark.full
def test_accumulated_gradients_are_saved_whole(server: Server, tmp_path: Path) -> None:
    """An interrupt between two batches of a step waits for the second."""
    options = ("--trainer.accumulate_grad_batches", "2", "--trainer.max_steps", "14")
    code, _, log = server.fit(tmp_path / "whole", *options)
    assert code == 0, log
    run = tmp_path / "run"
    for letter, count in (("b", 3), ("v", 1), ("b", 4), ("v", 2), ("b", 2)):
        resume = ("--resume",) if run.exists() else ()
        code, seen, log = server.fit(
            run, *options, *resume, stop=signal.SIGTERM, letter=letter, count=count
        )
        assert code == 130, (seen, log)
    code, _, log = server.fit(run, *options, "--resume")
    assert code == 0, log
    assert_same(result(tmp_path / "whole"), result(run))


def test_a_finished_run_resumes_to_nothing_and_can_be_made_longer(
    server: Server, tmp_path: Path
) -> None:
    run, model = tmp_path / "run", tmp_path / "run" / "model" / "model.safetensors"
    assert server.fit(run, "--trainer.max_steps", "10")[0] == 0
    before = model.read_bytes(), result(run)
    code, seen, log = server.fit(run, "--trainer.max_steps", "10", "--resume")
    assert code == 0 and not seen, log
    assert model.read_bytes() == before[0]
    assert_same(before[1], result(run))

    code, seen, log = server.fit(run, "--trainer.max_steps", "22", "--resume")
    assert code == 0 and seen.count("e") == 12, (seen, log)
    after = result(run)
    assert after["train/bits_per_dim"][0] == list(range(1, 23))
    assert after["train/lr"][1][10] > 1e-4, "the longer schedule holds from its first step"
    assert read_checkpoint(run / "checkpoints" / "step-00000022.ckpt")["global_step"] == 22
    assert model.read_bytes() != before[0]


@pytest.mark.full
def test_longer_by_resuming_continues_the_batches_and_seeds(server: Server, tmp_path: Path) -> None:
    """With a rate that does not depend on the length, 10 and 12 steps are 22 steps."""
    options = ("--model.warmup_steps", "1000")
    for name, steps in (("whole", (22,)), ("run", (10, 22))):
        for i, n in enumerate(steps):
            more = ("--resume",) if i else ()
            code, _, log = server.fit(
                tmp_path / name, *options, "--trainer.max_steps", str(n), *more
            )
            assert code == 0, log
    assert_same(result(tmp_path / "whole"), result(tmp_path / "run"))


def test_resuming_takes_the_new_learning_rate(server: Server, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert server.fit(run, stop=signal.SIGTERM, letter="b", count=8)[0] == 130
    options = ("--model.lr", "1e-4", "--trainer.max_steps", "10", "--resume")
    code, _, log = server.fit(run, *options)
    assert code == 0, log
    rates = read_curve(run, "train/lr")[1]
    assert max(rates[5:8]) > 3e-4 and max(rates[8:]) < 1e-4


def damage(kind: str, path: Path) -> None:
    content = bytearray(path.read_bytes())
    if kind == "cut":
        content = content[: len(content) * 2 // 3]
    elif kind == "flipped":
        content[len(content) // 2] ^= 4
    elif kind == "text":
        content = bytearray(b"not a checkpoint\n")
    elif kind == "empty":
        content = bytearray()
    path.write_bytes(content)


@pytest.mark.parametrize("kind", zoo.quick(("cut", "flipped", "text", "empty"), "flipped"))
def test_a_damaged_checkpoint_is_named_and_passed_over(
    server: Server, whole: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    run = tmp_path / "run"
    assert server.fit(run, stop=signal.SIGKILL, letter="b", count=14)[0] == -signal.SIGKILL
    newest = sorted((run / "checkpoints").glob("step-*.ckpt"))[-1]
    damage(kind, newest)
    code, _, log = server.fit(run, "--resume")
    assert code == 0, log
    assert str(newest) in log and "falling back to step-" in log and "Traceback" not in log
    assert newest.with_suffix(".damaged").exists()
    assert_same(whole, result(run))


class Payload:
    """A pickle that writes a file when it is read carelessly."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_checkpoint_never_executes(server: Server, tmp_path: Path) -> None:
    run, marker = tmp_path / "run", tmp_path / "executed"
    (run / "checkpoints").mkdir(parents=True)
    file = run / "checkpoints" / "step-00000005.ckpt"
    torch.save({"pixelar": {}, "state_dict": Payload(marker)}, file)
    code, _, log = server.fit(run, "--resume")
    assert code == 2 and str(file) in log and "Traceback" not in log, log
    assert not marker.exists()
    torch.load(file, weights_only=False)
    assert marker.exists(), "the test's own payload does not work"


def test_refusals_are_sentences(server: Server, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, _, log = server.fit(run, "--resume")
    assert code == 2 and f"nothing to resume in {run}; leave --resume out" in log, log
    assert server.fit(run, "--trainer.max_steps", "4")[0] == 0
    code, _, log = server.fit(run)
    assert code == 2 and f"{run} holds a run already: go on with --resume" in log, log
    code, _, log = server.fit(run, "--resume", "--model.net.width", "8")
    assert code == 2 and "another model: net.args.width is 6 there and 8 here" in log, log
    assert "Traceback" not in log


if __name__ == "__main__":
    serve()
