"""Taking the Events of one trace store over into another, whichever engines they are.

Through the verbs that every engine has: a piece is read, its content opened, sealed anew under the keys of its subjects
and added, which moves the other store's cursor. Killed anywhere it goes on there. What was let go or erased stays so.
The former store is only read.
"""

from __future__ import annotations

from collections.abc import Iterator

from tenure.kernel.errors import Failed, Refused
from tenure.telemetry.traces.interface import TraceStore, Which

PIECE = 5_000
"""Events that are read, and added, at once."""


def move(former: TraceStore, store: TraceStore, piece: int = PIECE) -> Iterator[tuple[int, int]]:
    """Adds to ``store`` what it lacks of ``former``; after each piece, how many Events it was and the number of the
    last one. Raises Refused for a store that is not the beginning of the former one, and when somebody else adds to it
    meanwhile; Failed while one of them does not answer or is being renewed."""
    for each in (former, store):
        if each.renewal is not None:
            raise each.renewal.refusal()
        each.known(["-"])  # one that is away says so now; its cursor would be 0
    _is_beginning(former, store)
    reached = store.cursor
    while batch := former.events(Which(after=reached), piece):
        store.add(batch)
        reached = batch[-1].seq
        if store.cursor != reached:
            raise _written(store)
        yield len(batch), reached


def _is_beginning(former: TraceStore, store: TraceStore) -> None:
    if not store.cursor:
        return
    last = [[one.event.id for one in each.events(Which(after=store.cursor - 1), 1)] for each in (former, store)]
    if store.cursor > former.cursor or last[0] != last[1]:
        raise Refused(
            "trace_store_not_empty",
            f"{store.place} has Events that did not come from {former.place}; nothing can be put before them.",
            fix="Name an empty place with TENURE_TRACES, move, and start Tenure after that: what happened meanwhile is "
            "taken from the event log, which goes back a day.",
            status=409,
        )


def _written(store: TraceStore) -> Failed:
    return Failed(
        "trace_store_in_use", f"Somebody else adds to {store.place}. Stop Tenure, and begin with an empty place."
    )
