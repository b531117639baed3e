"""How fast past calls are decided by policies that do not run yet: ``python -m bench.replay``, about three minutes.

The tool calls of the recorded sessions in ``shared/data``, over and over, by 100 agents, are decided and recorded by a
gateway's pipeline and kept in a real trace store (arguments sealed as they always are). Then candidates of 20, 200 and
2,000 policies are held against all of them as ``tenure policy replay`` does it: reading, opening what is sealed,
deciding, comparing, with the process held to one core. Prints calls a second, by the clock and by CPU time, the median
of three runs each. Writes bench/results/<date>-replay.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from bench.machine import machine
from bench.policy import ROOT, SIZES, agent, policies, recorded
from tenure.base.clock import system_clock
from tenure.base.config import Config
from tenure.base.db import Database, metadata
from tenure.base.events import Bell
from tenure.base.room import World
from tenure.gateway.firstuse import FirstUse
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.snapshot import Facts
from tenure.gateway.spool import Spool
from tenure.kernel.snapshot import Snapshot
from tenure.kernel.values import Actor, CallKind, Event, Principal, Role
from tenure.policy import service
from tenure.policy.model import compile_bundle
from tenure.policy.past import hindsight
from tenure.telemetry import service as telemetry
from tenure.telemetry.room import ROOM

AGENTS = 100
BATCH = 2_000
GATEWAY = Actor("default", "gateway:bench", frozenset({Role.GATEWAY}))


@contextmanager
def installation(folder: Path) -> Iterator[World]:
    """A control plane's stores, empty."""
    database = Database(f"sqlite:///{folder / 'control.db'}")
    metadata.create_all(database.engine)
    world = World(db=database, clock=system_clock, config=Config(data_dir=folder), bell=Bell())
    assert ROOM.start is not None
    assert ROOM.stop is not None
    ROOM.start(world)
    try:
        yield world
    finally:
        ROOM.stop(world)
        database.close()


async def record(world: World, folder: Path, count: int) -> None:
    """Decides and records ``count`` calls, and keeps them in the trace store."""
    found = list(recorded())
    tools = found[0][0].tools
    fleet = [agent(f"agent-{number}", tools, tier=number % 4 + 1) for number in range(AGENTS)]
    service.keep_facts(world, fleet)
    facts, clock = Facts(), system_clock
    pipeline = Pipeline(facts, Spool(folder / "spool", 1 << 30, "bench"), FirstUse(folder / "seen"), time.time)
    snapshot = Snapshot(version=1, issued_at=clock(), agents={f"default/{one.name}": one for one in fleet})
    facts.replace(snapshot, {"default": compile_bundle([("bench.cedar", policies(20))])})
    facts.good_from(facts.now())
    batch: list[Event] = []
    for number, (_, call) in enumerate(islice(cycle(found), count)):
        who = fleet[number % AGENTS]
        principal = Principal("default", who.name, who.release, "i", f"s{number // 700}", 1)
        asked = pipeline.call(CallKind.TOOL, call.resource, call.arguments, principal, {})
        verdict = pipeline.judge(asked, principal)
        data = {"gen_ai.tool.call.arguments": dict(call.arguments)}
        batch.append(pipeline.record(asked, principal, verdict, clock(), 1, data))
        if len(batch) == BATCH:
            telemetry.ingest(world, GATEWAY, batch)
            batch.clear()
            await asyncio.sleep(0.1)  # the spool writes to disk meanwhile
            facts.good_from(facts.now())  # or a slow machine would have lost the control plane
    if batch:
        telemetry.ingest(world, GATEWAY, batch)


def measured(world: World, count: int) -> dict[str, Any]:
    """One candidate of ``count`` policies against all that was recorded."""
    files = [("bench.cedar", policies(count))]
    cpu, begun = time.process_time(), time.perf_counter()
    found = hindsight.replay_candidate(world, "default", files, 1).found
    took, used = time.perf_counter() - begun, time.process_time() - cpu
    decided = found.calls - found.skipped - found.unknown
    assert decided == found.calls  # or it would be measured how fast calls are passed over
    return {
        "calls": found.calls,
        "decided": decided,
        "changed": found.changed,
        "seconds": round(took, 3),
        "cpu_seconds": round(used, 3),
        "per_second": round(decided / took),
        "per_cpu_second": round(decided / used),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--dry", action="store_true", help="print and write nothing")
    given = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    command = "python -m bench.replay"
    report: dict[str, Any] = {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "agents": AGENTS,
    }
    with tempfile.TemporaryDirectory() as place, installation(Path(place)) as world:
        begun = time.perf_counter()
        asyncio.run(record(world, Path(place), given.calls))
        kept = sum(1 for _ in telemetry.recorded_calls(world, "default", datetime(2020, 1, 1, tzinfo=UTC)))
        print(f"{kept:,} calls recorded in {time.perf_counter() - begun:.0f} s", flush=True)
        for count in SIZES:
            runs = sorted((measured(world, count) for _ in range(3)), key=lambda run: run["per_second"])
            report.setdefault("policies", {})[count] = run = runs[1]
            print(
                f"{count:5} policies: {run['per_second']:,} a second, {run['per_cpu_second']:,} a second of CPU, "
                f"{run['changed']:,} of {run['decided']:,} come out otherwise",
                flush=True,
            )
    if not given.dry:
        path = ROOT / "bench" / "results" / f"{report['date']}-replay.json"
        path.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
