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
from bench.telemetry.spans import AGENTS, DAYS, WORKSPACE
from tenure.base.room import World
from tenure.kernel.ids import session_trace
from tenure.telemetry import service

_TIMES = 7


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


def ask(world: World, spans: int) -> dict[str, Any]:
    """The figures."""
    draw = random.Random(5)  # noqa: S311 (no secret)
    month, day = timedelta(days=DAYS), timedelta(days=1)
    agent = f"agent{draw.randrange(AGENTS)}"
    found: dict[str, Any] = {"trace": traces(world, spans)}
    found["dashboard_30d"] = again(lambda: service.stats(world, READER, month))
    found["dashboard_24h"] = again(lambda: service.stats(world, READER, day))
    found["tools_24h_of_30d"] = again(lambda: service.tool_uses(world, READER, day))
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
