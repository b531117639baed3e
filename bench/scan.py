"""What scanning costs and how often it is wrong: ``python bench/scan.py [--json]``.

Three figures. Time: microseconds for one prompt of 4 KB (a JSON value, as the gateway scans it) and for 4 KB of bytes.
Detection: the share of planted examples that is found, each among the lines of ordinary text, plain, in JSON inside a
text, and with letters written as JSON escapes. False alarms: findings in ordinary text per megabyte and per message,
for each rule; the ordinary text is that of the tests and, where ``shared/data`` is beside this repository, 5 MB of
recorded sessions. What those sessions truly hold (addresses, telephone numbers, dates of birth) is told apart.

Prints a table and writes bench/results/<date>-scan.json.
"""

from __future__ import annotations

import argparse
import json
import lzma
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.machine import machine  # noqa: E402 (after the path that finds it)
from tenure.base.scan.rules import RULES  # noqa: E402 (as above)
from tenure.base.scan.scanner import prepare, scan  # noqa: E402 (as above)
from tenure.base.scan.texts import look  # noqa: E402 (as above)

ORDINARY = ROOT / "tests" / "scan" / "ordinary.txt"
SESSIONS = ROOT.parent / "shared" / "data"
TRUE = {  # what the recorded sessions hold, by what such a thing must look like
    "contact/email": re.compile(rb"@[a-z]", re.IGNORECASE),
    "contact/phone": re.compile(rb"\d{3}\D+\d{4}$"),
    "personal/date-of-birth": re.compile(rb"^\d{4}-\d\d-\d\d$"),
}
PROMPT = "Please read this letter and say in one sentence what the sender wants. "
ROUNDS = 5000


def texts(value: Any) -> Iterator[str]:
    """Every text of a JSON value."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def sessions() -> Iterator[str]:
    """The texts of the recorded sessions."""
    packed = SESSIONS / "tau-bench" / "gpt-4o-airline.json.xz"
    yield from texts(json.loads(lzma.decompress(packed.read_bytes())))
    for line in lzma.decompress((SESSIONS / "who-and-when" / "algorithm-generated.jsonl.xz").read_bytes()).splitlines():
        yield from texts(json.loads(line))


def alarms(messages: list[bytes]) -> dict[str, Any]:
    """How much of ``messages`` is found, and how much of that is wrong."""
    true: Counter[str] = Counter()
    false: Counter[str] = Counter()
    for message in messages:
        for finding in scan(message):
            holds = TRUE.get(finding.rule)
            right = holds is not None and holds.search(message[finding.start : finding.end])
            (true if right else false)[finding.rule] += 1
    size = sum(map(len, messages)) / 1e6
    wrong = sum(false.values())
    return {
        "messages": len(messages),
        "megabytes": round(size, 3),
        "true_findings": dict(true),
        "false_alarms": dict(false),
        "false_alarms_per_mb": round(wrong / size, 3),
        "false_alarms_per_1000_messages": round(1000 * wrong / len(messages), 3),
        # With none in n, the true rate is below 3/n at 95% (rule of three).
        "upper_bound_per_1000_messages_95": round(3000 / len(messages), 3) if not wrong else None,
    }


def detection(lines: list[str]) -> dict[str, Any]:
    """The share of planted examples that is found."""
    forms: dict[str, Callable[[str], Any]] = {
        "plain": lambda text: text,
        "json in a text": lambda text: json.dumps({"a": [{"b": text}]}),
        "escaped letters": lambda text: json.dumps({"a": text}).replace("A", "\\u0041").replace("/", "\\/"),
    }
    out: dict[str, Any] = {}
    for name, form in forms.items():
        tried = found = 0
        missed: Counter[str] = Counter()
        for rule in RULES:
            for line in lines:
                tried += 1
                seen = rule.id in look({"messages": [{"content": form(f"{line} {rule.example} {line}")}]})
                found += seen
                missed.update(() if seen else (rule.id,))
        out[name] = {"planted": tried, "found": found, "share": round(found / tried, 4), "missed": dict(missed)}
    return out


def timed(act: Callable[[], Any]) -> dict[str, float]:
    """Microseconds at p50 and p99."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter_ns()
        act()
        taken.append(time.perf_counter_ns() - begun)
    taken.sort()
    return {"p50_us": round(taken[ROUNDS // 2] / 1e3, 1), "p99_us": round(taken[ROUNDS * 99 // 100] / 1e3, 1)}


def run() -> dict[str, Any]:
    """The whole benchmark."""
    begun = time.perf_counter()
    prepare()
    compiled = time.perf_counter() - begun
    words = (PROMPT * 60)[:4000]
    turns = [{"role": "user", "content": "".join(PROMPT)} for _ in range(50)]
    body = {"model": "m", "messages": [{"role": "system", "content": PROMPT}, {"role": "user", "content": words}]}
    raw = words.encode()
    lines = [line for line in ORDINARY.read_text(encoding="utf-8").splitlines() if line]
    ordinary = {"tests/scan/ordinary.txt": alarms([line.encode() for line in lines])}
    if SESSIONS.exists():
        ordinary["recorded sessions"] = alarms([text.encode() for text in sessions() if text])
    else:
        print("The recorded sessions (shared/data) are not here: false alarms are those of the tests' text alone.")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "rules": len(RULES),
        "compile_ms": round(compiled * 1e3, 1),
        "time": {
            "4 KB of bytes": timed(lambda: scan(raw)),
            "4 KB prompt": timed(lambda: look(body)),
            "50 messages, 4 KB": timed(lambda: look({"messages": turns})),
        },
        "detection": detection(lines[:20]),
        "ordinary": ordinary,
    }


def show(report: dict[str, Any]) -> None:
    """The table."""
    print(f"{report['rules']} rules, compiled in {report['compile_ms']} ms; {report['machine']['model']}")
    for name, row in report["time"].items():
        print(f"  {name:28} p50 {row['p50_us']:>7} us   p99 {row['p99_us']:>7} us")
    for name, row in report["detection"].items():
        print(f"  planted, {name:20} {row['found']} of {row['planted']} found {row['missed'] or ''}")
    for name, row in report["ordinary"].items():
        bound = row["upper_bound_per_1000_messages_95"]
        print(f"  {name}: {row['megabytes']} MB, {row['messages']} messages")
        print(
            f"    false alarms: {row['false_alarms_per_mb']} per MB, {row['false_alarms_per_1000_messages']} per 1000"
        )
        print(f"    {'below ' + str(bound) + ' per 1000 at 95%' if bound else row['false_alarms']}")
        print(f"    truly there: {row['true_findings'] or 'nothing'}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What scanning costs, finds, and finds wrongly.")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args()
    report = run()
    folder = ROOT / "bench" / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{report['date']}-scan.json").write_text(json.dumps(report, indent=2) + "\n")
    if given.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)


if __name__ == "__main__":
    main()
