"""Sends sessions to the control plane, a batch at a time, so that it can be stopped anywhere and done again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tenure.client.http import Client
from tenure.kernel.errors import Refused
from tenure.kernel.values import Event

BATCH_EVENTS = 500
BATCH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one request, in order, and how many sessions are complete with them."""

    events: tuple[Event, ...]
    sessions: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: sessions and Events, and how many of the Events were ``new`` to the control plane."""

    sessions: int
    events: int
    new: int


def read(path: Path) -> bytes:
    """The bytes of a file. Raises Refused where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(
            "cannot_read", f"Cannot read {path}: {error.strerror}.", fix="Give the path of a file."
        ) from error


def batches(sessions: Iterable[Sequence[Event]]) -> Iterator[Batch]:
    """The Events of all sessions in order, cut so that a request stays small. A session's last Event, its outcome, is
    in its last batch."""
    pending: list[Event] = []
    size = complete = 0
    for session in sessions:
        for event in session:
            weight = len(msgspec.json.encode(event))
            if pending and (len(pending) >= BATCH_EVENTS or size + weight > BATCH_BYTES):
                yield Batch(tuple(pending), complete)
                pending, size, complete = [], 0, 0
            pending.append(event)
            size += weight
        complete += 1
    if pending:
        yield Batch(tuple(pending), complete)


def send(client: Client, sessions: Iterable[Sequence[Event]], advance: Callable[[int], Any]) -> Sent:
    """Posts all Events; each request is kept as a whole before the next is sent. ``advance`` hears of every number of
    sessions that are complete. Events that the control plane has already are not kept twice, for their ids are the
    same each time. Raises Refused or Failed as the control plane does."""
    done = events = new = 0
    for batch in batches(sessions):
        body = msgspec.to_builtins(batch.events)
        answer: Mapping[str, Any] = client.post("/v1/imports/events", dict[str, Any], json=body)
        done += batch.sessions
        events += len(batch.events)
        new += int(answer["accepted"])
        advance(batch.sessions)
    return Sent(done, events, new)
