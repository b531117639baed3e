"""Who keeps which history, as the control plane knows it: one gateway at a time, by a lease. Pure.

A gateway tells of every call before it makes it, in the order in which it happens, so what the control plane has of a
history is whole as soon as its keeper has given it back, or has begun again and told what it had still to tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tenure.kernel.histories import HistoryFact
from tenure.sequences.history import MAX_LOST, Step, packed, take, unpacked

TTL_S = 30.0
"""How long a gateway keeps a history from when it asked for it. It asks again well before."""
GRACE_S = 5.0
"""How much later the control plane gives it to another: what was told of it is there by then."""
MAX_WAITING = 100
MAX_LATE = 200


@dataclass(frozen=True, slots=True)
class Ask:
    """A gateway asks for a history, goes on keeping it, or gives it back (``final``). ``run`` is of its process;
    ``has``: it has heard what it was given."""

    history: str
    lease: str
    serial: int
    gateway: str
    run: str
    has: bool
    final: bool


class Waiting(msgspec.Struct, frozen=True):
    """A lease that is asked for while another holds."""

    lease: str
    serial: int
    gateway: str
    run: str
    until: float


@dataclass(frozen=True, slots=True)
class Record:
    """A history and its keeper. ``lease`` is empty while nobody keeps it. ``state`` is all that was told of it,
    ``given`` what its keeper was given, until it has asked again. ``late``: what others told since then. ``lost`` names
    the gateways that kept it and were not heard of again."""

    workspace: str
    history: str
    lease: str = ""
    serial: int = 0
    gateway: str = ""
    run: str = ""
    until: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    waiting: tuple[Waiting, ...] = ()
    state: str = ""
    given: str = ""
    late: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def read_ask(data: Mapping[str, Any]) -> Ask | None:
    """A request out of an Event; None for what is none."""
    try:
        return msgspec.convert({"has": False, "final": False, **data}, Ask)
    except msgspec.ValidationError:
        return None


def asked(record: Record, ask: Ask, now: datetime) -> Record:
    """The record after a request. What a gateway told before it asks has been taken by then."""
    until = now + timedelta(seconds=TTL_S + GRACE_S)
    if ask.gateway in record.lost:
        record = replace(record, lost=tuple(one for one in record.lost if one != ask.gateway))
    if ask.lease == record.lease:
        if ask.final:
            return _next(replace(record, lease="", given="", late=()), now)
        return replace(
            record, serial=max(ask.serial, record.serial), until=until, given="" if ask.has else record.given
        )
    others = tuple(one for one in record.waiting if one.lease != ask.lease)
    if ask.final:
        return replace(record, waiting=others)
    own = record.gateway == ask.gateway and record.run != ask.run  # its process before this one: it told all
    if record.lease and record.until > now and not own:
        me = Waiting(ask.lease, ask.serial, ask.gateway, ask.run, until.timestamp())
        if len(others) < len(record.waiting):  # who asks again keeps its place
            return replace(record, waiting=tuple(me if one.lease == me.lease else one for one in record.waiting))
        return replace(record, waiting=(*others, me)[:MAX_WAITING])
    if record.lease and record.gateway != ask.gateway:  # its time is over, and what it had still to tell is not here
        record = replace(record, lost=(*record.lost, record.gateway)[-MAX_LOST:])
    return _granted(replace(record, waiting=others), ask, until)


def _granted(record: Record, ask: Ask | Waiting, until: datetime) -> Record:
    return replace(
        record,
        lease=ask.lease,
        serial=ask.serial,
        gateway=ask.gateway,
        run=ask.run,
        until=until,
        given=record.state,
        late=(),
    )


def _next(record: Record, now: datetime) -> Record:
    """The record with the one who waits longest as its keeper, if somebody does."""
    waiting = tuple(one for one in record.waiting if one.until > now.timestamp())
    if not waiting:
        return replace(record, waiting=())
    first = waiting[0]
    return _granted(replace(record, waiting=waiting[1:]), first, datetime.fromtimestamp(first.until, UTC))


def told(record: Record, lease: str, step: Step) -> Record:
    """The record after a call began or ended, as its gateway tells. What another than the present keeper tells is
    handed on to that one."""
    history = unpacked(record.state)
    take(history, step)
    late = record.late
    if record.lease and lease != record.lease:
        late = (*late, msgspec.json.encode(step).decode())[-MAX_LATE:]
    return replace(record, state=packed(history), late=late)


def fact(record: Record) -> HistoryFact:
    """What gateways hear of a history that is kept."""
    return HistoryFact(
        lease=record.lease,
        workspace=record.workspace,
        history=record.history,
        serial=record.serial,
        ttl_s=TTL_S,
        state=record.given,
        late=record.late,
        wanted=bool(record.waiting),
        lost=record.lost,
    )
