"""Fetches the documents that clients are known by, where somebody else says which address that is.

The address comes from whoever sends a browser here, so this is the one place where a stranger has the control plane
make a request. Only for a person who is logged in; over TLS; to addresses of the public network only, looked up once
and then connected to as found, so that a name cannot be one thing when it is checked and another when it is used; no
redirect is followed; size and time are bounded, and so is how many are on their way.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections import OrderedDict
from urllib.parse import urlsplit

import httpx2
import msgspec

from tenure.base.addresses import is_public
from tenure.oauth.login.model import checked_document_address, no_document

MAX_BYTES = 10_240
DEADLINE_S = 5.0
KEPT_S = 300.0
_KEPT = 1000
_AT_ONCE = 8


class Documents:
    """One for the whole process. ``loopback``: documents on this machine will do (for development)."""

    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback
        self._kept: OrderedDict[str, tuple[float, object]] = OrderedDict()
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def get(self, client_id: str) -> object:
        """The JSON value at a client's address, at most five minutes old. Raises Refused with what is wrong with it."""
        checked_document_address(client_id, loopback=self._loopback)
        kept = self._kept.get(client_id)
        if kept is not None and time.monotonic() - kept[0] < KEPT_S:
            return kept[1]
        try:
            async with asyncio.timeout(DEADLINE_S), self._places:
                found = await self._fetch(client_id)
        except TimeoutError:
            raise no_document(f"it was not there within {DEADLINE_S:g} seconds") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise no_document(f"it cannot be fetched ({type(error).__name__})") from error
        self._kept[client_id] = (time.monotonic(), found)
        self._kept.move_to_end(client_id)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found

    async def _fetch(self, client_id: str) -> object:
        parts = urlsplit(client_id)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = await self._address(host, port)
        place = f"[{address}]" if ":" in address else address
        target = f"{parts.scheme}://{place}:{port}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        headers = {"host": parts.netloc, "accept": "application/json", "accept-encoding": "identity"}
        context = ssl.create_default_context() if parts.scheme == "https" else False
        async with (
            httpx2.AsyncClient(trust_env=False, follow_redirects=False, verify=context, timeout=DEADLINE_S) as client,
            client.stream("GET", target, headers=headers, extensions={"sni_hostname": host}) as reply,
        ):
            if reply.status_code != 200:
                raise no_document(f"its address answers {reply.status_code}")
            kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json" and not kind.endswith("+json"):
                raise no_document("it is not sent as JSON")
            body = b""
            async for piece in reply.aiter_raw():
                body += piece
                if len(body) > MAX_BYTES:
                    raise no_document(f"it is longer than {MAX_BYTES} bytes")
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise no_document("it is no JSON") from error

    async def _address(self, host: str, port: int) -> str:
        """The IP address to connect to. A name of which one address may not be asked is not asked at any: who answers
        for it would otherwise choose."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        wrong = [one for one in addresses if not is_public(one, loopback=self._loopback)]
        if wrong or not addresses:
            raise no_document("its address is not on the public network")
        return min(addresses, key=lambda one: ipaddress.ip_address(one).version)
