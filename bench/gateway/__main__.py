"""The run: rounds of every way in turn, then the report in ``bench/results``."""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.gateway.provider import CHUNKS, MODEL
from bench.gateway.report import Samples, figures, goals, markdown
from bench.gateway.ways import (
    ANYWHERE,
    LOAD,
    PROVIDER,
    PROXY,
    ROOT,
    Way,
    all_ways,
    cpu_ns,
    line_of,
    place,
    spawned,
)
from bench.machine import machine

_RESULTS = ROOT / "bench" / "results"
_SETTLE_S = 0.1  # what is recorded behind an answer counts to its CPU
_RATE_S = 0.5
_STREAM_LINES = 4
_STREAMS = 2  # on each line and in each round
_TEXT = (
    "Please read this letter and say in one sentence what the sender wants from us before the end of the month because "
    "order number seven was late twice and invoice 2041 names another street than the parcel did. "
)


def body(stream: bool) -> bytes:
    """A chat completion request whose prompt is 4 KB of ordinary words."""
    words, chosen, letters = _TEXT.split(), random.Random(7), ""  # noqa: S311 (the same words in each run, not a secret)
    while len(letters) < 4096:
        letters += chosen.choice(words) + " "
    messages = [{"role": "system", "content": "You answer letters."}, {"role": "user", "content": letters[:4096]}]
    value: dict[str, Any] = {"model": MODEL, "max_tokens": 500, "messages": messages}
    return json.dumps({**value, "stream": True} if stream else value).encode()


def request(way: Way, stream: bool) -> str:
    """What an agent's client sends."""
    given = body(stream)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{way.port}\r\nAuthorization: Bearer {way.token}\r\n"
        f"Content-Type: application/json\r\nAccept: application/json\r\nUser-Agent: bench\r\n"
        f"Accept-Encoding: gzip, deflate\r\nContent-Length: {len(given)}\r\n\r\n"
    )
    return head + given.decode()


class Bench:
    """The processes that are not measured: the load generator and the provider."""

    def __init__(self) -> None:
        self._load = spawned("bench.gateway.load")
        self._provider = spawned("bench.gateway.provider")
        self.provider_port = int(line_of(self._provider.stdout).split()[1])

    def _tell(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._load.stdin is not None
        self._load.stdin.write(json.dumps(order) + "\n")
        self._load.stdin.flush()
        answer: dict[str, Any] = json.loads(line_of(self._load.stdout))
        assert "problem" not in answer, answer["problem"]
        return answer

    def measure(
        self, way: Way, *, stream: bool = False, apart: bool = False, lines: int, warm: int, **until: float
    ) -> tuple[dict[str, Any], float]:
        """(what the load generator saw, CPU microseconds of the proxy for each answer). ``apart``: the proxy on a core
        of its own."""
        pids = way.pids()
        place(pids, PROXY if apart else ANYWHERE)
        place([self._load.pid], LOAD if apart else ANYWHERE)
        place([self._provider.pid], PROVIDER if apart else ANYWHERE)
        self._tell({"port": way.port, "request": request(way, stream), "lines": lines, "warm": warm})
        time.sleep(_SETTLE_S)
        before = cpu_ns(pids)
        seen = self._tell(dict(until))
        time.sleep(_SETTLE_S)
        return seen, (cpu_ns(pids) - before) / 1000 / len(seen["times_us"])

    def close(self) -> None:
        """Ends them."""
        for process in (self._load, self._provider):
            process.terminate()
            process.wait(10)


def one_round(bench: Bench, way: Way, samples: Samples) -> None:
    """One turn of one way: one request at a time, 32 at once, streams."""
    slow = way.name == "litellm"
    seen, cpu = bench.measure(way, lines=1, warm=5 if slow else 50, count=60 if slow else 500)
    samples.one.append(seen["times_us"])
    samples.one_cpu.append(cpu)
    seconds = _RATE_S * (4 if slow else 1)
    seen, cpu = bench.measure(way, apart=True, lines=32, warm=1 if slow else 10, seconds=seconds)
    samples.per_s.append(len(seen["times_us"]) / seen["took_s"])
    samples.cpu.append(cpu)
    seen, cpu = bench.measure(way, stream=True, lines=_STREAM_LINES, warm=1, count=1 if slow else _STREAMS)
    samples.firsts.append(seen["firsts_us"])
    samples.chunk_cpu.append(cpu / CHUNKS)


def run(names: Sequence[str], rounds: int, against: Path | None) -> dict[str, Any]:
    """The whole benchmark; the report as JSON-ready values."""
    bench = Bench()
    try:
        with tempfile.TemporaryDirectory(prefix="tenure-bench-") as folder:
            with all_ways(names, bench.provider_port, Path(folder), against) as ways:
                samples = {way.name: Samples() for way in ways}
                for number in range(rounds):
                    for way in ways:
                        one_round(bench, way, samples[way.name])
                    print(f"round {number + 1} of {rounds}", flush=True)
            about = {way.name: way.about for way in ways}
    finally:
        bench.close()
    rows = figures(samples)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "rounds": rounds,
        "about": about,
        "ways": rows,
        "goals": [{**asdict(goal), "holds": goal.holds} for goal in goals(rows)],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--only", default="nginx,envoy,litellm,tenure", help="ways besides direct, in this order")
    parser.add_argument("--against", type=Path, help="another checkout of Tenure, measured in the same run")
    parser.add_argument("--dry", action="store_true", help="print the report and write nothing")
    given = parser.parse_args()
    names = [name for name in given.only.split(",") if name]
    report = run(names, given.rounds, given.against)
    text = markdown(report)
    if not given.dry:
        _RESULTS.mkdir(exist_ok=True)
        name = f"{report['date']}-gateway"
        (_RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
        (_RESULTS / f"{name}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
