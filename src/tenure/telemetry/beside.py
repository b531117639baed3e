"""What belongs to no trace and has its place in one: the request that it began with, and what was done to its agents,
tools and policies while it ran. Pure.

A suspension or another policy concerns every trace that runs at the time, so its Event names none. It is shown in each,
below the span that it found at work, and says why it is there (``tenure.joined``); so nobody takes it for something
that the agent did. What a trace began with (a person's login, what they allowed, the token that was made of it) is put
above its first span, one below the other, by the instance that the token names.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tenure.kernel.ids import session_trace
from tenure.kernel.values import Event
from tenure.telemetry.model import JOINED, Span, span_of

BEFORE = timedelta(days=1)
"""How long before its first span a trace may have begun: no token lives longer."""
AFTER = timedelta(minutes=1)
"""How long after its last span a change of what it is about is shown: what stops an agent is often the last that is
heard of it."""

LOGIN = "person.logged_in"
REQUESTS = ("login.allowed", "login.begun", "instance.started", "token.issued")
"""What a trace begins with, in this order, after the login of whoever asked."""
CHANGES = frozenset(
    {"agent.applied", "agent.credentials_revoked", "agent.dependency_stopped", "agent.owner_changed"}
    | {"agent.transitioned", "agent_key.revoked", "agent_token.revoked", "autonomy.accepted", "autonomy.fell_back"}
    | {"autonomy.set", "breaker.closed", "breaker.reset", "breaker.tripped", "credentials.replaced"}
    | {"credentials.revoked", "credentials.rotated", "instance.ended", "limits.removed", "limits.set", "login.ended"}
    | {"person.limited", "person.removed", "policy.loaded", "precedent.published", "precedent.revoked"}
    | {"release.approved", "release.created", "release.rejected", "tool.changed", "tool.disabled", "tool.enabled"}
    | {"tool.held", "tool.pinned", "tool.rejected", "tool.restored"}
)
"""What changes what an agent may do, or stops it."""


@dataclass(frozen=True, slots=True)
class Run:
    """Whom and what a trace is about. ``people``: whom its agents worked for; ``first``: the instances of the spans
    that it began with."""

    began: datetime
    ended: datetime
    agents: frozenset[str]
    instances: frozenset[str]
    releases: frozenset[str]
    resources: frozenset[str]
    people: frozenset[str]
    first: frozenset[str]


def run_of(spans: Sequence[Span]) -> Run | None:
    """Whom a trace is about; None for one without a span that did anything, as one that holds only moments."""
    work = [span for span in spans if _is_work(span)]
    if not work:
        return None
    people = {span.attributes.get(name) for span in work for name in ("tenure.on_behalf_of", "enduser.id")}
    return Run(
        began=min(span.start for span in work),
        ended=max(span.end for span in work),
        agents=frozenset(span.agent for span in work if span.agent),
        instances=frozenset(span.instance for span in work if span.instance),
        releases=frozenset(span.release for span in work if span.release),
        resources=frozenset(str(span.attributes.get("tenure.resource") or "") for span in work) - {""},
        people=frozenset(str(one) for one in people if one),
        first=frozenset(span.instance for span in _roots(work, spans) if span.instance),
    )


def _is_work(span: Span) -> bool:
    return span.type in ("call.completed", "call.refused", "otlp.span")  # what was imported ran elsewhere


def _roots(work: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    known = {span.span_id for span in spans}
    return [span for span in work if span.parent_span_id not in known]


def joined(spans: Sequence[Span], around: Iterable[Event]) -> tuple[list[Span], list[Span]]:
    """(the spans of a trace, those that it began with below its request; the moments that are shown beside them).
    ``around``: Events of the workspace of about that time that name no trace."""
    run = run_of(spans)
    if run is None:
        return list(spans), []
    events = sorted(around, key=lambda event: (event.time, event.id))
    work = sorted((span for span in spans if _is_work(span)), key=lambda span: span.start)
    request = _request(run, events, spans[0].trace_id)
    above = {instance: moments[-1].span_id for instance, moments in request.items()}
    roots = {id(span) for span in _roots(work, spans)}
    placed = [
        _below(span, above[span.instance]) if id(span) in roots and span.instance in above else span for span in spans
    ]
    changes = [_changed(event, why, work) for event in events if (why := concerns(run, event))]
    moments = {one.span_id: one for found in request.values() for one in found}
    return placed, [*moments.values(), *changes]


def _below(span: Span, parent: str) -> Span:
    """A span that a trace began with, below its request. What its client said that it is below, and never sent, is
    kept as a link."""
    told = span.parent_span_id
    if not told or told == session_trace(span.workspace, span.session or "")[1]:
        return replace(span, parent_span_id=parent)
    link = {"trace_id": span.trace_id, "span_id": told, "attributes": {"tenure.link": "parent_as_told"}}
    return replace(span, parent_span_id=parent, links=(*span.links, link))


# --- what it began with -----------------------------------------------------------------------------------------------


def asker(events: Iterable[Event]) -> str:
    """Who asked for what an instance did, as ``person:EMAIL``: whoever allowed or started it, or else the one for whom
    its token is; empty for nobody."""
    asked = [event for event in events if event.type in REQUESTS]
    actors = [event.actor for event in asked if event.actor.startswith("person:")]
    told = [f"person:{event.data['on_behalf_of']}" for event in asked if event.data.get("on_behalf_of")]
    return next(iter((*told, *actors)), "")


def _request(run: Run, events: Sequence[Event], trace_id: str) -> Mapping[str, list[Span]]:
    """For each instance that a trace began with, what that came of: the first first, each below the one before."""
    out: dict[str, list[Span]] = {}
    for instance in sorted(run.first):
        mine = [one for one in events if one.instance == instance and one.type in REQUESTS and one.time <= run.began]
        found = {event.type: event for event in mine}  # of a kind that was told several times, the latest
        steps = [found[kind] for kind in REQUESTS if kind in found]
        if not steps:
            continue
        who = asker(steps)
        logins = [one for one in events if one.type == LOGIN and one.actor == who and one.time <= steps[0].time]
        parent, moments = None, []
        for event in [*logins[-1:], *steps]:
            moments.append(_moment(event, "request", parent, trace_id))
            parent = moments[-1].span_id
        out[instance] = moments
    return out


# --- what changed meanwhile -------------------------------------------------------------------------------------------


def concerns(run: Run, event: Event) -> str:
    """What of a trace a change is about; empty where it is about nothing in it."""
    if event.type not in CHANGES or not run.began <= event.time <= run.ended + AFTER:
        return ""
    data = event.data
    if event.type.startswith("breaker.") and event.agent is None:
        return _of_scope(run, str(data.get("scope")), str(data.get("name")))
    why, holds = "workspace", event.time <= run.ended
    if event.instance is not None or event.agent is not None:
        why, holds = "agent", event.instance in run.instances if event.instance else event.agent in run.agents
    elif event.type.startswith("tool."):
        resource = str(data.get("resource") or "")
        why, holds = "tool", any(one == resource or one.startswith(f"{resource}/") for one in run.resources)
    elif event.type.startswith("person."):
        why, holds = "request", data.get("email") in run.people
    return why if holds else ""


def _of_scope(run: Run, scope: str, name: str) -> str:
    known = {"agent": run.agents, "tool": run.resources, "release": run.releases, "chain": run.agents}
    if scope == "workspace":  # a stop of everything
        return scope
    return scope if name in known.get(scope, ()) else ""


def _changed(event: Event, why: str, work: Sequence[Span]) -> Span:
    """A change below the span that it found at work: of the agent that it is about, or of any."""
    mine = [span for span in work if span.agent == event.agent] if event.agent else work
    begun = (mine or work)[: bisect_right(mine or work, event.time, key=lambda span: span.start)]
    running = [span for span in begun if span.end >= event.time]
    found = (running or begun or [work[0]])[-1]
    return _moment(event, why, found.span_id, found.trace_id)


def _moment(event: Event, why: str, parent: str | None, trace_id: str) -> Span:
    span = span_of(event)
    attributes = {**span.attributes, JOINED: why}
    return replace(span, trace_id=trace_id, parent_span_id=parent, attributes=attributes)
