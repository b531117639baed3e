"""Whether one approver holds 1,000 agents: ``python bench/oversight.py [--agents 1000] [--days 20]``.

A discrete-event simulation of the figures of R066 (7.3 decision points a run, 2.1 of which need approval) with the real
engine deciding every call, the real code grouping what waits, and rules drawn up from approvals as a person would have
it. People and agents are assumptions, which the report states. Writes bench/results/<date>-oversight.{json,md,svg}.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import random
import statistics
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tenure.approvals.batches import batches  # noqa: E402 (after the path that finds it)
from tenure.approvals.model import Approval  # noqa: E402 (as above)
from tenure.kernel.json import digest  # noqa: E402 (as above)
from tenure.kernel.snapshot import AgentFact, ToolFact  # noqa: E402 (as above)
from tenure.kernel.values import Autonomy, Call, CallKind, Decision, Effect, LifecycleState, Principal  # noqa: E402 (as above)
from tenure.policy.endings import ends_of  # noqa: E402 (as above)
from tenure.policy.model import Bundle, compile_bundle, decide  # noqa: E402 (as above)
from tenure.policy.scopes import Index  # noqa: E402 (as above)
from tenure.precedents.model import Source, Terms, draw_up  # noqa: E402 (as above)
from tests.sim.gateway import default_policies  # noqa: E402 (as above)

BASE = tuple(default_policies())
DAY_S = 8 * 3600.0
START = datetime(2026, 1, 5, 9, tzinfo=UTC)
POINTS, HELD = 7.3, 2.1
ONE_S, SPREAD = 12.0, 0.6
"""Median of the time that a person needs for one held call; the spread of its logarithm."""
ROW_S = 3.0
"""For each further row of a batch."""
RULE_S = 60.0
"""To draw a rule up and have it published."""
THINK_S = 20.0
BOUND, NEVER = 50, 0.2
AMOUNT, AMOUNT_SPREAD = 30.0, 1.0
AFTER = 3
"""A rule is made at so many approvals within the bound."""
ASSUMED = {
    "runs": "one run of each agent on each working day of 8 h, begun at any moment of it",
    "decision points": f"Poisson({POINTS - HELD:.1f}) that need nobody and Poisson({HELD}) that need approval in a run",
    "alike": "each agent has two tools that need approval; what a run asks of one of them it asks at once",
    "amounts": f"log-normal, median {AMOUNT:.0f} EUR, sigma {AMOUNT_SPREAD}",
    "approver": f"one call takes log-normally long, median {ONE_S:.0f} s, sigma {SPREAD}; each further row of a batch "
    f"{ROW_S:.0f} s more; the oldest first; all are approved; nobody else helps and nothing expires",
    "rules": f"after {AFTER} approvals of one agent and tool within {BOUND} EUR the approver spends {RULE_S:.0f} s "
    f"more, once the calls are answered, on a rule (up to {BOUND} EUR, any invoice, 30 days), in force from the next "
    f"day on; never for {NEVER:.0%} of the tools",
}


@dataclass
class Waiting:
    """A held call, and the step of a run that goes on when all of the step's calls are decided."""

    approval: Approval
    since: float
    step: Step


@dataclass
class Step:
    """Calls that an agent makes at once; ``later``: what the run does after them."""

    agent: int
    tool: str | None
    calls: int
    later: deque[Step] = field(default_factory=deque)
    open: int = 0


@dataclass
class Told:
    """What came of one way of working. ``waits``: (when asked, seconds until decided), of held calls."""

    name: str
    runs: int = 0
    calls: int = 0
    held: list[int] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)
    answers: int = 0
    rules: int = 0
    busy_s: float = 0.0
    unanswered: int = 0


def _agent(number: int) -> AgentFact:
    tools = tuple(ToolFact("erp", name, Autonomy.APPROVE) for name in ("refund", "credit"))
    return AgentFact(
        workspace="default",
        name=f"agent-{number}",
        state=LifecycleState.PRODUCTION,
        release="sha256:1",
        credential_epoch=0,
        owner="owner@example.com",
        purpose="",
        tools=(*tools, ToolFact("erp", "look")),
    )


class World:
    """One simulation: the approver, the agents, and the policies as they are at the moment."""

    def __init__(self, name: str, agents: int, days: int, seed: int, one_s: float) -> None:
        self.name, self.days, self.one_s = name, days, one_s
        self.batched, self.ruled = "batches" in name, "rules" in name
        self.random = random.Random(seed)  # noqa: S311 (the same days each time)
        self.agents = [_agent(number) for number in range(agents)]
        self.base = BASE
        self.fresh: list[str] = []
        self.bundle: Bundle = compile_bundle(self.base)
        self.never = {(n, t) for n in range(agents) for t in ("refund", "credit") if self.random.random() < NEVER}
        self.seen: dict[tuple[int, str], int] = {}
        self.told = Told(name, held=[0] * days)
        self.queue: deque[Waiting] = deque()
        self.of_agent: dict[int, dict[str, Waiting]] = {}
        self.events: list[tuple[float, int, str, Any]] = []
        self.number = itertools.count()
        self.free = True

    def run(self) -> Told:
        """All days, then what still waits is counted as unanswered."""
        for day in range(self.days):
            self._at(day * DAY_S, "day", None)
            for number in range(len(self.agents)):
                self._at((day + self.random.random()) * DAY_S, "step", self._steps(number))
        end = self.days * DAY_S
        while self.events and self.events[0][0] < end:
            now, _, what, which = heapq.heappop(self.events)
            getattr(self, f"_{what}")(now, which)
        left = [one for waits in self.of_agent.values() for one in waits.values()]
        self.told.unanswered = len(left)
        self.told.waits += [(one.since, end - one.since) for one in left]
        return self.told

    def _at(self, when: float, what: str, which: Any) -> None:
        heapq.heappush(self.events, (when, next(self.number), what, which))

    def _poisson(self, mean: float) -> int:
        limit, count, product = math.exp(-mean), 0, self.random.random()
        while product > limit:
            count, product = count + 1, product * self.random.random()
        return count

    def _steps(self, agent: int) -> Step:
        held = [self.random.choice(("refund", "credit")) for _ in range(self._poisson(HELD))]
        steps = [Step(agent, None, self._poisson(POINTS - HELD))]
        steps += [Step(agent, tool, held.count(tool)) for tool in ("refund", "credit") if tool in held]
        first = steps[0]
        first.later = deque(steps[1:])
        self.told.runs += 1
        return first

    def _day(self, _now: float, _: Any) -> None:
        """Yesterday's rules come into force: compiled by themselves, which is what compiling all again comes to."""
        if self.fresh:
            added = compile_bundle([("rules.cedar", "\n".join(self.fresh))])
            rules = (*self.bundle.rules, *added.rules)
            caches: dict[str, Any] = {"_known": {}, "_slices": {}, "_later": {}}
            self.bundle = replace(self.bundle, rules=rules, index=Index(rules), ends=ends_of(rules), **caches)
            self.fresh = []

    def _decide(self, now: float, agent: int, tool: str, arguments: dict[str, Any]) -> Decision:
        fact = self.agents[agent]
        self.told.calls += 1
        principal = Principal("default", fact.name, fact.release, "i", "s", 0)
        at = (START + timedelta(days=now // DAY_S * 7 / 5)).timestamp() + now % DAY_S
        return decide(Call("c", CallKind.TOOL, f"erp/{tool}", arguments), principal, fact, None, self.bundle, at=at)

    def _step(self, now: float, step: Step) -> None:
        for _ in range(step.calls):
            if step.tool is None:
                assert self._decide(now, step.agent, "look", {}).effect is Effect.ALLOW
                continue
            amount = round(AMOUNT * math.exp(self.random.gauss(0, AMOUNT_SPREAD)))
            arguments = {"amount": amount, "currency": "EUR", "invoice": f"2026-{next(self.number)}"}
            decision = self._decide(now, step.agent, step.tool, arguments)
            if decision.effect is Effect.HOLD:
                self._hold(now, step, arguments, decision.policies)
        if not step.open:
            self._go_on(now, step)

    def _hold(self, now: float, step: Step, arguments: dict[str, Any], policies: tuple[str, ...]) -> None:
        ident = str(next(self.number))
        fact = self.agents[step.agent]
        approval = Approval(
            id=ident,
            workspace="default",
            agent=fact.name,
            release=fact.release,
            call_id=ident,
            resource=f"erp/{step.tool}",
            digest=digest(arguments),
            policy_version="",
            purpose="",
            arguments=arguments,
            why="",
            policies=policies,
            session=None,
            instance=None,
            trace_id=None,
            span_id=None,
            parent_span_id=None,
            requested_at=START + timedelta(seconds=now),
        )
        waiting = Waiting(approval, now, step)
        step.open += 1
        self.told.held[int(now // DAY_S)] += 1
        self.queue.append(waiting)
        self.of_agent.setdefault(step.agent, {})[ident] = waiting
        if self.free:
            self._take(now)

    def _go_on(self, now: float, step: Step) -> None:
        if step.later:
            after = step.later.popleft()
            after.later = step.later
            self._at(now + THINK_S * math.exp(self.random.gauss(0, 0.5)), "step", after)

    def _take(self, now: float, _: Any = None) -> None:
        """The approver looks at the oldest call, and at what is shown beside it."""
        while self.queue and self.queue[0].approval.id not in self.of_agent.get(self.queue[0].step.agent, {}):
            self.queue.popleft()
        self.free = not self.queue
        if self.free:
            return
        oldest = self.queue[0]
        chosen = [oldest.approval]
        if self.batched:
            waits = self.of_agent[oldest.step.agent]
            shown = batches(one.approval for one in waits.values())
            chosen = next(list(batch.calls) for batch in shown if oldest.approval in batch.calls)
        took = self.one_s * math.exp(self.random.gauss(0, SPREAD)) + ROW_S * (len(chosen) - 1)
        after = RULE_S if self.ruled and self._rule(now, oldest.step, chosen) else 0.0  # the calls do not wait for it
        self.told.answers += 1
        self.told.busy_s += took + after
        self._at(now + took, "answered", [self.of_agent[oldest.step.agent].pop(one.id) for one in chosen])
        self._at(now + took + after, "take", None)

    def _answered(self, now: float, decided: list[Waiting]) -> None:
        for one in decided:
            self.told.waits.append((one.since, now - one.since))
            one.step.open -= 1
            if not one.step.open:
                self._go_on(now, one.step)

    def _rule(self, now: float, step: Step, chosen: list[Approval]) -> bool:
        """Whether a rule was made of what is approved now."""
        place = (step.agent, str(step.tool))
        within = [one for one in chosen if one.arguments["amount"] <= BOUND]
        before = self.seen.get(place, 0)
        self.seen[place] = before + len(within)
        if not within or place in self.never or not before < AFTER <= before + len(within):
            return False
        fact = self.agents[step.agent]
        source = Source(within[0].id, within[0].resource, within[0].arguments, within[0].policies, "ann", fact)
        until = START + timedelta(days=now // DAY_S * 7 / 5 + 30)
        terms = Terms({"amount": str(BOUND)}, ("invoice",), 30, "small ones are fine")
        cedar, _ = draw_up(str(self.told.rules), source, terms, until)
        self.fresh.append(cedar)
        self.told.rules += 1
        return True


def _share(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else 0.0


def summary(told: Told, days: int, last: int = 5) -> dict[str, Any]:
    """What the report says of one way of working; waits in seconds, of the ``last`` days."""
    late = [wait for since, wait in told.waits if since >= (days - last) * DAY_S]
    runs = told.runs / days
    return {
        "name": told.name,
        "decision points a run": round(told.calls / told.runs, 2),
        "held a run, first day": round(told.held[0] / runs, 2),
        "held a run, last days": round(statistics.fmean(told.held[-last:]) / runs, 2),
        "answers a run": round(told.answers / told.runs, 2),
        "approver busy": round(told.busy_s / (days * DAY_S), 3),
        "wait p50 s": round(_share(late, 0.5), 1),
        "wait p90 s": round(_share(late, 0.9), 1),
        "wait p99 s": round(_share(late, 0.99), 1),
        "rules": told.rules,
        "still waiting at the end": told.unanswered,
        "p90 by day": [
            round(_share([w for s, w in told.waits if int(s // DAY_S) == day], 0.9), 1) for day in range(days)
        ],
    }


NAMES = ("one by one", "batches", "batches and rules")
MARKS = ((1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (28800, "1 day"))
COLOURS = ("#a2301f", "#b87a12", "#17565b")


def picture(found: list[dict[str, Any]], title: str) -> str:
    """The 90th percentile of the wait, day by day, on a logarithmic scale, as SVG."""
    width, height, left, top, bottom = 760, 360, 70, 50, 50
    days = len(found[0]["p90 by day"])
    high = max(math.log10(max(value, 1.0)) for one in found for value in one["p90 by day"])

    def x(day: int) -> float:
        return left + (width - left - 170) * day / max(days - 1, 1)

    def y(seconds: float) -> float:
        return top + (height - top - bottom) * (1 - math.log10(max(seconds, 1.0)) / high)

    def lines() -> Iterator[str]:
        yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
        yield f'<rect width="{width}" height="{height}" fill="#fff"/>'
        yield f'<text x="{left}" y="28" font-size="15">{title}</text>'
        for seconds, word in MARKS:
            if math.log10(seconds) <= high:
                yield f'<path d="M{left} {y(seconds):.1f}H{width - 165}" stroke="#ddd"/>'
                yield f'<text x="{left - 8}" y="{y(seconds) + 4:.1f}" font-size="12" text-anchor="end">{word}</text>'
        for day in range(0, days, 5):
            yield f'<text x="{x(day):.1f}" y="{height - 26}" font-size="12" text-anchor="middle">{day + 1}</text>'
        yield f'<text x="{left}" y="{height - 8}" font-size="12">working day</text>'
        for one, colour in zip(found, COLOURS, strict=True):
            points = " ".join(f"{x(day):.1f},{y(value):.1f}" for day, value in enumerate(one["p90 by day"]))
            yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
            end = y(one["p90 by day"][-1])
            yield f'<text x="{width - 160}" y="{end + 4:.1f}" font-size="13" fill="{colour}">{one["name"]}</text>'
        yield "</svg>\n"

    return "\n".join(lines())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Whether one approver holds 1,000 agents.")
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--seed", type=int, default=66)
    given = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    for one_s in (8.0, ONE_S, 20.0):
        found[f"{one_s:.0f}"] = []
        for name in NAMES:
            told = World(name, given.agents, given.days, given.seed, one_s).run()
            found[f"{one_s:.0f}"].append(summary(told, given.days))
            shown = {name: value for name, value in found[f"{one_s:.0f}"][-1].items() if name != "p90 by day"}
            print(one_s, json.dumps(shown), flush=True)
    today = datetime.now(UTC).date().isoformat()
    report = {"date": today, "agents": given.agents, "days": given.days, "seed": given.seed, "assumed": ASSUMED}
    place = ROOT / "bench" / "results"
    (place / f"{today}-oversight.json").write_text(json.dumps({**report, "found": found}, indent=2) + "\n")
    title = f"How long nine of ten held calls wait at most: one approver, {given.agents:,} agents"
    (place / f"{today}-oversight.svg").write_text(picture(found[f"{ONE_S:.0f}"], title))
    (place / f"{today}-oversight.md").write_text(_page(today, given.agents, given.days, found))


def _begins(row: dict[str, Any]) -> str:
    days = row["p90 by day"]
    worst = days.index(max(days))
    return (
        f"Rules cost before they save: {row['rules']:,} of them are {row['rules'] * RULE_S / 3600:.0f} h of work, "
        f"which is done here before the next call is answered. On day {worst + 1}, the worst, nine of ten calls waited "
        f"up to {days[worst] / 60:.0f} min. Draw rules up when nothing waits."
    )


def _page(today: str, agents: int, days: int, found: dict[str, list[dict[str, Any]]]) -> str:
    columns = [name for name in next(iter(found.values()))[0] if name not in ("name", "p90 by day")]
    out = [
        f"# One approver and {agents:,} agents, {today}",
        "",
        f"A simulation of {days} working days, made by `python bench/oversight.py`: every call is decided by the real",
        "engine with the shipped policies, what waits is grouped by the code of the approvals page, and rules are",
        "drawn up by the code of `tenure precedents`. Agents and people are assumed:",
        "",
        *(f"- {name}: {text}" for name, text in ASSUMED.items()),
        "",
        f"Waits are of the last five days. ![Waits by day]({today}-oversight.svg)",
        "",
        _begins(found[f"{ONE_S:.0f}"][-1]),
        "",
    ]
    for one_s, rows in found.items():
        out += [f"## A median of {one_s} s for one call", "", "| | " + " | ".join(NAMES) + " |", "|---|---|---|---|"]
        out += [f"| {column} | " + " | ".join(f"{row[column]:,}" for row in rows) + " |" for column in columns]
        out.append("")
    return "\n".join(out)


if __name__ == "__main__":
    main()
