"""How long a stopped agent still gets calls through: ``python -m bench.kill [--trials 1000] [--scope agent]``.

Three gateway processes are kept busy by one agent with one tool. A trial sends the request of ``tenure stop`` and
watches until when the server behind the gateways still sees calls: from the moment the command was sent to the last
call that arrived. Then the agent is let go on, and the next trial begins when every gateway lets calls pass again.
Everything runs on this machine, load and server included. Writes bench/results/<date>-kill.md and .json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import machine
from tests.sim.drill import GATEWAYS, WORKERS, Stop, fleet

ROOT = Path(__file__).resolve().parents[1]
SCOPES = {"agent": "clerk", "chain": "clerk", "tool": "shop/refund", "workspace": ""}
_WATCH_S = 3.0
_GOAL_MS = 100.0


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of values in any order."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def summary(stops: Sequence[Stop]) -> dict[str, dict[str, float]]:
    """p50, p99 and maximum of each of the three times."""
    out = {}
    for name in ("last_admitted_ms", "acknowledged_ms", "all_refused_ms"):
        values = [getattr(stop, name) for stop in stops]
        out[name] = {"p50": quantile(values, 0.5), "p99": quantile(values, 0.99), "max": max(values)}
    return out


def report(result: dict[str, Any]) -> str:
    """The page that people read."""
    rows = {
        "last_admitted_ms": "last call that reached the tool",
        "acknowledged_ms": "command acknowledged",
        "all_refused_ms": "every gateway has refused",
    }
    table = "\n".join(
        f"| {words} | {result['ms'][name]['p50']:.1f} | {result['ms'][name]['p99']:.1f} | "
        f"{result['ms'][name]['max']:.1f} |"
        for name, words in rows.items()
    )
    goal = "met" if result["ms"]["last_admitted_ms"]["p99"] < _GOAL_MS else "missed"
    machine_words = f"{result['machine']['model']}, {result['machine']['cores']} cores"
    return f"""# Kill time, {result["date"]}

From the moment `tenure stop` (scope: {result["scope"]}) is sent to the last call that the tool behind the gateways saw.
{result["trials"]} trials, {result["gateways"]} gateway processes, {result["workers"]} clients that pause \
{result["pause_ms"]:g} ms between calls,
{result["calls_per_s"]:.0f} calls a second before the first trial; {machine_words},
on which clients and tool run as well. {result["seconds"]:.0f} s in all.

| Milliseconds from the command | p50 | p99 | max |
|---|---|---|---|
{table}

Goal: under {_GOAL_MS:.0f} ms at p99, {goal}. Calls that reached the tool after the command: {result["late"]} in all, \
{result["late"] / result["trials"]:.1f} a trial.
A call counts when it arrives at the tool, which is later than when it was admitted.

`python -m bench.kill --trials {result["trials"]} --scope {result["scope"]}`
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How long a stopped agent still gets calls through.")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--scope", choices=SCOPES, default="agent")
    parser.add_argument("--pause", type=float, default=20.0, help="milliseconds of each client between its calls")
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tenure-kill-") as folder, fleet(Path(folder), given.pause / 1000) as busy:
        rate = busy.rate(_WATCH_S)
        with busy.tenure.client() as client:
            stops = [busy.stop(client, given.scope, SCOPES[given.scope]) for _ in range(given.trials)]
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "scope": given.scope,
        "trials": given.trials,
        "gateways": GATEWAYS,
        "workers": GATEWAYS * WORKERS,
        "pause_ms": given.pause,
        "calls_per_s": rate,
        "ms": summary(stops),
        "late": sum(stop.late for stop in stops),
        "seconds": time.monotonic() - begun,
        "stops": [asdict(stop) for stop in stops],
    }
    name = ROOT / "bench" / "results" / f"{result['date']}-kill"
    name.with_suffix(".md").write_text(report(result))
    name.with_suffix(".json").write_text(json.dumps(result) + "\n")
    print(report(result))


if __name__ == "__main__":
    main()
