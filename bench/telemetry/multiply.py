"""Makes a store larger in SQL: ``python -m bench.telemetry.multiply FOLDER --spans N --written M``. Prints JSON.

What was written the store's own way is copied until there are so many spans: with later numbers and times, in sessions
and traces of their own, agents and content the same. The copies' ids are those of what they are copies of, which
content is sealed to. Then the store is opened and makes its sums, which is timed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from bench.telemetry.place import arguments, opened, peak_mib
from bench.telemetry.spans import DAYS, WORKSPACE
from tenure.telemetry.traces.duck_older import connect
from tenure.telemetry.traces.shelf import store_of

_COPY = f"""
    INSERT INTO event SELECT * EXCLUDE (name_here, mark) REPLACE (
        seq + $1 AS seq, time_us + $2 AS time_us, name_here AS session, left(mark, 32) AS trace_id,
        substr(mark, 33, 16) AS parent_span_id)
    FROM (SELECT *, sha256('{WORKSPACE}' || chr(31) || name_here) AS mark
          FROM (SELECT *, 's' || (substr(session, 2)::BIGINT + $3) AS name_here FROM event WHERE seq <= $4)) AS more
    WHERE seq <= $5"""  # noqa: S608 (only our own names)


def multiply(file: Path, spans: int, written: int) -> None:
    """Copies the first ``written`` spans until there are ``spans``."""
    with connect(file, {"memory_limit": "1GB", "threads": 2}) as store:
        store.execute("SET preserve_insertion_order = true")
        [(sessions,)] = store.execute("SELECT max(substr(session, 2)::BIGINT) + 1 FROM event").fetchall()
        span_us = DAYS * 86_400_000_000 // spans
        for copy, first in enumerate(range(written, spans, written), 1):
            values = [first, first * span_us, copy * sessions, written, min(written, spans - first)]
            store.execute(_COPY, values)
            print(f"{first + written:>12,} copied", file=sys.stderr, flush=True)
        store.execute("UPDATE store SET cursor = ?", [spans])


def sums(folder: Path, memory: int) -> dict[str, Any]:
    """Makes the sums; how long it took."""
    with opened(folder, memory) as world:
        store, pieces = store_of(world), []
        while True:
            began = time.perf_counter()
            if not store.sum_up():
                break
            pieces.append(time.perf_counter() - began)
    took = {"sums_s": round(sum(pieces), 1), "sums_longest_ms": round(1000 * max(pieces, default=0), 1)}
    return took | {"peak_mib": peak_mib()}


def main() -> None:
    """The command line."""
    given = arguments(__doc__)
    began = time.perf_counter()
    multiply(given.folder / "traces.duckdb", given.spans, given.written)
    found = {"copied_s": round(time.perf_counter() - began, 1)} | sums(given.folder, given.memory)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
