"""The recorded sessions as calls of one agent, and departures planted into them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tenure.behaviour.deviations import deviations
from tenure.behaviour.model import Deviation, Profile, profile_of
from tenure.evaluation.formats import tau_bench
from tenure.kernel.values import Event
from tenure.telemetry.model import Act
from tenure.telemetry.shapes import ARGUMENTS, RESULT, shaped

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "tau-bench" / "gpt-4o-airline.json.xz"
_AT = datetime(2026, 1, 1, 9, tzinfo=UTC)
Run = tuple[Act, ...]
Plant = Callable[[Sequence[Run], random.Random], list[Run]]


def runs_of(file: Path = DATA) -> list[Run]:
    """Every session as a run: its tool calls and its model calls. Times are of the record's order; a model call takes
    as many tokens as its messages have characters by four."""
    runs = []
    for number, session in enumerate(tau_bench.parse(file.read_bytes())):
        at = _AT + timedelta(hours=number)
        runs.append(tuple(_act(event) for event in tau_bench.trace_events(session, "default", "gpt-4o", at)))
    return [run for run in runs if any(act.kind == "tool" for act in run)]


def _act(event: Event) -> Act:
    data = shaped(event).data
    told, answered = data.get(ARGUMENTS) or {}, data.get(RESULT) or {}
    said = len(str(data.get("gen_ai.input.messages", ""))) // 4
    return Act(
        run=event.session or "",
        trace_id=event.trace_id or "",
        span_id=event.span_id or "",
        release="",
        type=event.type,
        kind=data["tenure.kind"],
        reached=data["tenure.resource"],
        at=event.time,
        duration_us=None,
        error="",
        tokens=said if data["tenure.kind"] == "llm" else None,
        cost_usd=None,
        size=told.get("size"),
        fields=told.get("fields", ""),
        mark=told.get("mark", ""),
        answer=answered.get("mark", ""),
    )


def split(runs: Sequence[Run], before: int, now: int, chance: random.Random) -> tuple[list[Run], list[Run]]:
    """So many runs for the baseline, and others that are held against it."""
    chosen = chance.sample(runs, before + now)
    return chosen[:before], chosen[before:]


def found(expected: Sequence[Run], seen: Sequence[Run]) -> list[Deviation]:
    """What is said of ``seen``, as far as it is sure."""
    return [each for each in deviations(profiled(expected), profiled(seen)) if each.sure]


def profiled(runs: Sequence[Run]) -> Profile:
    """The profile of some runs."""
    return profile_of([act for run in runs for act in run])


def _some(seen: Sequence[Run], chance: random.Random, share: float) -> set[int]:
    return set(chance.sample(range(len(seen)), max(1, round(len(seen) * share))))


def _each(change: Callable[[Act, random.Random], Act], share: float) -> Plant:
    def plant(seen: Sequence[Run], chance: random.Random) -> list[Run]:
        some = _some(seen, chance, share)
        return [
            tuple(change(act, chance) if act.kind == "tool" else act for act in run) if at in some else run
            for at, run in enumerate(seen)
        ]

    return plant


def _another_tool(seen: Sequence[Run], chance: random.Random) -> list[Run]:
    """One run calls a tool that no run ever called."""
    [at] = _some(seen, chance, 0)
    return [
        (*run, replace(run[-1], kind="tool", reached="send_email", size=90, fields="new")) if place == at else run
        for place, run in enumerate(seen)
    ]


def _loop(seen: Sequence[Run], chance: random.Random) -> list[Run]:
    """One run calls one tool forty times over."""
    [at] = _some(seen, chance, 0)
    return [
        (*run, *[replace(next(act for act in run if act.kind == "tool")) for _ in range(40)]) if place == at else run
        for place, run in enumerate(seen)
    ]


def _order(act: Sequence[Run], chance: random.Random) -> list[Run]:
    """Half of the runs do what they do the other way round."""
    some = _some(act, chance, 0.5)
    return [tuple(reversed(run)) if at in some else run for at, run in enumerate(act)]


def _other_use(act: Act, chance: random.Random) -> Act:
    return replace(act, reached="cancel_reservation") if chance.random() < 0.5 else act


PLANTED: dict[str, Plant] = {
    "a tool never called before, once": _another_tool,
    "one run in a loop of forty calls": _loop,
    "half of the calls of half the runs to another tool": _each(_other_use, 0.5),
    "the other way round, in half the runs": _order,
    "arguments twenty times as large, in one run in five": _each(
        lambda act, _: replace(act, size=(act.size or 0) * 20 + 2_000), 0.2
    ),
    "a field never given before, in one run in five": _each(lambda act, _: replace(act, fields="other"), 0.2),
    "a third of the calls of all runs fail": _each(
        lambda act, chance: replace(act, error="timeout" if chance.random() < 1 / 3 else ""), 1.0
    ),
}
"""What is planted into the runs that are held against the baseline."""
