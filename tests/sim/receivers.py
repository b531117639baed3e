"""Who is told: a receiver of webhooks (and of what chats are sent) on a socket, and a mail server in a process."""

from __future__ import annotations

import mailbox
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.sim.documents import certificates
from tests.sim.ports import free_port


@dataclass
class Received:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """``url`` is where it listens; ``answers`` what it says next: status, headers, body; then 200 ok for ever."""

    url: str
    authority: Path | None = None
    came: list[Received] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)

    def says(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answers the next request so."""
        self.answers.append((status, headers, body))


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Keeps the request and answers it."""
        receiver: Receiver = self.server.receiver  # type: ignore[attr-defined]  # set below
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        receiver.came.append(Received(self.path, headers, body))
        status, more, said = receiver.answers.pop(0) if receiver.answers else (200, {}, b"ok")
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (as the base class calls it)
        """Says nothing."""


@contextmanager
def receiver(folder: Path | None = None) -> Iterator[Receiver]:
    """A receiver on a free port; over TLS with an authority of its own in ``folder``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    scheme, authority = "http", None
    if folder is not None:
        authority, key = certificates(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    found = Receiver(f"{scheme}://127.0.0.1:{server.server_port}", authority)
    setattr(server, "receiver", found)  # noqa: B010 (handlers find it there)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass
class MailServer:
    """A mail server that keeps what it is sent in ``folder``."""

    port: int
    folder: Path

    @property
    def mails(self) -> list[Message]:
        """Everything that came, in any order."""
        box = mailbox.Maildir(str(self.folder), create=False) if (self.folder / "new").is_dir() else None
        return [] if box is None else list(box)


@contextmanager
def mail_server(folder: Path) -> Iterator[MailServer]:
    """aiosmtpd in a process of its own."""
    port = free_port()
    place = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "aiosmtpd", "-n", "-l", place, "-c", "aiosmtpd.handlers.Mailbox", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(2000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the mail server ended"
            threading.Event().wait(0.02)
        yield MailServer(port, folder)
    finally:
        process.terminate()
        process.wait(30)
