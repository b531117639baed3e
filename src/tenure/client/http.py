"""One synchronous client for programs and commands, one asynchronous for the console's pages.

Both take the type that the caller expects and return it validated; errors come back as the Refused or Failed that the
server raised, so that a command can print the same words as a page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Self, TypeVar, cast

import httpx2
from pydantic import TypeAdapter

from tenure.kernel.errors import Failed, Refused

T = TypeVar("T")

UNREACHABLE = "control_plane_unreachable"
"""The code of the Failed that means: nothing answers there."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of a stream (WHATWG HTML section 9.2): its name, its id, and its data as text."""

    event: str
    data: str
    id: str = ""


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _result(response: httpx2.Response, kind: type[T]) -> T:
    if response.status_code < 400:
        result: T = _adapter(cast("Any", kind)).validate_json(response.content or b"null")
        return result
    try:
        body = response.json()
    except ValueError:
        body = {}
    message = str(body.get("detail") or f"{response.request.url} answered {response.status_code}")
    code = str(body.get("code") or "unexpected_answer")
    if response.status_code >= 500:
        raise Failed(code, message, retry=response.status_code == 503, status=response.status_code)
    details = body.get("details") or {}
    raise Refused(
        code,
        message,
        fix=str(body.get("fix") or ""),
        status=response.status_code,
        details=details if isinstance(details, Mapping) else {"faults": details},
    )


def _unreachable(url: str, error: Exception) -> Failed:
    return Failed(UNREACHABLE, f"No control plane answers at {url} ({error}).", retry=True)


def _clean(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


class Client:
    """``Client("http://127.0.0.1:7700", token)``. Close it, or use it as a context manager."""

    def __init__(self, url: str, token: str = "", *, timeout: float = 60.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = url
        # To load the certificate authorities takes 30 ms of a command's start: only where a certificate is shown.
        secure = url.startswith("https:")
        self._http = httpx2.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False, verify=secure)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Returns its connections."""
        self._http.close()

    def request(self, method: str, path: str, kind: type[T], *, json: Any = None, **params: Any) -> T:
        """Sends one request and returns the answer as ``kind``. Raises Refused or Failed as the server did, and Failed
        when nothing answers."""
        try:
            response = self._http.request(method, path, json=json, params=_clean(params))
        except httpx2.TransportError as error:
            raise _unreachable(self.url, error) from error
        return _result(response, kind)

    def get(self, path: str, kind: type[T], **params: Any) -> T:
        """GET."""
        return self.request("GET", path, kind, **params)

    def post(self, path: str, kind: type[T], json: Any = None, **params: Any) -> T:
        """POST with a JSON body."""
        return self.request("POST", path, kind, json=json, **params)

    def delete(self, path: str, kind: type[T], **params: Any) -> T:
        """DELETE; the body as ``kind``."""
        return self.request("DELETE", path, kind, **params)

    def put(self, path: str, kind: type[T], json: Any = None, **params: Any) -> T:
        """PUT with a JSON body."""
        return self.request("PUT", path, kind, json=json, **params)

    def stream(self, path: str, **params: Any) -> Iterator[ServerSentEvent]:
        """Server-sent events, until the server or the caller ends the stream."""
        try:
            with self._http.stream("GET", path, params=_clean(params), timeout=None) as response:
                if response.status_code >= 400:
                    response.read()
                    _result(response, object)
                yield from _parse(response.iter_lines())
        except httpx2.TransportError as error:
            raise _unreachable(self.url, error) from error


class AsyncClient:
    """The same for an event loop. ``transport`` lets the console call the API it is served with, still as HTTP."""

    def __init__(self, url: str, token: str = "", *, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = url
        # It serves many people at once, so it must never keep one person's cookie and send it for the next.
        no_cookies = CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
        self._http = httpx2.AsyncClient(
            base_url=url, headers=headers, transport=transport, timeout=60.0, trust_env=False, cookies=no_cookies
        )

    async def close(self) -> None:
        """Returns its connections."""
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        **params: Any,
    ) -> T:
        """As ``Client.request``. ``headers`` are added to this request (the console passes the person's cookie on)."""
        result, _ = await self.exchange(method, path, kind, json=json, headers=headers, **params)
        return result

    async def exchange(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        **params: Any,
    ) -> tuple[T, Mapping[str, str]]:
        """As ``request``, with the answer's headers (the console hands a login's cookie to the browser)."""
        try:
            response = await self._http.request(method, path, json=json, params=_clean(params), headers=headers)
        except httpx2.TransportError as error:
            raise _unreachable(self.url, error) from error
        return _result(response, kind), response.headers

    async def stream(
        self, path: str, headers: Mapping[str, str] | None = None, **params: Any
    ) -> AsyncIterator[ServerSentEvent]:
        """As ``Client.stream``."""
        async with self._http.stream("GET", path, params=_clean(params), headers=headers, timeout=None) as response:
            if response.status_code >= 400:
                await response.aread()
                _result(response, object)
            name, data, ident = "message", "", ""
            async for line in response.aiter_lines():
                name, data, ident, done = _field(line, name, data, ident)
                if done:
                    yield done
                    name, data = "message", ""


def _field(line: str, name: str, data: str, ident: str) -> tuple[str, str, str, ServerSentEvent | None]:
    if not line:
        return name, data, ident, ServerSentEvent(name, data, ident) if data else None
    key, _, value = line.partition(":")
    value = value.removeprefix(" ")
    if key == "data":
        return name, f"{data}\n{value}" if data else value, ident, None
    if key == "event":
        return value, data, ident, None
    if key == "id":
        return name, data, value, None
    return name, data, ident, None


def _parse(lines: Iterator[str]) -> Iterator[ServerSentEvent]:
    name, data, ident = "message", "", ""
    for line in lines:
        name, data, ident, done = _field(line, name, data, ident)
        if done:
            yield done
            name, data = "message", ""
