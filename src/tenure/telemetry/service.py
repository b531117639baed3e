"""The verbs of telemetry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from tenure.base import events as log
from tenure.base import subjects
from tenure.base.events import Logged
from tenure.base.room import World
from tenure.base.scan.kept import ALWAYS, kept, kept_of_json
from tenure.base.sight import Sight, opened
from tenure.base.subjects import Keyring
from tenure.kernel.budgets import PriceFact
from tenure.kernel.errors import Refused
from tenure.kernel.ids import stable_id
from tenure.kernel.money import nano
from tenure.kernel.values import Actor, Event, Role, Status
from tenure.telemetry import store
from tenure.telemetry.altering import altered, plays
from tenure.telemetry.around import around
from tenure.telemetry.beside import joined, run_of
from tenure.telemetry.doings import actors, acts, coherent, signals, toolbox
from tenure.telemetry.figures import causes, changes, measured, walked
from tenure.telemetry.keeping import (
    content_under,
    drop,
    expire,
    expire_others,
    held_under,
    kept_upto,
    scrub,
    thin,
    told_under,
)
from tenure.telemetry.model import (
    IMPORT_TYPES,
    AgentStats,
    Heard,
    Outcome,
    RecordedCall,
    Session,
    Span,
    ToolUse,
    Trace,
    TraceSummary,
    Used,
    span_of,
    trace_of,
)
from tenure.telemetry.prices import Prices, read_prices
from tenure.telemetry.shapes import shaped
from tenure.telemetry.showing import shown
from tenure.telemetry.traces import engines, shelf
from tenure.telemetry.traces.content import withheld
from tenure.telemetry.traces.interface import TraceStore, Which
from tenure.telemetry.traces.shelf import store_of
from tenure.telemetry.traces.terms import Found, query_of

__all__ = ["actors", "acts", "causes", "changes", "coherent", "content_under"]
__all__ += ["drop", "expire", "expire_others", "held_under", "kept_upto", "measured"]
__all__ += ["scrub", "signals", "thin", "told_under", "toolbox", "walked"]
"""What other modules do for this one; all that is defined here is for others as well."""

KEEP = timedelta(hours=24)
"""How long an Event stays in the event log (the row buffer) after it began, once every reader has passed it."""
PUMP_BATCH = 5000
CALLS_BATCH = 5000
MAX_TRACE = 20_000
"""The most spans of one trace that are shown."""

_prices: dict[Path, Prices] = {}


# --- the store's life -------------------------------------------------------------------------------------------------


def open_store(world: World) -> None:
    """Opens the trace store of this data folder and reads the prices. Raises Failed or Refused, one line each, when the
    store is damaged, in use, from a newer version, or was filled from another control database, and when there are
    prices of one's own that cannot be read."""
    prices = _own_prices(world.config.prices)
    opened = engines.open_engine(world.config, Keyring(world.db, world.config))
    try:
        with world.read() as connection:
            _is_ours(opened, log.head(connection))
    except BaseException:
        opened.close()
        raise
    shelf.put(world, opened)
    _prices[world.config.data_dir.resolve()] = prices


def _is_ours(target: TraceStore, newest: int) -> None:
    if target.cursor > newest:
        raise Refused(
            "trace_store_of_another",
            f"{target.place} has read up to Event {target.cursor}, but the control database ends at {newest}.",
            fix="Restore the control database that belongs to it, or name another trace store to begin an empty one.",
            status=409,
        )


def price(world: World, provider: str, model: str) -> PriceFact | None:
    """What a model's tokens cost now, as far as it is known."""
    found = _prices.get(world.config.data_dir.resolve(), Prices()).of_thousand(provider, model, world.clock())
    return PriceFact(*map(nano, found)) if found is not None else None


def _own_prices(path: str) -> Prices:
    if not path:
        return Prices()
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        fix = "Unset TENURE_PRICES, or name a file."
        raise Refused("bad_prices", f"{path} cannot be read: {error.strerror}.", fix=fix) from None
    return read_prices(text, path)


def close_store(world: World) -> None:
    """Closes the trace store, if it is open."""
    opened = shelf.take(world)
    if opened is not None:
        opened.close()


def pump(world: World) -> int:
    """Moves the next batch of the event log into the trace store; returns how many Events it held, or 1 when there was
    none and something was done behind. A store that an older Tenure wrote is first brought to this version, piece by
    piece; when there are enough new Events, they are summed up."""
    target = store_of(world)
    if target.renew():
        return 1
    with world.read() as connection:
        batch = log.read(connection, target.cursor, PUMP_BATCH)
        _is_ours(target, batch[-1].seq if batch else log.head(connection))  # a server may have come since it was opened
    if batch:
        target.add(batch)
    summed = target.sum_up()
    return len(batch) or int(summed)


def current(world: World) -> TraceStore:
    """The trace store with all in it that was in the event log when this was asked, so that what a caller was told is
    kept is also what it reads."""
    target = store_of(world)
    with world.read() as connection:
        newest = log.head(connection)
    while target.renewal is None and target.cursor < newest and pump(world):
        pass
    return target


# --- taking Events in -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Taken:
    """``accepted`` Events are new and durable now; ``known`` ones were already."""

    accepted: int
    known: int


def ingest(world: World, actor: Actor, events: Sequence[Event]) -> Taken:
    """Keeps what a gateway saw. When it returns, the Events are durable. An agent's first use of a tool is flagged
    (D10), and what a model call cost is added to it: here and not in the gateway, where it would take time of calls."""
    assert Role.GATEWAY in actor.roles, "only gateways send call Events"  # noqa: S101 (the API asks for the role)
    prices = _prices.get(world.config.data_dir.resolve(), Prices())
    redacted = world.config.redacted  # by its gateway already; one that is not ours may not have done so
    return _keep(world, [kept_of_json(prices.priced(event), redacted) for event in events])


def import_events(world: World, actor: Actor, events: Sequence[Event]) -> Taken:
    """Keeps what a person brings from elsewhere; each Event says who brought it. Importing again keeps nothing twice.
    Only secrets are taken out: what was chosen to be imported is to be replayed. Raises Refused when an Event is for
    another workspace than the person's."""
    for index, event in enumerate(events):
        if event.workspace != actor.workspace:
            raise Refused(
                "other_workspace",
                f"Event {index} is for workspace {event.workspace!r}; {actor.name} is in {actor.workspace!r}.",
                fix="Import into your own workspace.",
                status=403,
                details={"index": index},
            )
    return _keep(world, [kept(_brought(event, actor.name), ALWAYS) for event in events])


def _brought(event: Event, by: str) -> Event:
    # Under an id of its own: one that was chosen to be that of a trip or a grant to come would keep it out of the log.
    ident = stable_id("import", event.workspace, event.id)
    return replace(event, id=ident, data={**event.data, "tenure.imported_by": by})


def keep_spans(world: World, events: Sequence[Event]) -> Taken:
    """Keeps spans that an agent sent over OTLP, redacted. What a model call in them cost is added."""
    prices = _prices.get(world.config.data_dir.resolve(), Prices())
    return _keep(world, [kept(prices.priced(event), world.config.redacted) for event in events])


def _keep(world: World, events: Sequence[Event]) -> Taken:
    # What began long ago may have been kept and pruned since; what is imported has the time of its import, each time.
    oldest = world.clock() - KEEP
    late = [event.id for event in events if event.time < oldest or event.type in IMPORT_TYPES]
    known = store_of(world).known(late)
    fresh = [shaped(event) for event in events if event.id not in known]
    with world.begin() as tx:
        accepted = log.append(tx, _flagged(store.first_uses(tx, _tool_calls(fresh)), fresh))
    return Taken(accepted, len(events) - accepted)


def _tool_calls(events: Iterable[Event]) -> list[Event]:
    return [
        event
        for event in events
        if event.type == "call.completed"
        and event.agent
        and event.data.get("tenure.kind") == "tool"
        and event.data.get("tenure.resource")
    ]


def _flagged(first: set[str], events: Sequence[Event]) -> list[Event]:
    return [_first_use(event) if event.id in first else event for event in events]


def _first_use(event: Event) -> Event:
    status = Status.FLAGGED if event.status is Status.ALLOWED else event.status
    return replace(event, status=status, data={**event.data, "tenure.first_use": True})


# --- reading ----------------------------------------------------------------------------------------------------------


def list_events(
    world: World,
    actor: Actor,
    *,
    after: int | None = None,
    limit: int = 100,
    agent: str | None = None,
    type: str | None = None,  # noqa: A002 (the API's own word)
    status: Status | None = None,
    session: str | None = None,
    content: bool = True,
) -> list[Logged]:
    """Events of the actor's workspace, by number: those after ``after``, or the newest ones; with what was said as far
    as the actor may see it, and with none of it where ``content`` is false."""
    which = Which(workspace=actor.workspace, agent=agent, status=status, session=session, type=type, after=after)
    target = current(world)
    found = target.newest(which, limit)[::-1] if after is None else target.events(which, limit)
    if not content:
        return [replace(logged, event=withheld(logged.event)) for logged in found]
    return shown(world, actor, found, f"events of {session or agent or 'all agents'}")[0]


def recorded_calls(world: World, workspace: str, since: datetime, agent: str | None = None) -> Iterator[RecordedCall]:
    """Every call that was decided in a workspace since a time, oldest first, read in pieces."""
    target, after = current(world), -1
    while True:
        which = Which(workspace=workspace, agent=agent, since=since, after=after)
        batch = target.calls(which, CALLS_BATCH)
        yield from batch
        if len(batch) < CALLS_BATCH:
            return
        after = batch[-1].seq


def recorded_call(world: World, workspace: str, call_id: str) -> RecordedCall | None:
    """A call by its id, if it is kept and of that workspace."""
    return next(iter(current(world).calls(Which(workspace=workspace, id=call_id), 1)), None)


def event(world: World, workspace: str, ident: str) -> Event | None:
    """An Event by its id, whole, if it is kept and of that workspace: who asks sees to it who may see its content."""
    return next((one.event for one in current(world).events(Which(workspace=workspace, id=ident), 1)), None)


def spans_of_trace(world: World, actor: Actor, trace_id: str) -> list[Span]:
    """Every span of a trace of the actor's workspace, by the order in which it was told; what was said in it as far as
    the actor may see that."""
    return _spans(world, actor, trace_id)[0]


def _spans(world: World, actor: Actor, trace_id: str) -> tuple[list[Span], str]:
    found = current(world).events(Which(workspace=actor.workspace, trace_id=trace_id), MAX_TRACE)
    told, ask = shown(world, actor, found, trace_id)
    return [span_of(logged.event) for logged in told], ask


def must_know(world: World, workspace: str, trace_id: str) -> None:
    """Raises Refused (404) for a trace that nothing is known of."""
    if not current(world).events(Which(workspace=workspace, trace_id=trace_id), 1):
        raise _unknown(trace_id)


def _unknown(trace_id: str) -> Refused:
    fix = "`tenure traces list` shows what there is."
    return Refused("unknown_trace", f"Nothing is known of trace {trace_id}.", fix=fix, status=404)


def trace(world: World, actor: Actor, trace_id: str, *, decisions: bool = True, retries: bool = True) -> Trace:
    """The waterfall of a trace, its ``decisions`` as spans of their own or not, the fields of ``retries`` told or not,
    with what it began with and what was done meanwhile to what it is about (``beside``); what was said in it as far as
    the actor may see that. Raises Refused (404) for one that nothing is known of."""
    spans, ask = _spans(world, actor, trace_id)
    if not spans:
        raise _unknown(trace_id)
    beside = joined(spans, around(store_of(world), actor.workspace, run_of(spans)))
    found = trace_of(trace_id, *beside, decisions=decisions)
    played = _spans(world, actor, plays(spans))[0] if plays(spans) else ()
    return replace(found, withheld=ask, altered=altered(spans, played, retries=retries))


def list_traces(
    world: World,
    actor: Actor,
    *,
    agent: str | None = None,
    session: str | None = None,
    after: int | None = None,
    limit: int = 50,
) -> list[TraceSummary]:
    """Traces, the one with the newest Event first; ``after`` goes on after the ``last_seq`` of another."""
    which = Which(workspace=actor.workspace, agent=agent, session=session)
    return current(world).traces(actor.workspace, which, after, limit)


def search(
    world: World,
    actor: Actor,
    text: str,
    window: timedelta,
    *,
    agent: str | None = None,
    session: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> Found:
    """The newest Events of the last ``window`` in whose content every word of ``text`` is, of agents whose content the
    actor may see. Raises Refused (422) for a text without a word."""
    which = Which(agent=agent, session=session, since=world.clock() - window)
    found, sight = current(world).find(actor.workspace, which, query_of(text), before, limit), Sight(world, actor)
    hits = tuple(hit for hit in found.hits if sight.of(hit.agent))
    for name in {hit.agent for hit in hits}:
        opened(world, actor, f"search of {name or 'what is of no agent'}", [name])
    return replace(found, hits=hits)


def list_sessions(
    world: World,
    actor: Actor,
    *,
    agent: str | None = None,
    source: str | None = None,
    after: int | None = None,
    limit: int = 50,
) -> list[Session]:
    """Sessions with their outcome, the one with the newest Event first; ``after`` as in ``list_traces``."""
    which = Which(workspace=actor.workspace, agent=agent, source=source)
    found = current(world).sessions(actor.workspace, which, after, limit)
    sight = Sight(world, actor)
    return [
        one
        if one.outcome is None or not one.outcome.detail or sight.of(one.agent)
        else replace(one, outcome=replace(one.outcome, detail={"tenure.content": "withheld"}))
        for one in found
    ]


def outcomes(world: World, actor: Actor, source: str | None = None) -> list[Outcome]:
    """How every session ended that somebody judged, of one source or of all."""
    return current(world).outcomes(Which(workspace=actor.workspace, source=source))


def stats(world: World, actor: Actor, window: timedelta) -> list[AgentStats]:
    """Each agent's calls in the last ``window``, in figures."""
    return current(world).stats(actor.workspace, world.clock() - window)


def tool_uses(world: World, actor: Actor, window: timedelta) -> list[ToolUse]:
    """Every tool that every agent has called, with how often in the last ``window``; as far as the trace store has
    read, so that asking costs nothing when much happens."""
    return store_of(world).tool_uses(actor.workspace, world.clock() - window)


def agent_uses(world: World, workspace: str, window: timedelta) -> list[ToolUse]:
    """As ``tool_uses``, for agents that agents have called: ``resource`` is the one that was called."""
    return store_of(world).tool_uses(workspace, world.clock() - window, "invoke_agent")


LOOK = 200_000
"""So many Events one look takes in at most."""


def heard(world: World, after: int) -> Heard:
    """Who else is heard of in the Events after ``after``, of the whole installation; as far as the store has read."""
    target = store_of(world)
    upto = min(target.cursor, after + LOOK)
    if upto <= after:
        return Heard(upto=after, more=False)
    since = world.clock() - timedelta(days=1)
    return Heard(
        upto=upto,
        more=upto < target.cursor,
        strangers=tuple(target.strangers(after, upto, since)),
        introduced=tuple(target.introduced(after, upto)),
        spoken=tuple(target.spoken(after, upto)),
        peers=tuple(target.refused_peers(after, upto)),
    )


def used(world: World, after: int) -> tuple[list[Used], int, bool]:
    """(who used what in the Events after ``after``, the number of the last of them, whether there are more)."""
    target = store_of(world)
    upto = min(target.cursor, after + LOOK)
    if upto <= after:
        return [], after, False
    rows = target.used(after, upto)
    with world.read() as connection:
        known = subjects.names(connection, {number for number, _ in rows if number is not None})
    people = {number: name.removeprefix("person:") for number, name in known.items() if name.startswith("person:")}
    return [replace(one, person=people.get(number or 0, "")) for number, one in rows], upto, upto < target.cursor


# --- pruning ----------------------------------------------------------------------------------------------------------


def prune(world: World, limit: int = 5000) -> int:
    """Deletes Events from the row buffer that are older than ``KEEP`` and that every reader, the trace store among
    them, has passed; returns how many. Does nothing while the wiring has named no readers."""
    if not world.consumers:
        return 0
    upto = store_of(world).cursor
    done = 0
    while True:
        with world.db.begin() as tx:  # not news to anybody: no bell
            count = log.prune(tx, world.consumers, upto, world.clock() - KEEP, limit)
        done += count
        if count < limit:
            return done
