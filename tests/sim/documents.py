"""A web server over TLS with the documents that programs are known by, and with what is none; its authority is made for
the occasion (``SSL_CERT_FILE`` makes a process trust it)."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Site:
    """``url`` is its address, ``authority`` the certificate to trust, ``asked`` the paths that were asked for."""

    url: str
    authority: Path
    asked: list[str] = field(default_factory=list)
    redirects: list[str] = field(default_factory=lambda: ["http://127.0.0.1/callback"])
    stop: threading.Event = field(default_factory=threading.Event)

    def document(self, path: str, **more: Any) -> dict[str, Any]:
        """What stands at a path."""
        return {"client_id": self.url + path, "client_name": "Documented", "redirect_uris": self.redirects, **more}


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """The server, on a free port of this machine."""
    authority, key = certificates(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    served = Site(f"https://127.0.0.1:{server.server_port}", authority)
    setattr(server, "site", served)  # noqa: B010 (handlers find it there)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.stop.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answers by the path."""
        served: Site = self.server.site  # type: ignore[attr-defined]  # set above
        served.asked.append(self.path)
        good = json.dumps(served.document(self.path)).encode()
        match self.path:
            case "/moved.json":
                self._send(302, b"", ("location", f"{served.url}/app.json"))
            case "/gone.json":
                self._send(404, good)
            case "/page.json":
                self._send(200, good, ("content-type", "text/html"))
            case "/long.json":
                self._send(200, good + b" " * 20_000)
            case "/broken.json":
                self._send(200, b"{")
            case "/other.json":
                self._send(200, good.replace(b"other.json", b"app.json"))
            case "/slow.json":
                self._drip(served)
            case _:
                self._send(200, good)

    def _send(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **dict(headers)}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self, served: Site) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not served.stop.wait(0.05):
            try:
                self.wfile.write(b"x-more: 1\r\n")
                self.wfile.flush()
            except OSError:
                return

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (as the base class calls it)
        """Says nothing."""


def certificates(folder: Path) -> tuple[Path, Path]:
    """Files of an authority's certificate, and of a key with its certificate for 127.0.0.1."""
    now = dt.datetime.now(dt.UTC)
    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority for a test")])

    def begun(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        return (
            made.serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    ca = begun("An authority for a test", root).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(root.public_key())
    ca = ca.add_extension(usage, True).add_extension(identifier, False)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key())
    site_cert = begun("127.0.0.1", leaf).add_extension(names, False).add_extension(known, False)
    encoding = serialization.Encoding.PEM
    folder.mkdir(parents=True, exist_ok=True)
    authority, served = folder / "authority.pem", folder / "site.pem"
    authority.write_bytes(ca.sign(root, hashes.SHA256()).public_bytes(encoding))
    private = leaf.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    served.write_bytes(private + site_cert.sign(root, hashes.SHA256()).public_bytes(encoding))
    return authority, served
