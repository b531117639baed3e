"""Routes of the live feed: the stream, and the newest lines of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from tenure.base.http import TheWorld
from tenure.base.room import World
from tenure.kernel.values import Actor, Status
from tenure.telemetry.api import Reader
from tenure.telemetry.feed import reading
from tenure.telemetry.feed.tail import Line, Tail, Wanted, line, message, tail_of
from tenure.telemetry.model import FeedItem
from tenure.telemetry.words import feed_item

router = APIRouter(tags=["telemetry"])

_RETRY_MS = 100
_LIFE_S = 60.0
"""After so long a stream ends, between two messages; whoever listens comes back, goes on where it was, and is asked
again who they are: nobody reads on for long with rights that they have lost."""
_BEAT_S = 5.0
_NEWS_S = 1.0
_PIECE = 256


class _Events(StreamingResponse):
    media_type = "text/event-stream"


class FeedList(BaseModel):
    """The newest lines, oldest first."""

    items: list[FeedItem]


_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: each a FeedItem as JSON, with its number as `id`. `at` events carry no "
        "item: their data is the number up to which all was told. With `together`, each is a JSON array of those that "
        "came at once, with the last one's number",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
_Agent = Annotated[str | None, Query()]
_Type = Annotated[str | None, Query(alias="type")]


@router.get("/v1/feed/recent")
async def recent(
    *,
    world: TheWorld,
    actor: Reader,
    agent: _Agent = None,
    status: Status | None = None,
    kind: _Type = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 60,
) -> FeedList:
    """The newest lines of the feed, oldest first. Does not wait for the trace store while the row buffer has them."""
    wanted = Wanted(actor.workspace, agent, kind, status)
    found = await asyncio.to_thread(reading.recent, world, wanted, limit)
    return FeedList(items=[feed_item(logged.seq, logged.event) for logged in found])


@router.get("/v1/feed", response_class=_Events, responses=_STREAM)
async def feed(
    *,
    world: TheWorld,
    actor: Reader,
    agent: _Agent = None,
    status: Status | None = None,
    kind: _Type = None,
    after: Annotated[int | None, Query(ge=0, description="Begin after this number; without it, now")] = None,
    last: Annotated[int, Query(ge=0, le=200, description="Begin with up to so many that were before")] = 0,
    news: Annotated[bool, Query(description="No items: only that there are new ones, once a second at most")] = False,
    together: Annotated[bool, Query(description="Those that come at once in one message, as a JSON array")] = False,
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
) -> StreamingResponse:
    """Every Event as it happens, as FeedItem JSON. ``id`` is its number; ``Last-Event-ID`` goes on from there, with no
    gap and nothing twice. A stream ends after a minute; clients of server-sent events come back by themselves."""
    wanted = Wanted(actor.workspace, agent, kind, status)
    seq = last_event_id if last_event_id is not None else after
    told = _news(world, wanted) if news else _told(world, actor, wanted, seq, last, together=together)
    return _Events(told, headers={"cache-control": "no-store", "x-accel-buffering": "no"})


async def _told(
    world: World, actor: Actor, wanted: Wanted, seq: int | None, last: int, *, together: bool
) -> AsyncIterator[bytes]:
    tail, now = tail_of(world), asyncio.get_running_loop().time
    async with tail.listening() as flag:
        yield b"retry: %d\n: listening\n\n" % _RETRY_MS
        if seq is None:
            seq = tail.upto
            if last:
                before = await asyncio.to_thread(reading.recent, world, wanted, last, seq)
                if text := message([line(logged) for logged in before], together=together):
                    yield text
        end, spoke, beat = now() + _LIFE_S, seq, now() + _BEAT_S
        while now() < end and not world.bell.closed:
            flag.clear()
            lines = await _after(world, actor, tail, seq)
            for start in range(0, len(lines), _PIECE):
                piece = lines[start : start + _PIECE]
                seq = piece[-1].seq
                if text := message([one for one in piece if wanted.has(one)], together=together):
                    spoke, beat = seq, now() + _BEAT_S
                    yield text
            if lines:
                continue
            if now() >= beat:
                beat = now() + _BEAT_S
                yield _at(seq) if seq != spoke else b": alive\n\n"
            await _sleep(flag, min(beat, end) - now())


async def _after(world: World, actor: Actor, tail: Tail, seq: int) -> list[Line]:
    """The next lines after a number: from what is kept for all, or, for who was away for longer, read for them."""
    kept = tail.after(seq)
    if kept is not None:
        return list(kept)
    return [line(logged) for logged in await asyncio.to_thread(reading.batch, world, actor, seq)]


async def _news(world: World, wanted: Wanted) -> AsyncIterator[bytes]:
    tail, now = tail_of(world), asyncio.get_running_loop().time
    async with tail.listening() as flag:
        yield b"retry: %d\n: listening\n\n" % _RETRY_MS
        seq, end = tail.upto, now() + _LIFE_S
        while now() < end and not world.bell.closed:
            flag.clear()
            lines = tail.after(seq)
            heard = lines is None or any(wanted.has(one) for one in lines)
            seq = tail.upto
            yield _at(seq) if heard else b": alive\n\n"
            await asyncio.sleep(_NEWS_S)
            await _sleep(flag, min(_BEAT_S, end - now()))


def _at(seq: int) -> bytes:
    return b"id: %d\nevent: at\ndata: %d\n\n" % (seq, seq)


async def _sleep(flag: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await flag.wait()
    except TimeoutError:
        return
