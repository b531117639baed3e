"""Writes the spans, with readers: ``python -m bench.telemetry.fill FOLDER --spans N``. Prints JSON."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from bench.telemetry.place import READER, arguments, ends_at, opened, peak_mib
from bench.telemetry.spans import AGENTS, batches
from tenure.base.room import World
from tenure.telemetry import service
from tenure.telemetry.traces.shelf import store_of

_PAUSE_S = 0.1


class Reader(threading.Thread):
    """Reads what was written lately, one question after another, with a tenth of a second between them."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self.world = world
        self.newest_trace = ""
        self.done = threading.Event()
        self.took: dict[str, list[float]] = {"trace": [], "events": [], "tools": []}
        self.problem = ""

    def run(self) -> None:
        """Reads until it is told that all is done."""
        draw = random.Random(1)  # noqa: S311 (no secret)
        while not self.done.wait(_PAUSE_S):
            if not self.newest_trace:
                continue
            try:
                self._ask("trace", partial(service.trace, self.world, READER, self.newest_trace))
                agent = f"agent{draw.randrange(AGENTS)}"
                self._ask("events", partial(service.list_events, self.world, READER, agent=agent))
                self._ask("tools", partial(service.tool_uses, self.world, READER, timedelta(days=1)))
            except Exception as error:
                self.problem = repr(error)
                raise

    def _ask(self, name: str, question: Any) -> None:
        began = time.perf_counter()
        question()
        self.took[name].append(time.perf_counter() - began)


def fill(world: World, written: int, spans: int) -> dict[str, Any]:
    """Writes so many, the first of all ``spans``; the figures."""
    store, reader = store_of(world), Reader(world)
    pieces: list[tuple[int, float]] = []
    reader.start()
    for batch in batches(written, service.PUMP_BATCH, of=spans):
        began = time.perf_counter()
        store.add(batch)
        store.sum_up()
        pieces.append((len(batch), time.perf_counter() - began))
        reader.newest_trace = batch[0].event.trace_id or ""
        if len(pieces) % 100 == 0:
            recent = pieces[-100:]
            rate = sum(n for n, _ in recent) / sum(took for _, took in recent)
            print(f"{batch[-1].seq:>12,} {rate:>10,.0f}/s {peak_mib():>8} MiB", file=sys.stderr, flush=True)
    reader.done.set()
    reader.join()
    assert not reader.problem, reader.problem
    tenth = max(1, len(pieces) // 10)
    tenths = [pieces[at : at + tenth] for at in range(0, len(pieces), tenth)]
    rates = [sum(n for n, _ in piece) / sum(took for _, took in piece) for piece in tenths]
    return {
        "written": written,
        "durable_per_s": round(written / sum(took for _, took in pieces)),
        "slowest_tenth_per_s": round(min(rates)),
        "longest_batch_ms": round(1000 * max(took for _, took in pieces), 1),
        "batch": service.PUMP_BATCH,
        "reads": {name: len(took) for name, took in reader.took.items()},
        "reads_mean_ms": {name: round(1000 * sum(t) / max(1, len(t)), 1) for name, t in reader.took.items()},
    }


def main() -> None:
    """The command line."""
    given = arguments(__doc__)
    given.folder.mkdir(parents=True, exist_ok=True)
    with opened(given.folder, given.memory) as world:
        found = fill(world, given.written, given.spans)
        ends_at(world, given.spans)
    found["peak_mib"] = peak_mib()
    found["bytes_per_span"] = round(_bytes(given.folder) / given.written, 1)
    json.dump(found, sys.stdout)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("traces*"))


if __name__ == "__main__":
    main()
