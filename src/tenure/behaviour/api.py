"""Behaviour over HTTP."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tenure.base.http import TheActor, TheWorld
from tenure.behaviour import service
from tenure.behaviour.deviations import figures
from tenure.behaviour.model import ENOUGH, Behaviour, Deviation, Kind, shares
from tenure.behaviour.signals import State

router = APIRouter(tags=["behaviour"])

MOST_ORDERS = 40


class DeviationOut(BaseModel):
    """One way in which an agent departs from what is usual of it."""

    kind: Kind
    subject: str = Field(description="The tool, or the order of two, that it is about; empty for all")
    words: str
    sure: bool = Field(description="Whether it is unlikely enough by chance to act on, after all that was looked at")
    chance: float | None = Field(description="How likely chance alone does it; null for what was never there before")
    trace_id: str = Field(description="With `span_id`: a call to look at; empty for what is of no single call")
    span_id: str


class ShareOut(BaseModel):
    """How often a tool (or an hour, or an order of two) is among the calls, before and now."""

    name: str
    expected: float
    seen: float
    before: int
    now: int


class FigureOut(BaseModel):
    """The median of a figure before and now. `unit`: ms, bytes, tokens, usd or calls."""

    name: str
    unit: str
    expected: float | None
    seen: float | None


class BehaviourOut(BaseModel):
    """An agent held against what is usual of it."""

    agent: str
    release: str
    state: str = Field(description="`learning`, `quiet` (it did nothing), `usual` or `deviates`")
    against: str = Field(description="What it is held against, in words")
    since: datetime = Field(description="From when on its calls are held against what was before")
    until: datetime
    calls: int = Field(description="Tool calls since then")
    runs: int
    learned: int = Field(description="Tool calls before, from which what is usual was learned")
    learned_runs: int
    needed: int = Field(description="So many are needed to say what is usual")
    distance: float = Field(description="How far its tools are apart from what is usual: Jensen-Shannon, from 0 to 1")
    handoff_rate: float | None = Field(description="Of its runs of late, the share in which it brought a person in")
    coherence: float | None = Field(
        description="Of its tool calls of late, the share that repeated none before in vain"
    )
    deviations: list[DeviationOut] = Field(description="The surest first")
    tools: list[ShareOut]
    orders: list[ShareOut] = Field(description="Which tool came after which, as `first > then`; the most frequent")
    hours: list[ShareOut] = Field(description="By the hour of the day, UTC")
    figures: list[FigureOut]


class SeenOut(BaseModel):
    """One signal of an agent. `state`: `seen`, `ready` (it will be, as soon as it happens), or `blind`."""

    name: str
    title: str
    what: str
    state: State
    count: int
    last: datetime | None
    trace_id: str
    todo: str = Field(description="What to do so that it is seen; empty where it is or will be")


def _deviation(one: Deviation) -> DeviationOut:
    return DeviationOut.model_validate(one, from_attributes=True)


@router.get("/v1/agents/{name}/behaviour")
def behaviour(  # noqa: PLR0917 (whose, and what is held against what)
    world: TheWorld,
    actor: TheActor,
    name: str,
    hours: Annotated[int, Query(ge=1, le=24 * 30, description="What is held against what was before: so many")] = 24,
    days: Annotated[int, Query(ge=1, le=366, description="How long before that what is usual is learned from")] = 30,
    release: Annotated[
        str | None, Query(max_length=200, description="Hold what was done under this one against what was before it")
    ] = None,
) -> BehaviourOut:
    """What an agent did of late, held against what is usual of it: its tools, their order, its arguments, errors,
    times, tokens, cost and hours. From facts; nothing of what was said is read."""
    lately, before = timedelta(hours=hours), timedelta(days=days)
    found = service.behaviour(world, actor, name, lately=lately, before=before, release=release)
    return _out(found, *service.rates(world, actor, name, lately))


def _out(found: Behaviour, handed: float | None, coherence: float | None) -> BehaviourOut:
    expected, seen = found.expected, found.seen
    orders = shares(
        Counter({" > ".join(key): count for key, count in expected.orders.items()}),
        Counter({" > ".join(key): count for key, count in seen.orders.items()}),
    )
    hours = shares(
        Counter({f"{key:02}": count for key, count in expected.hours.items()}),
        Counter({f"{key:02}": count for key, count in seen.hours.items()}),
    )
    return BehaviourOut(
        agent=found.agent,
        release=found.release,
        state=found.state,
        against=found.against,
        since=found.since,
        until=found.until,
        calls=seen.calls,
        runs=seen.runs,
        learned=expected.calls,
        learned_runs=expected.runs,
        needed=ENOUGH,
        distance=round(found.distance, 4),
        handoff_rate=handed,
        coherence=coherence,
        deviations=[_deviation(one) for one in found.deviations],
        tools=[ShareOut.model_validate(one, from_attributes=True) for one in shares(expected.tools, seen.tools)],
        orders=[ShareOut.model_validate(one, from_attributes=True) for one in orders[:MOST_ORDERS]],
        hours=sorted((ShareOut.model_validate(one, from_attributes=True) for one in hours), key=lambda one: one.name),
        figures=[FigureOut.model_validate(one, from_attributes=True) for one in figures(expected, seen)],
    )


@router.get("/v1/traces/{trace_id}/deviations")
def of_trace(world: TheWorld, actor: TheActor, trace_id: str) -> list[DeviationOut]:
    """What the tool calls of a trace do that their agents never did in the 30 days before it, or far outside of what
    they did. Empty too where too little is known of them."""
    return [_deviation(one) for one in service.of_trace(world, actor, trace_id)]


@router.get("/v1/agents/{name}/signals")
def signals(
    world: TheWorld,
    actor: TheActor,
    name: str,
    days: Annotated[int, Query(ge=1, le=366, description="How far to look back")] = 30,
) -> list[SeenOut]:
    """Which signals are seen of an agent and which are not, in the order in which it is worth making them seen: tool
    calls, policy rejections, memory writes, escalations, irreversible effects; then planning, retrieval, retries; last
    satisfaction and outcomes. With what to do about each that is not."""
    found = service.seen_of(world, actor, name, timedelta(days=days))
    return [SeenOut.model_validate(one, from_attributes=True) for one in found]
