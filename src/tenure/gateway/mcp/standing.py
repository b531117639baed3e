"""The standing event stream of an upstream over HTTP, on which it tells what has changed: a ``subscriptions/listen`` at
2026-07-28, a GET within the session before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import msgspec

from tenure.gateway.mcp import codec
from tenure.gateway.mcp.connection import News, acknowledged, is_answer, is_change
from tenure.gateway.upstream import Reply, UpstreamError
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.json import Json, JsonObject

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
SILENCE_S = 3600.0
"""A stream on which nothing came for so long is opened anew: its other end may be gone."""


class Standing:
    """At most one such stream. ``asked`` is given what the server asks on it, which is about no request of ours."""

    def __init__(self, limit: int, news: News, asked: Callable[[JsonObject], None]) -> None:
        self._limit = limit
        self._news = news
        self._asked = asked
        self._task: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether it is being read."""
        return self._task is not None and not self._task.done()

    async def listen(self, reply: Reply, identity: int, uris: frozenset[str]) -> dict[str, str]:
        """Takes over the answer to a ``subscriptions/listen``, in place of the stream before; what ``Connection.watch``
        returns. Raises Failed when the server does not listen."""
        events = messages(reply, self._limit)
        try:
            first = await self._first(reply, events)
        except BaseException:
            await events.aclose()
            reply.close()
            raise
        self.close()
        self._task = asyncio.create_task(self._read(reply, events, identity))
        return acknowledged(first.get("params"), uris)

    async def _first(self, reply: Reply, events: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
        if reply.status != 200 or not is_stream(reply):
            raise Failed("upstream_refused", await _reason(reply, self._limit))
        first = await anext(events, None)
        if first is None or first.get("method") != ACKNOWLEDGED:
            told = first.get("error") if first is not None else None
            text = str(told.get("message"))[:300] if isinstance(told, dict) else "It did not acknowledge."
            raise Failed("upstream_refused", f"The server takes no subscriptions: {text}")
        return first

    def follow(self, reply: Reply) -> None:
        """Takes over the answer to a GET."""
        self.close()
        self._task = asyncio.create_task(self._read(reply, messages(reply, self._limit), None))

    async def _read(self, reply: Reply, events: AsyncIterator[dict[str, Any]], identity: int | None) -> None:
        try:
            async for message in events:
                method, params = message.get("method"), message.get("params")
                if is_change(method):
                    self._news.heard(method, params if isinstance(params, dict) else {})
                elif isinstance(method, str) and message.get("id") is not None:
                    self._asked(message)
                elif identity is not None and message.get("id") == identity:
                    break  # the server has ended the subscription
        except (Failed, UpstreamError):
            pass  # whatever ended it, it is opened anew
        finally:
            reply.close()
        self._task = None
        self._news.lost()

    def close(self) -> None:
        """Ends it; nobody is told."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()


def is_stream(reply: Reply) -> bool:
    """Whether the answer is an event stream."""
    return reply.header("content-type").partition(";")[0].strip().lower() == "text/event-stream"


async def messages(reply: Reply, limit: int) -> AsyncGenerator[dict[str, Any], None]:
    """The messages of an event stream, each of at most ``limit`` bytes. Raises Failed (upstream_garbage)."""
    cutter = codec.EventCutter(limit)
    while chunk := await reply.next_chunk():
        try:
            events = cutter.feed(chunk)
        except Refused as error:
            raise Failed("upstream_garbage", error.message) from error
        for data in events:
            if not data:
                continue  # an event that only has an id
            message = decoded(data)
            if not isinstance(message, dict):
                raise Failed("upstream_garbage", "An event is not a JSON-RPC message.")
            yield message


def decoded(body: bytes) -> Json:
    """``body`` as JSON. Raises Failed (upstream_garbage)."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed("upstream_garbage", f"The answer is not JSON: {error}") from error


async def _reason(reply: Reply, limit: int) -> str:
    """Why a server does not listen, in its own words where it has some."""
    try:
        answer = decoded(await reply.read(limit))
    except (Failed, UpstreamError):
        answer = None
    if isinstance(answer, dict) and is_answer(answer) and isinstance(answer.get("error"), dict):
        return f"The server takes no subscriptions: {str(answer['error']['message'])[:300]}"
    return f"The server takes no subscriptions: it answered HTTP {reply.status}."
