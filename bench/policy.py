"""What a decision costs in process: ``python -m bench.policy``.

1,000 agents with 10 of 100 tools each, and 20, 200 and 2,000 policies: ten for everybody, the others about one agent,
one tool or one server, most with conditions on arguments. Three figures for each number of policies, in
microseconds (median and 99th percentile):

- ``first``: the first call of an agent to a tool, when nothing is known yet of that agent and tool;
- ``new``: a call with arguments that were not seen before;
- ``again``: a call that was decided before.

Then the calls of recorded sessions, in their order, where ``shared/data`` is beside this repository; and a comparison:
100,000 random calls decided with everything that makes it fast, and by the whole set asked afresh. The two must agree
in each. Prints a table and writes bench/results/<date>-policy.json.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import machine
from tenure.kernel.snapshot import AgentFact, ModelFact, ToolFact, Upstream
from tenure.kernel.values import Call, CallKind, Decision, LifecycleState, Principal
from tenure.policy.model import Bundle, compile_bundle, decide

ROOT = Path(__file__).resolve().parents[1]
SESSIONS = ROOT.parent / "shared" / "data" / "tau-bench" / "gpt-4o-airline.json.xz"
AGENTS, TOOLS, SERVERS, GRANTED = 1000, 100, 10, 10
EVERYBODY = 10
SIZES = (20, 200, 2000)
PURPOSES = ("refunds", "letters", "reports")


def policies(count: int) -> str:
    """``count`` policies, the same for the same number."""
    chosen = random.Random(count)  # noqa: S311 (the same policies in each run, not a secret)
    granted = "principal.tools.contains(resource)"
    rules = [f'@id("tools") permit(principal, action == Action::"call_tool", resource) when {{ {granted} }};']
    for number in range(1, count):
        limit, tool = chosen.randrange(100, 10_000), chosen.randrange(TOOLS)
        agent, server = f'Agent::"agent-{chosen.randrange(AGENTS)}"', f"s{tool % SERVERS}"
        scopes = [
            f"principal == {agent}, action, resource",
            f'principal, action, resource == Tool::"{server}/t{tool}"',
            f'principal == {agent}, action, resource in Server::"{server}"',
            f'principal == {agent}, action == Action::"call_tool", resource == Tool::"{server}/t{tool}"',
        ]
        amount = f'context.longs.hasTag("amount") && context.longs.getTag("amount") > {limit}'
        conditions = [
            amount,
            f'principal.purpose == "{chosen.choice(PURPOSES)}" && principal.risk_tier > {number % 4}',
            f'context.strings.hasTag("place") && context.strings.getTag("place") == "p{limit}"',
            f'!context.approved && principal.data_classes.contains("financial") && {amount}',
        ]
        scope = scopes[number % 4] if number > EVERYBODY else "principal, action, resource"
        rules.append(f'@id("r{number}") forbid({scope}) when {{ {chosen.choice(conditions)} }};')
    return "\n".join(rules)


def agents() -> list[AgentFact]:
    """1,000 agents, each granted 10 of the 100 tools."""
    chosen = random.Random(1)  # noqa: S311 (as above)
    out = []
    for number in range(AGENTS):
        tools = tuple(ToolFact(f"s{tool % SERVERS}", f"t{tool}") for tool in chosen.sample(range(TOOLS), GRANTED))
        out.append(agent(f"agent-{number}", tools, PURPOSES[number % 3], number % 4 + 1))
    return out


def agent(name: str, tools: tuple[ToolFact, ...], purpose: str = "refunds", tier: int = 2) -> AgentFact:
    """An agent in production that may call ``tools``."""
    return AgentFact(
        workspace="default",
        name=name,
        state=LifecycleState.PRODUCTION,
        release="sha256:1",
        credential_epoch=1,
        owner="ann@example.com",
        purpose=purpose,
        risk_tier=tier,
        models=(ModelFact("gpt", Upstream("http://127.0.0.1:1")),),
        tools=tools,
        data_classes=("financial",) if tier > 2 else (),
    )


def principal(fact: AgentFact) -> Principal:
    """Who holds a good credential of the agent."""
    return Principal("default", fact.name, fact.release, "i", "s", 1)


def random_calls(fleet: Sequence[AgentFact], count: int, seed: int) -> list[tuple[AgentFact, Call]]:
    """Calls of random agents of tools that they have, with arguments that are as good as never the same."""
    chosen, out = random.Random(seed), []  # noqa: S311 (as above)
    for number in range(count):
        fact = chosen.choice(fleet)
        tool = chosen.choice(fact.tools)
        given = {"amount": chosen.randrange(20_000), "place": f"p{chosen.randrange(10_000)}", "note": f"n{number}"}
        out.append((fact, Call(f"c{number}", CallKind.TOOL, f"{tool.server}/{tool.name}", given)))
    return out


def timed(calls: Sequence[tuple[AgentFact, Call]], bundle: Bundle) -> tuple[list[Decision], dict[str, float]]:
    """The decisions, and the median and 99th percentile of what each took, in microseconds."""
    took, decisions = [], []
    asked = [(call, principal(fact), fact) for fact, call in calls]
    for call, who, fact in asked:
        begun = time.perf_counter_ns()
        decision = decide(call, who, fact, None, bundle)
        took.append(time.perf_counter_ns() - begun)
        decisions.append(decision)
    took.sort()
    return decisions, {"p50": took[len(took) // 2] / 1000, "p99": took[int(len(took) * 0.99)] / 1000}


def latencies(fleet: Sequence[AgentFact], count: int) -> dict[str, Any]:
    """The three figures for so many policies."""
    bundle = compile_bundle([("bench.cedar", policies(count))])
    pairs = [(fact, f"{tool.server}/{tool.name}") for fact in fleet for tool in fact.tools]
    random.Random(2).shuffle(pairs)  # noqa: S311 (as above)
    first = [(fact, Call("c", CallKind.TOOL, resource, {"amount": 5})) for fact, resource in pairs]
    out = {"first": timed(first, bundle)[1]}
    new = random_calls(fleet, 20_000, 3)
    out["new"] = timed(new, bundle)[1]
    out["again"] = timed(new[-2000:], bundle)[1]
    return out


def recorded() -> Iterator[tuple[AgentFact, Call]]:
    """The tool calls of the recorded sessions, all of one agent."""
    sessions = json.loads(lzma.decompress(SESSIONS.read_bytes()))
    calls = [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for session in sessions
        for message in session["traj"]
        for call in message.get("tool_calls") or ()
    ]
    fact = agent("agent-1", tuple(ToolFact("s1", name) for name in sorted({name for name, _ in calls})))
    for number, (name, arguments) in enumerate(calls):
        yield fact, Call(f"c{number}", CallKind.TOOL, f"s1/{name}", arguments)


def differing(fleet: Sequence[AgentFact], count: int, calls: int, said: Callable[[int], None]) -> int:
    """In how many of ``calls`` random calls the fast way and the whole set, asked afresh, do not say the same."""
    bundle = compile_bundle([("bench.cedar", policies(count))])
    whole = replace(bundle, sliced=False, memoise=False, _known={}, _slices={})
    wrong = 0
    for number, (fact, call) in enumerate(random_calls(fleet, calls, 4)):
        who = principal(fact)
        wrong += decide(call, who, fact, None, bundle) != decide(call, who, fact, None, whole)
        if number % 5000 == 4999:
            said(number + 1)
    return wrong


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.policy", description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000, help="of the comparison")
    parser.add_argument("--dry", action="store_true", help="print and write nothing")
    given = parser.parse_args()
    fleet = agents()
    report: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), "unit": "us"}
    report["policies"] = {count: latencies(fleet, count) for count in SIZES}
    for count, rows in report["policies"].items():
        print(
            f"{count:5} policies  " + "  ".join(f"{name} {t['p50']:.0f} / {t['p99']:.0f}" for name, t in rows.items())
        )
    if SESSIONS.exists():
        calls = list(recorded())
        for count in SIZES:
            bundle = compile_bundle([("bench.cedar", policies(count))])
            report.setdefault("recorded", {})[count] = found = timed(calls, bundle)[1] | {"calls": len(calls)}
            print(f"{count:5} policies  {len(calls)} recorded calls {found['p50']:.0f} / {found['p99']:.0f}")
    else:
        print("no recorded sessions beside this repository: that part is left out")
    wrong = differing(fleet, 200, given.calls, lambda done: print(f"{done} compared", flush=True))
    report["compared"] = {"calls": given.calls, "policies": 200, "different": wrong}
    print(f"{given.calls} calls compared with the whole set asked afresh: {wrong} differ")
    if not given.dry:
        path = ROOT / "bench" / "results" / f"{report['date']}-policy.json"
        path.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
