"""A web server for the demo, with safe defaults: docs/demo.md says what it refuses, and why.

Gradio reads settings from the environment when it is imported and when components are made, so an
app is built here, after these are settled, and not passed in.
"""

import errno
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from pixelar.demo.server.storage import private_folder, sweeping
from pixelar.errors import ConfigError

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["HOST", "PORT", "serve"]

HOST = "127.0.0.1"
PORT = 7860
MORE_PORTS = 100  # tried after PORT, if the user named none
EVERYWHERE = "0.0.0.0"
MOST_WAITING = 16  # events in the queue
MOST_SESSIONS = 64  # with state kept, some 0.5 MB each; the least recently used are dropped
LARGEST_FILE = "5mb"
LARGEST_REQUEST = 8_000_000  # bytes
DIRECT_AT_ONCE = 2  # events that are not queued


def serve(
    build: "Callable[[], gr.Blocks]",
    *,
    host: str | None = None,
    port: int | None = None,
    public: bool = False,
    open_browser: bool = False,
    root_path: str = "",
) -> int:
    """Serves an app until it is interrupted or terminated, and returns the exit code.

    Arguments:
        build: Builds the app, in the settled environment. Events that use a model need
            `concurrency_limit=1`, and the app `delete_cache`.
        host: The address to listen at; by default this machine's own, 127.0.0.1.
        port: The port; by default 7860, or the next that is free. 0 is any that is free.
        public: Whether other machines may connect; `host` then defaults to all addresses.
        open_browser: Whether to open the page in a browser.
        root_path: The path below which a proxy shows the app.

    Raises:
        PixelarError: If it cannot listen there, or is not allowed to.
    """
    host = checked_host(host, public=public)
    port = free_port(host, port)
    with stoppable(), private_folder() as folder, settled(folder):
        _amend_gradio()
        app = build()
        try:
            app.queue(max_size=MOST_WAITING, api_open=False).launch(
                server_name=f"[{host}]" if ":" in host else host,  # an IPv6 address
                server_port=port,
                share=False,
                ssr_mode=False,
                inline=False,
                quiet=True,
                prevent_thread_lock=True,
                max_file_size=LARGEST_FILE,
                state_session_capacity=MOST_SESSIONS,
                show_error=False,
                run_history=False,
                enable_monitoring=False,
                mcp_server=False,
                strict_cors=True,
                pwa=False,
                footer_links=[],
                root_path=root_path,
                app_kwargs=_bounds(),
            )
            _keep_what_is_there()
            announce(str(app.local_url), public=public, open_browser=open_browser)
            with sweeping(folder):
                _wait()
        except KeyboardInterrupt:
            print("Stopped.", flush=True)
        finally:
            _close(app)
    return 0


def checked_host(host: str | None, *, public: bool) -> str:
    """Returns the address to listen at, and refuses one that others can reach, unless `public`."""
    if host is None:
        return EVERYWHERE if public else HOST
    if not public and not _is_own(host):
        raise ConfigError(
            f"--host {host}: other machines could connect to this address; add --public if they "
            "may, and read docs/demo.md first"
        )
    return host


def _is_own(host: str) -> bool:
    """Returns whether an address can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def free_port(host: str, port: int | None) -> int:
    """Returns a port that can be listened at: the one named, or the first that is free."""
    ports = range(PORT, PORT + MORE_PORTS) if port is None else [port]
    for candidate in ports:
        try:
            (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
                host, candidate, type=socket.SOCK_STREAM
            )
            with closing(socket.socket(family, kind, protocol)) as probe:
                if os.name == "posix":  # elsewhere the option means to share the port
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return int(probe.getsockname()[1])
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise ConfigError(f"--host {host}: cannot listen there: {error}") from error
            reason = str(error.strerror).lower()
    if port is None:
        raise ConfigError(f"no port from {ports[0]} to {ports[-1]} is free; name one with --port")
    raise ConfigError(f"port {port} cannot be used: {reason}; choose another with --port")


@contextmanager
def stoppable() -> Iterator[None]:
    """Raises KeyboardInterrupt at a request to terminate as well, until the context ends."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # ignored from now on: what follows cleans up
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def settled(folder: Path) -> Iterator[None]:
    """Silences Gradio, and makes it keep its files in a folder, whatever the environment says."""
    environment, temporary = dict(os.environ), tempfile.tempdir
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]  # settings for other apps could open paths, share or watch files
    for name in ("uploads", "unfinished"):
        (folder / name).mkdir()
    tempfile.tempdir = str(folder / "unfinished")
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_ANALYTICS_MAX_EVENTS": "1",  # statistics of call times, computed at every call
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
    }
    for name in ("no_proxy", "NO_PROXY"):  # Gradio checks by a request that its server runs
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "localhost,127.0.0.1,::1")))
    try:
        yield
    finally:
        tempfile.tempdir = temporary
        os.environ.clear()
        os.environ.update(environment)


def _bounds() -> dict[str, Any]:
    """Returns the limits of the web application that Gradio does not set."""
    from starlette.middleware import Middleware

    from pixelar.demo.server.limits import Turns

    return {
        "max_body_size": LARGEST_REQUEST,
        "middleware": [Middleware(Turns, at_once=DIRECT_AT_ONCE)],
    }


def _amend_gradio() -> None:
    """Makes Gradio refuse inputs that are addresses, which it would fetch on the user's behalf, and
    leave files that it is sending unchanged.
    """
    import gradio as gr
    from gradio import processing_utils

    from pixelar.demo.server.cache import save_once

    async def refuse(url: str, cache_dir: str | None = None) -> NoReturn:
        raise gr.Error("Upload the file: this demo fetches nothing.", print_exception=False)

    vars(processing_utils).update(
        async_ssrf_protected_get=refuse,
        async_ssrf_protected_download=refuse,
        save_pil_to_cache=save_once,
    )


def _keep_what_is_there() -> None:
    """Excludes existing objects from garbage collection.

    Otherwise all imported objects would count, and garbage would be kept until it is a quarter of
    them.
    """
    gc.collect()
    gc.freeze()


def announce(url: str, *, public: bool, open_browser: bool) -> None:
    """Prints the address of the app, and a warning if other machines can reach it."""
    if public:
        print(
            "pixelar: the demo is open to every machine that can reach this one, without a "
            "password or encryption; put it behind a proxy (docs/demo.md)",
            file=sys.stderr,
        )
    print(f"{url}  (Ctrl-C stops it)", flush=True)
    if open_browser:
        import webbrowser

        webbrowser.open(url)


def _wait() -> NoReturn:
    while True:
        time.sleep(1)


def _close(app: "gr.Blocks") -> None:
    """Stops the server at once, without waiting for open pages, and without logging that."""
    logging.getLogger("uvicorn.error").disabled = True
    if getattr(app, "server", None) is not None:
        app.server.force_exit = True
    app.close(verbose=False)
