"""The same spans through the doors of Tenure, Phoenix and MLflow: ``python -m bench.telemetry --beside``.

The same bytes (``wire.py``: OTLP in protobuf over HTTP) in the same order, one installation after the other on an
otherwise idle machine, each in a folder of its own, with nothing kept between. Four senders, each with one connection
that stays; who is told to come again (429, 502, 503, 504, or no answer at all) does, after the time that is named or
one that doubles from 0.1 s to 2 s, as exporters do. Any other refusal loses the request, as with exporters.

- The first request of each sender comes before the clock: it finds everything cold.
- ``acknowledged_per_s``: spans over the time from the first request to the last answer. What an answer means is each
  one's own affair, and said.
- ``asked_per_s``: the same up to when the last trace of each process is whole for who asks.
- ``trace``: traces opened by id, each another one, drawn from those that were sent whole; ``whole`` of how many had
  every span.
- ``newest``, ``figures``, ``search``: the first time, then the median and the slowest of six.
- ``writing_mib``: the most PSS of all its processes while it is sent to and until all can be asked; ``idle_mib`` and
  ``idle_cpu_percent`` over half a minute after that, with nobody there.
- ``bytes_per_span``: everything in its folder, when it is idle.
- ``killed``: so many more spans, SIGKILL for all of its processes at the last answer, then started again: how many of
  the acknowledged spans are gone.
"""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from typing import Any

from bench.gateway.report import percentile
from bench.machine import load, machine
from bench.telemetry.doors import DOORS, Door
from bench.telemetry.processes import Watched, all_mib, cpu_s, tree
from bench.telemetry.spans import COMMON, SELDOM
from bench.telemetry.wire import BATCH, Export, exports

SENDERS = 4
TRACES = 200
TIMES = 7
KILLED = 5_000
"""Spans that are sent before the kill, or a fifth of all where that is less."""
SETTLE_S, OVER_S = 10, 30
_AGAIN = (429, 502, 503, 504)
_SLOWEST_S = 900
"""After which what was acknowledged and cannot be asked is given up."""


class Senders:
    """Sends requests, in their order, over so many connections; counts what was answered."""

    def __init__(self, door: Door, sent: Sequence[Export]) -> None:
        self.door = door
        self._left = iter(sent)
        self._lock = threading.Lock()
        self.told: Counter[str] = Counter()
        self.lost: list[Export] = []

    def run(self) -> float:
        """Seconds that it took."""
        threads = [threading.Thread(target=self._work) for _ in range(SENDERS)]
        began = time.perf_counter()
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        return time.perf_counter() - began

    def _work(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.door.port, timeout=120)
        while True:
            with self._lock:
                export = next(self._left, None)
            if export is None:
                return connection.close()
            status = self._send(connection, export)
            with self._lock:
                self.told[f"answered {status}"] += 1
                if status != 200:
                    self.lost.append(export)

    def _send(self, connection: HTTPConnection, export: Export) -> int:
        headers = {"content-type": "application/x-protobuf", **self.door.headers(export.process)}
        pause = 0.1
        while True:
            named, status = "", 0
            with suppress(OSError, HTTPException):
                connection.request("POST", self.door.path, export.body, headers)
                answer = connection.getresponse()
                answer.read()
                status, named = answer.status, answer.headers.get("retry-after") or ""
            if status and status not in _AGAIN:
                return status
            connection.close()
            with self._lock:
                self.told[f"again after {status or 'no answer'}"] += 1
            time.sleep(float(named) if named.isdigit() else pause)
            pause = min(2.0, 2 * pause)


def counts(sent: Sequence[Export]) -> Counter[str]:
    """How many spans of which trace."""
    found: Counter[str] = Counter()
    for export in sent:
        found.update(export.traces)
    return found


def last_of_each(sent: Sequence[Export]) -> list[str]:
    """The trace that came last in the last request of each process."""
    last = {export.process: export for export in sent}
    return [list(export.traces)[-1] for export in last.values()]


def wait(door: Door, expected: Counter[str], among: Sequence[str]) -> float:
    """Seconds until all of these traces have every span."""
    began = time.perf_counter()
    while not all(door.trace(trace) >= expected[trace] for trace in among):  # stops at the first that has not
        if time.perf_counter() - began > _SLOWEST_S:
            raise TimeoutError(f"{door.name} does not show what it acknowledged {_SLOWEST_S} s ago")
        time.sleep(0.25)
    return time.perf_counter() - began


def timed(question: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds, and the answer."""
    began = time.perf_counter()
    answer = question()
    return 1000 * (time.perf_counter() - began), answer


def again(question: Callable[[], Any]) -> dict[str, float]:
    """One question several times."""
    times = [timed(question)[0] for _ in range(TIMES)]
    shown = {"first_ms": times[0], "median_ms": median(times[1:]), "slowest_ms": max(times[1:])}
    return {name: round(value, 1) for name, value in shown.items()}


def opened(door: Door, expected: Counter[str], among: Sequence[str]) -> dict[str, float]:
    """Traces opened by id, each another one."""
    draw = random.Random(3)  # noqa: S311 (no secret)
    chosen = draw.sample(list(among), min(TRACES, len(among)))
    answers = [timed(partial(door.trace, trace)) for trace in chosen]
    times = [took for took, _ in answers]
    found: dict[str, float] = {f"p{share}_ms": round(percentile(times, share / 100), 1) for share in (50, 99)}
    right = sum(answer == expected[trace] for trace, (_, answer) in zip(chosen, answers, strict=True))
    return found | {"first_ms": round(times[0], 1), "opened": len(chosen), "whole": right}


def written(door: Door, sent: Sequence[Export]) -> tuple[dict[str, Any], Counter[str]]:
    """Sends them; until they are acknowledged, and until they can be asked. With what was refused."""
    cold, warm, expected = Senders(door, sent[:SENDERS]), sent[SENDERS:], counts(sent)
    cold.run()
    wait(door, counts(sent[:SENDERS]), [] if cold.lost else last_of_each(sent[:SENDERS]))
    senders, spans = Senders(door, warm), sum(export.spans for export in warm)
    with Watched(door.pid) as seen:
        took = senders.run()
        refused = counts(senders.lost)
        lost = counts(cold.lost) + refused
        later = wait(door, expected, [trace for trace in last_of_each(sent) if trace not in lost])
    found = {
        "spans": expected.total(),
        "acknowledged_per_s": round((spans - refused.total()) / took),
        "asked_per_s": round((spans - refused.total()) / (took + later)),
        "asked_after_s": round(later, 1),
        "refused_spans": lost.total(),
        "answers": dict(cold.told + senders.told),
        "writing_mib": round(seen.most_mib, 1),
    }
    return found, lost


def asked(door: Door, expected: Counter[str], among: Sequence[str]) -> dict[str, Any]:
    """The questions."""
    return {
        "trace": opened(door, expected, among),
        "newest": again(door.newest),
        "figures": again(door.figures),
        "search_common": again(partial(door.search, COMMON)) | {"hits": door.search(COMMON)},
        "search_seldom": again(partial(door.search, SELDOM)) | {"hits": door.search(SELDOM)},
        "search_nowhere": again(partial(door.search, "nowhere")) | {"hits": door.search("nowhere")},
    }


def idle(door: Door, settle_s: float, over_s: float) -> dict[str, float]:
    """What it takes when nobody is there."""
    time.sleep(settle_s)
    processes = tree(door.pid)
    before = cpu_s(processes)
    time.sleep(over_s)
    cpu = 100 * (cpu_s(processes) - before) / over_s
    return {"idle_cpu_percent": round(cpu, 2), "idle_mib": round(all_mib(door.pid), 1), "processes": len(processes)}


def killed(door: Door, sent: Sequence[Export], expected: Counter[str]) -> dict[str, Any]:
    """SIGKILL at the last answer: what is gone of what was acknowledged. ``expected``: of all that was ever sent."""
    senders = Senders(door, sent)
    senders.run()
    door.kill()
    door.start()
    lost, of = counts(senders.lost), counts(sent)
    gone = sum(max(0, expected[trace] - lost[trace] - door.trace(trace)) for trace in of)
    return {"spans": of.total() - lost.total(), "gone": gone}


def one(name: str, folder: Path, sent: Sequence[Export], when: datetime, pauses: tuple[float, float]) -> dict[str, Any]:
    """All figures of one installation."""
    spans = sum(export.spans for export in sent)
    first, more = len(sent), 0
    while more < min(KILLED, spans // 5):
        first -= 1
        more += sent[first].spans
    before, expected = counts(sent[:first]), counts(sent)
    among = sorted(trace for trace in before if before[trace] == expected[trace])
    door = DOORS[name](folder, when)
    found: dict[str, Any] = {"version": door.version, "load_average": load()}
    try:
        took, _ = timed(door.start)
        found["started_s"] = round(took / 1000, 1)
        figures, refused = written(door, sent[:first])
        found |= figures
        found |= asked(door, before, among)
        found |= idle(door, *pauses)
        found["bytes_per_span"] = round(door.bytes_on_disk() / found["spans"])
        found["killed"] = killed(door, sent[first:], expected - refused)
    finally:
        door.stop()
    return found


def run(steps: int, names: Sequence[str], pauses: tuple[float, float] = (SETTLE_S, OVER_S)) -> dict[str, Any]:
    """The report. ``steps`` model and tool calls; each session's root is one span more."""
    when = datetime.now(UTC)
    sent = list(exports(steps, when))
    spans = sum(export.spans for export in sent)
    report: dict[str, Any] = {"date": when.date().isoformat(), "machine": machine(), "load_average": load()}
    report |= {"spans": spans, "batch": BATCH, "senders": SENDERS, "doors": {}}
    report["bytes_sent_per_span"] = round(sum(len(export.body) for export in sent) / spans)
    for name in names:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            report["doors"][name] = one(name, Path(folder) / name, sent, when, pauses)
        print(json.dumps({name: report["doors"][name]}, indent=2), flush=True)
    return report
