"""What sequence rules cost in process: ``python -m bench.sequences``.

Microseconds per call, as medians, and each as a ratio to a memoised Cedar decision in the same run:

- ``decision``: a decision that Cedar made before;
- ``no rules``: the look whether there are sequence rules, where there are none;
- ``not concerned``: the same where there are 200 rules and none is about the call;
- ``concerned``: ten rules with keys are about the call: they are asked, it is noted, and it ends. The write to disk
  before the call, and the first call's wait for its history, are not in it: they are the spool's and the wire's.

Prints a table and writes bench/results/<date>-sequences.json.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import machine
from tenure.kernel.snapshot import AgentFact, ToolFact
from tenure.kernel.values import Call, CallKind, LifecycleState, Principal
from tenure.policy.model import Bundle, compile_bundle, decide
from tenure.sequences.model import History, Look, Outcome, judge, kept_of, marks_of, packed

ROOT = Path(__file__).resolve().parents[1]
PERMIT = ("all.cedar", '@id("all") permit (principal, action, resource);')
ABOUT, RULES, TIMES = 10, 200, 5000
AGENT = AgentFact("w", "a", LifecycleState.PRODUCTION, "r", 0, "o", tools=(ToolFact("s", "t"), ToolFact("s", "u")))
WHO = Principal("w", "a", "r", "i", "s", 0)


def rules() -> str:
    """Ten that are about ``s/t``, and others."""
    form = "  - {{id: r{0}, deny: {{tool: {1}}}, per: k, count: {{tool: {1}}}, reached: 3, within: 1h}}"
    lines = (form.format(index, "s/t" if index < ABOUT else f"x/{index}") for index in range(RULES))
    return "\n".join(["rules:", *lines])


def concerned(bundle: Bundle, history: History, index: int) -> None:
    """All that a gateway does for a call that rules are about, but for the disk."""
    assert bundle.sequences is not None
    call = Call(f"{index:032x}", CallKind.TOOL, "s/t", {"k": index % 50})
    watched = bundle.sequences.watched("a", call.kind, call.resource)
    assert watched is not None
    look, now = Look(call), float(index)
    judge(watched, call, {"session": history}, now, look, {})
    marks = marks_of(watched, call, look)["session"]
    history.begin(call.id, now, marks)
    history.end(call.id, now, kept_of(watched, marks, Outcome()))


def median_us(what: Callable[[int], object]) -> float:
    """The median of many."""
    took = []
    for index in range(TIMES):
        begun = time.perf_counter_ns()
        what(index)
        took.append(time.perf_counter_ns() - begun)
    return statistics.median(took) / 1000


def main() -> None:
    """Measures, prints and keeps."""
    plain, ruled, history = compile_bundle([PERMIT]), compile_bundle([PERMIT, ("a.sequence.yaml", rules())]), History()
    sequences = ruled.sequences
    assert sequences is not None
    call = Call("c", CallKind.TOOL, "s/u", {"k": 1})
    figures = {
        "decision": median_us(lambda _: decide(call, WHO, AGENT, None, plain)),
        "no rules": median_us(lambda _: plain.sequences is None),
        "not concerned": median_us(lambda _: sequences.watched("a", call.kind, call.resource)),
        "concerned": median_us(lambda index: concerned(ruled, history, index)),
    }
    base = figures["decision"]
    for name, took in figures.items():
        print(f"{name:>14} {took:8.2f} us  {took / base:6.2f} x a memoised decision")
    print(f"kept of the session: {len(packed(history)):,} bytes; at most {ABOUT * sequences.rules[0].state_bytes:,}")
    report: dict[str, Any] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine(), "us": figures}
    report["kept_bytes"] = len(packed(history))
    path = ROOT / "bench" / "results" / f"{report['date']}-sequences.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
