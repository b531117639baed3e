"""Asks a store that was filled: ``python -m bench.telemetry.ask FOLDER --spans N``. Prints JSON."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from statistics import median
from typing import Any

from bench.gateway.report import percentile
from bench.telemetry.place import READER, arguments, opened, peak_mib
from bench.telemetry.spans import AGENTS, COMMON, DAYS, SELDOM, WORKSPACE
from tenure.base.room import World
from tenure.kernel.ids import session_trace
from tenure.telemetry import service
from tenure.telemetry.traces import content
from tenure.telemetry.traces.interface import Which
from tenure.telemetry.traces.shelf import store_of
from tenure.telemetry.traces.terms import found_in, query_of

_TIMES = 7
_LOOKED_AT = 20_000


def timed(question: Callable[[], Any]) -> float:
    """Milliseconds that it took."""
    began = time.perf_counter()
    question()
    return 1000 * (time.perf_counter() - began)


def spread(times: Sequence[float]) -> dict[str, float]:
    """The first, the median of the others and the slowest of them, in milliseconds."""
    rest = times[1:]
    return {"first_ms": round(times[0], 1), "median_ms": round(median(rest), 1), "slowest_ms": round(max(rest), 1)}


def again(question: Callable[[], Any]) -> dict[str, float]:
    """One question several times."""
    return spread([timed(question) for _ in range(_TIMES)])


def traces(world: World, spans: int) -> dict[str, float]:
    """Traces opened by id, another each time."""
    draw = random.Random(3)  # noqa: S311 (no secret)
    sessions = spans // 20 * 9 // 10  # sessions have twenty spans on average: these exist
    ids = [session_trace(WORKSPACE, f"s{draw.randrange(sessions)}")[0] for _ in range(300)]
    times = [timed(partial(service.trace, world, READER, one)) for one in ids]
    found = {f"p{share}_ms": round(percentile(times, share / 100), 1) for share in (50, 99)}
    return found | {"first_ms": round(times[0], 1)}


def looked_at(world: World) -> float:
    """Seconds that it would take to open the content of seven days and look for a word: of the newest 20,000 Events,
    times what there is."""
    store, query = store_of(world), query_of("nowhere")
    began = time.perf_counter()
    for logged in store.newest(Which(workspace=WORKSPACE), _LOOKED_AT):
        assert found_in(content.split(logged.event)[1].values(), query) is None
    took = time.perf_counter() - began
    return round(took / _LOOKED_AT * store.cursor * 7 / DAYS, 1)


def ask(world: World, spans: int) -> dict[str, Any]:
    """The figures."""
    draw = random.Random(5)  # noqa: S311 (no secret)
    month, day = timedelta(days=DAYS), timedelta(days=1)
    agent = f"agent{draw.randrange(AGENTS)}"
    found: dict[str, Any] = {"trace": traces(world, spans)}
    found["dashboard_30d"] = again(lambda: service.stats(world, READER, month))
    found["dashboard_24h"] = again(lambda: service.stats(world, READER, day))
    found["tools_24h_of_30d"] = again(lambda: service.tool_uses(world, READER, day))
    for name, text in {"seldom": SELDOM, "nowhere": "nowhere", "common": COMMON, "order": "order0000001"}.items():
        found[f"search_{name}_7d"] = again(partial(service.search, world, READER, text, timedelta(days=7)))
    found["search_phrase_7d"] = again(partial(service.search, world, READER, f'"{COMMON} {SELDOM}"', timedelta(days=7)))
    found["looked_at_instead_7d_s"] = looked_at(world)
    found["newest_of_agent"] = again(lambda: service.list_events(world, READER, agent=agent))
    found["traces_listed"] = again(lambda: service.list_traces(world, READER))
    found["traces_of_agent"] = again(lambda: service.list_traces(world, READER, agent=agent))
    found["sessions_listed"] = again(lambda: service.list_sessions(world, READER))
    return found


def main() -> None:
    """The command line."""
    given = arguments(__doc__)
    began = time.perf_counter()
    with opened(given.folder, given.memory) as world:
        opening = time.perf_counter() - began
        found = {"open_ms": round(1000 * opening, 1)} | ask(world, given.spans)
        found["peak_mib"] = peak_mib()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
