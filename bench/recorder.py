"""What a sick recorder costs calls: ``python -m bench.recorder [--windows N]``.

For each sickness a gateway with everything on is measured in windows that alternate: well, sick, well, sick. After each
sick window it is waited until all that was spooled has been shipped. The ratio of p99 is the median over the pairs of
neighbouring windows, which whatever else the machine does hits alike; ``noise`` is the same of each well window and the
next: what there is without any sickness. No call may fail, and every Event is kept or counted. Writes
bench/results/<date>-recorder.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.gateway.__main__ import request
from bench.gateway.provider import MODEL
from bench.gateway.report import percentile
from bench.gateway.ways import Way, line_of, spawned
from bench.machine import machine
from tests.sim.control import ControlSim
from tests.sim.disks import SickDisk, small_disk
from tests.sim.gateway import GatewayProcess, agent_fact, default_policies

ROOT = Path(__file__).resolve().parents[1]
_WINDOW_S = 0.5
_WITHIN_S = 60.0


@dataclass(frozen=True)
class Sickness:
    """One way for a recorder to be sick, of a gateway that runs with ``env`` and ``settings``."""

    name: str
    be: Callable[[bool], None]
    env: dict[str, str]
    settings: dict[str, Any]


def sicknesses(control: ControlSim, folder: Path, scratch: Path) -> Iterator[Sickness]:
    """Every one, in turn."""

    def slow(sick: bool) -> None:
        control.intake_s = 1.0 if sick else 0.0

    def hang(sick: bool) -> None:
        control.hanging = sick

    def refuse(sick: bool) -> None:
        control.intake_status = 507 if sick else 200

    yield Sickness("the control plane takes one write a second", slow, {}, {})
    yield Sickness("the control plane takes Events and never answers", hang, {}, {})
    yield Sickness("the trace store's disk is full: Events are refused", refuse, {}, {})
    yield Sickness("the same, and the spool is at its limit", refuse, {}, {"spool_max_bytes": 1 << 20})
    disk = SickDisk(folder / "spool", scratch)

    def be(state: str, sick: bool) -> None:
        disk.be(state if sick else "well")

    for state in ("slow 1000", "hang", "full"):
        words = {"slow 1000": "a sync of the spool takes a second", "hang": "the spool's disk hangs"}
        name = words.get(state, "the spool's disk is full (ENOSPC on write)")
        yield Sickness(name, partial(be, state), disk.env, {})
    with small_disk(folder / "spool", "32m") as small:
        yield Sickness(
            "the spool's disk is full (a file system of 32 MB)", lambda sick: (small.clear, small.fill)[sick](), {}, {}
        )


@contextmanager
def running(control: ControlSim, folder: Path, provider: int, one: Sickness) -> Iterator[tuple[GatewayProcess, Way]]:
    """A gateway with that recorder."""
    with GatewayProcess(folder, control.port, one.env, **one.settings) as gateway:
        control.agent(agent_fact(f"http://127.0.0.1:{provider}/v1", (MODEL,)))
        while not gateway.acts_on(control.snapshot.version):
            time.sleep(0.01)
        port = int(gateway.url.rsplit(":", 1)[1])
        yield gateway, Way("tenure", port, control.token("clerk", ttl_s=7200.0), "", lambda: ())


def measure(  # noqa: PLR0917 (one case of the benchmark, called from one place)
    load: Any, control: ControlSim, gateway: GatewayProcess, way: Way, one: Sickness, windows: int
) -> dict[str, Any]:
    """The figures of one sickness."""

    def tell(order: dict[str, Any]) -> dict[str, Any]:
        load.stdin.write(json.dumps(order) + "\n")
        load.stdin.flush()
        answer: dict[str, Any] = json.loads(line_of(load.stdout))
        assert "problem" not in answer, answer["problem"]
        return answer

    tell({"port": way.port, "request": request(way, False), "lines": 1, "warm": 300})
    calls = 300
    times: dict[bool, list[list[float]]] = {False: [], True: []}
    for _ in range(windows):
        for sick in (False, True):
            one.be(sick)
            seen = tell({"seconds": _WINDOW_S})["times_us"]
            times[sick].append(seen)
            calls += len(seen)
        one.be(False)
        _until(lambda: gateway.health()[1]["backlog_bytes"] == 0 and gateway.health()[1]["recorder"] == "ok")
    counts = gateway.health()[1]["events"]
    told = sum(event["data"]["count"] for event in control.of_type("gateway.dropped"))
    kept = counts["shipped"] - len(control.of_type("gateway.dropped"))
    assert kept + counts["dropped"] == calls, (kept, counts, calls)
    assert told == counts["dropped"], (told, counts)
    well, sick_times = sum(times[False], []), sum(times[True], [])  # noqa: RUF017 (a few dozen lists, once)
    by_window = {state: [percentile(window, 0.99) for window in times[state]] for state in times}
    ratios = [ill / fit for ill, fit in zip(by_window[True], by_window[False], strict=True)]
    noise = [after / before for before, after in zip(by_window[False], by_window[False][1:], strict=False)]
    return {
        "calls": calls,
        "failed": 0,
        "dropped_and_told": counts["dropped"],
        **{f"well_p{share}_us": round(percentile(well, share / 100), 1) for share in (50, 99)},
        **{f"sick_p{share}_us": round(percentile(sick_times, share / 100), 1) for share in (50, 99)},
        "p50_ratio": round(percentile(sick_times, 0.5) / percentile(well, 0.5), 3),
        "p99_ratio": round(median(ratios), 3),
        "p99_ratios": [round(ratio, 2) for ratio in sorted(ratios)],
        "noise_p99_ratio": round(median(noise), 3),
        "noise_p99_ratios": [round(ratio, 2) for ratio in sorted(noise)],
    }


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + _WITHIN_S
    while not true():
        assert time.monotonic() < end, "it did not recover"
        time.sleep(0.05)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What a sick recorder costs calls.")
    parser.add_argument("--windows", type=int, default=30, help="of each kind, half a second each")
    given = parser.parse_args()
    date = datetime.now(UTC).date().isoformat()
    results: dict[str, Any] = {}
    with ExitStack() as stack:
        load, provider = spawned("bench.gateway.load"), spawned("bench.gateway.provider")
        for process in (load, provider):
            stack.callback(process.wait)
            stack.callback(process.terminate)
        port = int(line_of(provider.stdout).split()[1])
        folder, scratch = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        control = stack.enter_context(ControlSim(folder, default_policies(), max_age_s=600))
        for one in sicknesses(control, folder, scratch):
            control.events.clear()
            with running(control, folder, port, one) as (gateway, way):
                results[one.name] = row = measure(load, control, gateway, way, one, given.windows)
            print(
                f"{one.name:55} p99 {row['well_p99_us']:>8} -> {row['sick_p99_us']:>8} us, x{row['p99_ratio']}", end=""
            )
            print(
                f" (noise x{row['noise_p99_ratio']}), {row['calls']} calls, {row['dropped_and_told']} dropped and told"
            )
    report = {"date": date, "machine": machine(), "windows": given.windows, "results": results}
    (ROOT / "bench" / "results" / f"{date}-recorder.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
