"""One batch on its way to a destination, over HTTP: only to addresses of the public network, or hosts that the
installation declares; no redirect followed, time and size bounded. What a peer answers is not repeated but for its
status."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from urllib.parse import urlsplit

import httpx2

from tenure import __version__
from tenure.base.addresses import is_public
from tenure.exports.model import Outcome

DEADLINE_S = 20.0
_AGAIN = (429, 502, 503, 504)
"""What OTLP/HTTP has a client send again ("Failures")."""
_NEVER = (400, 413, 422)
"""What will never be taken: this batch is not sent again. Every other refusal may be mended by a person."""


def post(url: str, headers: dict[str, str], body: bytes, private: frozenset[str]) -> Outcome:
    """Sends a batch once."""
    try:
        return asyncio.run(_within_time(url, headers, gzip.compress(body, 5), private))
    except TimeoutError:
        return Outcome(False, f"it did not answer within {DEADLINE_S:g} seconds")
    except PermissionError as error:
        return Outcome(False, str(error))
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return Outcome(False, f"it cannot be reached ({type(error).__name__})")


async def _within_time(url: str, headers: dict[str, str], body: bytes, private: frozenset[str]) -> Outcome:
    async with asyncio.timeout(DEADLINE_S):
        return await _post(url, headers, body, private)


async def _post(url: str, headers: dict[str, str], body: bytes, private: frozenset[str]) -> Outcome:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not private & {host, f"{host}:{port}"} and not all(map(is_public, addresses)):
        raise PermissionError("its address is not public, and TENURE_EXPORT_PRIVATE does not name it")
    place = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    target = f"{parts.scheme}://{place}:{port}{parts.path}"
    sent = {"host": parts.netloc, "user-agent": f"Tenure/{__version__}", **headers}
    context = ssl.create_default_context() if parts.scheme == "https" else False
    async with (
        httpx2.AsyncClient(trust_env=False, follow_redirects=False, verify=context, timeout=DEADLINE_S) as client,
        client.stream("POST", target, headers=sent, content=body, extensions={"sni_hostname": host}) as reply,
    ):
        status = reply.status_code
        wait = reply.headers.get("retry-after", "")
    if 200 <= status < 300:
        return Outcome(True)
    if status in _NEVER:
        return Outcome(True, f"it answers {status}: it will never take these", dropped=True)
    after = float(wait) if status in _AGAIN and wait.isdigit() else 0.0
    return Outcome(False, f"it answers {status}", after=after)
