"""Routes of telemetry: Events in, traces, sessions, figures and the live feed out."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld, body_of
from tenure.kernel.json import JsonArray, JsonObject
from tenure.kernel.memories import in_words, memory_of
from tenure.kernel.values import Actor, Event, Status
from tenure.telemetry import intake, recording, service
from tenure.telemetry.model import GATEWAY_TYPES, IMPORT_TYPES, AgentStats, Placed, Session, Span, Trace, TraceSummary
from tenure.telemetry.recording import Recording
from tenure.telemetry.traces.terms import Found

router = APIRouter(tags=["telemetry"])

_EVENTS_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "array", "items": {"type": "object", "title": "Event"}}},
            "application/x-ndjson": {"schema": {"type": "string", "description": "One Event a line"}},
        },
    }
}


class Taken(BaseModel):
    """``accepted`` Events are new and durable now; ``known`` ones were kept before."""

    accepted: int
    known: int


class LoggedEvent(BaseModel):
    """An Event with its number in the log."""

    seq: int
    event: Event


class EventList(BaseModel):
    """``next`` is the ``after`` that goes on from here; None when nothing was found."""

    events: list[LoggedEvent]
    next: int | None = None


class PlaceOut(BaseModel):
    """A field of a call's arguments on two sides."""

    path: str = Field(description="As `items[2].name`; empty for the whole")
    before: Any
    after: Any
    before_there: bool
    after_there: bool
    kept: bool = Field(description="False: what was there before is not kept anywhere, and `before` is null")


class AlteredOut(BaseModel):
    """Why two sides of a call's arguments differ, and where, as far as you may see them."""

    kind: Literal["edited", "redacted", "unrecorded", "retried", "forked"] = Field(
        description="A person approved it with other arguments; policy took something out of what was sent; something "
        "was sent and is not in the record; other than in the call that it tries again; other than in the run that it "
        "plays again"
    )
    places: list[PlaceOut]
    more: bool = Field(description="Whether there are further places")
    by: str = Field(description="Who changed it, empty for nobody")
    at: datetime | None
    reason: str
    approval: str
    trace_id: str = Field(description="With `span_id` the other call")
    span_id: str


class MemoryOut(BaseModel):
    """What a call did with a memory, as far as you may see what was said."""

    did: Literal["read", "write", "update", "delete", "create store", "delete store"]
    store: str = Field(description="The store or namespace")
    keys: list[str] = Field(description="The records, by name; the first 20")
    query: str
    count: int | None = Field(description="Records that were read or written")
    size: int | None = Field(description="Bytes, as JSON, of what was")
    whose: str = Field(description="For whom it is kept, as the call says")
    told_by: Literal["conventions", "name"] = Field(
        description="The GenAI conventions, or the name of the tool, which is a guess about it"
    )
    words: str = Field(description="All of it in a line")


class SpanOut(BaseModel):
    """One span at its place in the waterfall. ``status`` is the feed's, ``status_code`` OpenTelemetry's."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: str
    start: datetime
    end: datetime
    duration_us: int
    offset_us: int
    depth: int
    status: Status
    status_code: Literal["unset", "ok", "error"]
    status_message: str
    type: str
    event: str = Field(description="Id of the Event it was made of")
    actor: str = Field(description="Who did it: `agent:NAME`, `person:EMAIL` or `system:ROOM`")
    agent: str | None
    session: str | None
    release: str | None
    policy_version: str | None
    memory_snapshot: str | None
    attributes: JsonObject
    events: JsonArray
    links: JsonArray
    altered: list[AlteredOut] = Field(description="What became of its arguments")
    memory: MemoryOut | None = Field(description="For a memory operation, what it did")


_OF_SPAN = tuple(name for name in SpanOut.model_fields if hasattr(Span, name))
_facts_of = attrgetter(*_OF_SPAN)


class TraceOut(BaseModel):
    """A whole trace: parents before children, in causal order."""

    trace_id: str
    duration_us: int
    withheld: str = Field(description="Why something that was said is not shown, and whom to ask; empty: it is shown")
    spans: list[SpanOut]


class TraceList(BaseModel):
    """``next`` is the ``after`` of the next page; None on the last."""

    traces: list[TraceSummary]
    next: int | None = None


class SessionList(BaseModel):
    """``next`` is the ``after`` of the next page; None on the last."""

    sessions: list[Session]
    next: int | None = None


class StatsOut(BaseModel):
    """Figures of each agent over the last ``window_s`` seconds."""

    window_s: int
    agents: list[AgentStats]


def _reader(actor: TheActor) -> Actor:
    permit(actor, "events:read")
    return actor


Reader = Annotated[Actor, Depends(_reader)]


# --- in ---------------------------------------------------------------------------------------------------------------


@router.post("/internal/v1/events", openapi_extra=_EVENTS_BODY)
async def take_events(request: Request, world: TheWorld, actor: TheActor) -> Taken:
    """Events from a gateway, as a JSON array or one a line. Answers only after they are durable."""
    permit(actor, "gateway:events")
    events = intake.parse_events(await body_of(request, world.config.body_max_bytes), GATEWAY_TYPES)
    taken = await asyncio.to_thread(service.ingest, world, actor, events)
    return Taken(accepted=taken.accepted, known=taken.known)


@router.post("/v1/imports/events", openapi_extra=_EVENTS_BODY)
async def take_imports(request: Request, world: TheWorld, actor: TheActor) -> Taken:
    """Events that a person brings from elsewhere (``import.*`` only). Bringing them again keeps nothing twice."""
    permit(actor, "events:import")
    events = intake.parse_events(await body_of(request, world.config.body_max_bytes), IMPORT_TYPES)
    taken = await asyncio.to_thread(service.import_events, world, actor, events)
    return Taken(accepted=taken.accepted, known=taken.known)


# --- out --------------------------------------------------------------------------------------------------------------


@router.get("/v1/events")
def get_events(
    *,
    world: TheWorld,
    actor: Reader,
    after: Annotated[int | None, Query(ge=0, description="Go on after this number; without it, the newest")] = None,
    agent: str | None = None,
    type: Annotated[str | None, Query()] = None,  # noqa: A002 (the API's own word)
    status: Status | None = None,
    session: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    content: Annotated[bool, Query(description="Whether what was said comes with them, for who may see it")] = True,
) -> EventList:
    """Events, oldest first."""
    filters: dict[str, Any] = {"agent": agent, "type": type, "status": status, "session": session}
    found = service.list_events(world, actor, after=after, limit=limit, content=content, **filters)
    events = [LoggedEvent(seq=logged.seq, event=logged.event) for logged in found]
    return EventList(events=events, next=found[-1].seq if found else None)


@router.get("/v1/traces")
def get_traces(
    *,
    world: TheWorld,
    actor: Reader,
    agent: str | None = None,
    session: str | None = None,
    after: Annotated[int | None, Query(ge=0)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> TraceList:
    """Traces, the one with the newest Event first."""
    found = service.list_traces(world, actor, agent=agent, session=session, after=after, limit=limit)
    return TraceList(traces=found, next=found[-1].last_seq if len(found) == limit else None)


@router.get("/v1/traces/search")
def search_traces(
    *,
    world: TheWorld,
    actor: Reader,
    q: Annotated[str, Query(description="Words that must all be there; those in quotes, together", max_length=1000)],
    window: Annotated[int, Query(ge=1, le=400 * 86400, description="Seconds to look back")] = 7 * 86400,
    agent: str | None = None,
    session: str | None = None,
    before: Annotated[int | None, Query(ge=0, description="Go on below this number")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Found:
    """What was said: prompts, answers, arguments and results with these words in them, the newest first. ``next`` is
    the ``before`` that goes on, also where this page has fewer hits than asked for: a search looks at so much and no
    more."""
    return service.search(
        world, actor, q, timedelta(seconds=window), agent=agent, session=session, before=before, limit=limit
    )


@router.get("/v1/traces/{trace_id}", response_model=TraceOut)
def get_trace(
    world: TheWorld,
    actor: Reader,
    trace_id: str,
    decisions: Annotated[
        bool, Query(description="Whether decisions are spans too; each is in its call as well")
    ] = True,
    retries: Annotated[
        bool,
        Query(description="Whether a call that is tried again brings the fields that differ; both calls are there"),
    ] = True,
) -> Response:
    """One trace with every decision, approval and breaker trip at its place."""
    found = service.trace(world, actor, trace_id, decisions=decisions, retries=retries)
    # Written as it is: to check each of 20,000 spans against the model that describes them takes seconds.
    told = {
        "trace_id": found.trace_id,
        "duration_us": found.duration_us,
        "withheld": found.withheld,
        "spans": [_span(placed, found) for placed in found.spans],
    }
    return Response(msgspec.json.encode(told), media_type="application/json")


def _memory(span: Span) -> dict[str, Any] | None:
    found = memory_of(span.attributes) if span.type != "decision" else None
    return msgspec.to_builtins(found) | {"words": in_words(found)} if found is not None else None


def _span(placed: Placed, trace: Trace) -> dict[str, Any]:
    span = placed.span
    facts = dict(zip(_OF_SPAN, _facts_of(span), strict=True))
    return facts | {
        "status": span.feed_status,
        "status_code": span.status,
        "depth": placed.depth,
        "offset_us": placed.offset_us,
        "altered": trace.altered.get(span.event, ()) if span.type != "decision" else (),
        "memory": _memory(span),
    }


@router.get("/v1/sessions")
def get_sessions(
    *,
    world: TheWorld,
    actor: Reader,
    agent: str | None = None,
    source: Annotated[str | None, Query(description="Where it was imported from, as `tau-bench`")] = None,
    after: Annotated[int | None, Query(ge=0)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> SessionList:
    """Sessions with their outcome, the one with the newest Event first."""
    found = service.list_sessions(world, actor, agent=agent, source=source, after=after, limit=limit)
    return SessionList(sessions=found, next=found[-1].last_seq if len(found) == limit else None)


@router.get("/v1/stats")
def get_stats(
    world: TheWorld,
    actor: Reader,
    window: Annotated[int, Query(ge=1, le=366 * 86400, description="Seconds to look back")] = 86400,
) -> StatsOut:
    """Each agent's calls by status, latency, tokens and errors."""
    return StatsOut(window_s=window, agents=service.stats(world, actor, timedelta(seconds=window)))


@router.get("/v1/recording")
def get_recording(
    world: TheWorld,
    _actor: Reader,
    window: Annotated[int, Query(ge=1, le=366 * 86400, description="Seconds to look back")] = 86400,
) -> Recording:
    """How well the record is kept: what the trace store lacks, and what gateways lost and why."""
    return recording.recording(world, timedelta(seconds=window))
