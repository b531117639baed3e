"""A connection to an MCP server over streamable HTTP: one POST per message, answered by JSON or by an event stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from tenure.gateway.keychain import Credential, sent
from tenure.gateway.mcp import codec
from tenure.gateway.mcp.connection import (
    Limits,
    News,
    answer_to,
    ask_client,
    is_answer,
    is_change,
    listen_params,
    subscribe_each,
    with_token,
)
from tenure.gateway.mcp.line import Line
from tenure.gateway.mcp.standing import SILENCE_S, Standing, decoded, is_stream, messages
from tenure.gateway.upstream import Client, Reply, UpstreamError
from tenure.kernel.errors import Failed
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import ServerFact

_KINDS = {
    "timeout": "upstream_timeout",
    "garbage": "upstream_garbage",
    "too_large": "upstream_garbage",
    "reset": "upstream_died",
}
_ACCEPT = "application/json, text/event-stream"


class StreamableConnection:
    """One upstream by URL. At revisions with sessions it holds a session, which the upstream may end at any time."""

    def __init__(
        self, fact: ServerFact, limits: Limits, client: Client, news: News, bearer: Callable[[], Credential | None]
    ) -> None:
        """``bearer``: what is sent as the bearer token now; may raise Failed."""
        self.version = ""
        self._bearer = bearer
        self._fact = fact
        self._limits = limits
        self._client = client
        self._news = news
        self._standing = Standing(limits.message_bytes, news, lambda asked: self._later(self._send(answer_to(asked))))
        self._watched: dict[str, str] = {}
        self._session = ""
        self._last = 0
        self._open = True
        self._tasks: set[asyncio.Task[None]] = set()
        url = urlsplit(fact.url or "")
        self._base = f"{url.scheme}://{url.netloc}"
        self._path = (url.path or "/") + (f"?{url.query}" if url.query else "")

    @property
    def alive(self) -> bool:
        """Whether another request can be sent."""
        return self._open

    async def request(
        self,
        method: str,
        params: JsonObject,
        *,
        timeout_s: float,
        admit: Callable[[], None] | None = None,
        line: Line | None = None,
        headers: JsonObject | None = None,
    ) -> dict[str, Any]:
        """See Connection."""
        self._last += 1
        identity = self._last
        params = with_token(params, identity)
        extra = dict(headers or {})
        if self.version in codec.MODERN_VERSIONS:
            extra |= codec.modern_headers(self.version, method, params)
        try:
            async with asyncio.timeout(timeout_s):
                message = codec.request_message(identity, method, params)
                # a tool may have acted before its server went away; everything else may be asked twice
                reply = await self._post(message, extra, timeout_s, admit, replay=method != "tools/call")
                with contextlib.closing(reply):
                    return await self._answer(reply, identity, method, line)
        except TimeoutError:
            self._cancel(identity, "timeout")
            raise Failed("upstream_timeout", f"No answer to {method} within {timeout_s:g} s.") from None
        except UpstreamError as error:
            raise Failed(_KINDS.get(error.kind, "upstream_unavailable"), f"{error}.", retry=True) from error
        except asyncio.CancelledError:
            self._cancel(identity, "the caller cancelled")
            raise

    async def _answer(self, reply: Reply, identity: int, method: str, line: Line | None) -> dict[str, Any]:
        kind = reply.header("content-type").partition(";")[0].strip().lower()
        if method == "initialize" and reply.status == 200:
            self._session = reply.header("mcp-session-id")
        if is_stream(reply) and reply.status == 200:
            async for message in messages(reply, self._limits.message_bytes):
                if "method" not in message and message.get("id") == identity:
                    return _checked(message)
                await self._take(message, line, identity)
            raise Failed("upstream_died", "The event stream ended before the answer.", retry=True)
        body = await reply.read(self._limits.message_bytes)
        lost = reply.status == 404 and bool(self._session)
        answer = decoded(body) if kind == "application/json" and not lost else None
        if isinstance(answer, dict) and ("result" in answer or "error" in answer):
            return _checked(answer)
        raise self._problem(reply.status, kind)

    def _problem(self, status: int, kind: str) -> Failed:
        if status == 404 and self._session:
            self._open = False
            return Failed("upstream_session_lost", "The server has ended the session.", retry=True)
        if status in (401, 403):
            return Failed("upstream_refused", f"The server refused the gateway's credential (HTTP {status}).")
        if status >= 400:
            return Failed("upstream_refused", f"The server answered HTTP {status}.", retry=status >= 500)
        return Failed("upstream_garbage", f"The answer (HTTP {status}, {kind or 'no content type'}) is not JSON-RPC.")

    async def _take(self, message: JsonObject, line: Line | None, identity: int) -> None:
        """What arrives on a request's stream before its answer."""
        method, params = message.get("method"), message.get("params")
        if message.get("id") is not None and method is not None:
            self._later(self._reply(message, line))
        elif method == "notifications/progress" and isinstance(params, dict):
            if line is not None and params.get("progressToken") == identity:
                line.tell(method, params)
        elif method == "notifications/message" and isinstance(params, dict) and line is not None:
            line.tell(method, params)
        elif is_change(method):
            self._news.heard(method, params if isinstance(params, dict) else {})

    async def _reply(self, message: JsonObject, line: Line | None) -> None:
        await self._send(await ask_client(message, line, self._fact.asks, self._limits.ask_s))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_ignore)

    async def notify(self, method: str, params: JsonObject) -> None:
        """See Connection."""
        await self._send(codec.notification(method, params))

    async def _send(self, message: bytes) -> None:
        try:
            reply = await self._post(message, {}, self._limits.start_s, None, replay=True)
            reply.close() if reply.status >= 400 else await reply.read(self._limits.message_bytes)
        except UpstreamError as error:
            raise Failed(_KINDS.get(error.kind, "upstream_unavailable"), f"{error}.", retry=True) from error

    async def watch(self, uris: frozenset[str]) -> dict[str, str]:
        """See Connection."""
        try:
            async with asyncio.timeout(self._limits.start_s):
                if self.version in codec.MODERN_VERSIONS:
                    return await self._listen(uris)
                return await self._subscribe(uris)
        except TimeoutError:
            raise Failed("upstream_timeout", "The server does not answer a subscription.", retry=True) from None
        except UpstreamError as error:
            raise Failed(_KINDS.get(error.kind, "upstream_unavailable"), f"{error}.", retry=True) from error

    async def _listen(self, uris: frozenset[str]) -> dict[str, str]:
        self._last += 1
        method, params = "subscriptions/listen", listen_params(uris, self.version)
        message = codec.request_message(self._last, method, params)
        headers = {**codec.modern_headers(self.version, method, params), "accept": _ACCEPT}
        reply = await self._post(message, headers, SILENCE_S, None, replay=True)
        return await self._standing.listen(reply, self._last, uris)

    async def _subscribe(self, uris: frozenset[str]) -> dict[str, str]:
        if not self._standing.open:
            reply = await self._exchange("GET", {"accept": "text/event-stream"}, b"", SILENCE_S)
            if reply.status == 200 and is_stream(reply):
                self._standing.follow(reply)
            else:  # a server need not have such a stream; then it tells of changes while it answers, or not at all
                reply.close()
                if reply.status in (401, 403) or reply.status >= 500 or (reply.status == 404 and self._session):
                    raise self._problem(reply.status, "")
        return await subscribe_each(self, self._watched, uris, self._limits)

    async def _post(
        self,
        message: bytes,
        extra: JsonObject,
        timeout_s: float,
        admit: Callable[[], None] | None,
        *,
        replay: bool,
    ) -> Reply:
        headers = {"content-type": "application/json", "accept": _ACCEPT, **extra}
        return await self._exchange("POST", headers, message, timeout_s, admit, replay=replay)

    async def _exchange(
        self,
        verb: str,
        headers: dict[str, Any],
        message: bytes,
        timeout_s: float,
        admit: Callable[[], None] | None = None,
        *,
        replay: bool = True,
    ) -> Reply:
        if self._session:
            headers["mcp-session-id"] = self._session
        if self.version and "mcp-protocol-version" not in headers:
            headers["mcp-protocol-version"] = self.version
        send = partial(
            self._client.send,
            self._base,
            verb,
            self._path,
            body=message,
            admit=admit,
            timeout_s=timeout_s,
            replay=replay,
        )
        return await sent(send, headers.items(), self._bearer)

    def _cancel(self, identity: int, reason: str) -> None:
        """Closing the stream is the cancellation at 2026-07-28; older revisions want to be told."""
        if self.version in codec.HANDSHAKE_VERSIONS and self._open:
            self._later(self.notify("notifications/cancelled", {"requestId": identity, "reason": reason}))

    async def close(self) -> None:
        """Ends the session upstream, if there is one."""
        self._open = False
        self._standing.close()
        if self._session:
            headers = {"mcp-session-id": self._session, "mcp-protocol-version": self.version}
            with contextlib.suppress(UpstreamError, Failed):
                if bearer := self._bearer():
                    headers["authorization"] = f"Bearer {bearer.value}"
                reply = await self._client.send(
                    self._base, "DELETE", self._path, headers.items(), timeout_s=self._limits.stop_s
                )
                reply.close()


def _ignore(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # what cannot be delivered is no news: the request that it belongs to fails by itself


def _checked(message: dict[str, Any]) -> dict[str, Any]:
    if not is_answer(message):
        raise Failed("upstream_garbage", "The answer has neither a result nor an error.")
    return message
