"""The control plane or a gateway, started as always, that notes when each Event passed where.

``python -m bench.feed.marked control|gateway FILE`` serves until it is told to stop and appends ``hop time id`` lines
to FILE (time: seconds since 1970; the clock of the machine, which all processes and the browser share). With
``BENCH_SLOW_STORE`` seconds in the environment, every batch that the trace store takes is so much slower.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from tenure.app import server
from tenure.gateway import __main__ as gateway
from tenure.gateway.app import Gateway
from tenure.gateway.spool import Spool
from tenure.telemetry import intake, service
from tenure.telemetry.feed import tail
from tenure.telemetry.traces.duck import DuckStore


class _Named(msgspec.Struct):
    id: str


_named = msgspec.json.Decoder(_Named).decode
_marks: list[tuple[str, float, list[str]]] = []


def mark(hop: str, ids: Iterable[str]) -> None:
    """All of these passed ``hop`` now."""
    _marks.append((hop, time.time(), list(ids)))


def _ids(records: Iterable[bytes]) -> list[str]:
    return [_named(record).id for record in records if record]


def _write(path: Path) -> None:
    with path.open("a") as file:
        while True:
            time.sleep(0.5)
            count = len(_marks)
            file.writelines(f"{hop} {at:.6f} {ident}\n" for hop, at, ids in _marks[:count] for ident in ids)
            file.flush()
            del _marks[:count]


def mark_gateway() -> None:
    """Notes: recorded, durable, sent, acknowledged."""
    append, written, ship = Spool.append, Spool._written, Gateway._ship

    def appended(self: Spool, event: Any, **more: Any) -> None:
        mark("recorded", [event.id])
        append(self, event, **more)

    def on_disk(self: Spool, batch: list[bytes], *more: Any) -> None:
        mark("durable", _ids(batch))
        written(self, batch, *more)

    async def shipped(self: Gateway, payload: bytes) -> int:
        ids = _ids(payload.split(b"\n"))
        mark("sent", ids)
        status = await ship(self, payload)
        mark("acknowledged", ids)
        return status

    Spool.append, Spool._written, Gateway._ship = appended, on_disk, shipped  # type: ignore[method-assign,assignment]


def mark_control() -> None:
    """Notes: arrived, scanned, committed, told."""
    parse, keep, said, add = intake.parse_events, service._keep, tail.line, DuckStore.add
    slow = float(os.environ.get("BENCH_SLOW_STORE", "0"))

    def parsed(*given: Any) -> Any:
        events = parse(*given)
        mark("arrived", [event.id for event in events])
        return events

    def kept(world: Any, events: Any) -> Any:
        mark("scanned", [event.id for event in events])
        taken = keep(world, events)
        mark("committed", [event.id for event in events])
        return taken

    def told(logged: Any) -> Any:
        mark("told", [logged.event.id])
        return said(logged)

    def added(self: DuckStore, batch: Any) -> None:
        time.sleep(slow)
        add(self, batch)

    intake.parse_events, service._keep, DuckStore.add = parsed, kept, added  # type: ignore[method-assign,assignment]
    tail.line = told


def main() -> int:
    """The command line."""
    kind, path = sys.argv[1:3]
    threading.Thread(target=_write, args=(Path(path),), daemon=True).start()
    if kind == "control":
        mark_control()
        return server.main()
    mark_gateway()
    return gateway.main()


if __name__ == "__main__":
    sys.exit(main())
