"""What the two recorded servers share: how they are started, how they say where they listen, and how they end."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from tenure.evaluation.formats import tau_bench
from tenure.kernel.errors import Failed

META_KEY = "tenure/recording"
"""Where a tools/call says, in ``params._meta``, which recorded call it is: {session, step, call}."""
METADATA_KEY = "tenure_recording"
"""Where a chat completion says, in OpenAI's ``metadata``, which recorded session it belongs to."""


def sessions_of(path: Path) -> Mapping[str, tau_bench.Session]:
    """The sessions of a file by their key, ``<task>/<trial>``."""
    return {session.key: session for session in tau_bench.parse(path.read_bytes())}


def arguments(description: str | None, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of a recorded server."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("file", type=Path, help="recorded sessions of tau-bench, plain or xz")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    return parser.parse_args(argv)


def serve(app: Any, host: str, port: int) -> None:
    """Serves an ASGI application. Prints ``{"url": ...}`` on one line when it listens, and ends when its standard input
    does, so that it never outlives the process that started it."""
    listener = socket.create_server((host, port), backlog=256)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2))

    def watch() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=watch, daemon=True).start()
    bound = listener.getsockname()
    print(json.dumps({"url": f"http://{bound[0]}:{bound[1]}"}), flush=True)
    server.run(sockets=[listener])


@contextmanager
def running(module: str, file: Path) -> Iterator[str]:
    """Runs ``python -m module file`` as its own process and yields its URL. Raises Failed when it does not come up."""
    command = [sys.executable, "-m", module, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise Failed("server_not_started", f"{module} ended before it listened (status {process.wait()}).")
            yield str(json.loads(line)["url"])
        finally:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
