"""Whether the fast way of deciding ever says something else: ``python -m bench.alike``, a few minutes.

Random policies over every scope and every fact (``docs/facts.md``), random calls of random agents, half of which come a
second time. Each call is decided with slices and the memo, and by the whole set, asked afresh. The two must agree in
effect, policies, obligations and reason. Prints what differs and writes bench/results/<date>-alike.json.

A call whose arguments only policies out of its scope read in another type is left out: that rule looks at the scope on
purpose.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import machine
from tenure.kernel.snapshot import AgentFact, ModelFact, PeerGrant, ToolFact, Upstream
from tenure.kernel.values import SOURCES, Autonomy, Call, CallKind, LifecycleState, Origin, Principal, Risk
from tenure.policy.facts import TIERS, TIME
from tenure.policy.model import ARGUMENTS, Found, compile_bundle, decide

RESULTS = Path(__file__).resolve().parent / "results"
SETS, POLICIES = 50, 14
ZONE = '@zone("Europe/Berlin") '
SCOPES = (
    "principal, action, resource",
    'principal, action == Action::"call_tool", resource',
    'principal, action in [Action::"call_model", Action::"call_agent"], resource',
    'principal == Agent::"clerk", action, resource',
    'principal == Agent::"broker", action, resource in Server::"shop"',
    'principal is Agent, action, resource == Tool::"shop/refund"',
    'principal, action, resource in Server::"shop"',
    'principal, action, resource is Tool in Server::"files"',
    'principal, action, resource == Model::"gpt"',
    'principal, action, resource == Peer::"billing"',
)
CONDITIONS = (
    "",
    "unless { context.approved }",
    'when { principal.purpose == "refunds" && principal.risk_tier >= 2 }',
    'when { principal.data_classes.contains("financial") || principal.state == "staging" }',
    'when { context.autonomy == "notify" }',
    *(f'when {{ context.tier == "{tier}" }}' for tier in TIERS),
    'when { context has on_behalf_of && context.on_behalf_of == "ann@example.com" }',
    'when { context.session == "s2" || context.task == "case-7" }',
    'unless { context.release == "r1" }',
    'when { context.environment == "staging" }',
    'when { context.chain.contains("broker") || context.chain_depth > 1 }',
    "when { context.hour >= 18 || context.hour < 7 }",
    "unless { context.weekday < 6 && context.date < 20260601 }",
    "when { context has confidence && context.confidence < 60 }",
    "unless { context.justified }",
    "when { context.unrepresentable }",
    'when { context.findings.contains("contact") }',
    'when { context.returned.containsAny(["secret", "contact"]) }',
    "when { context.spent_calls >= 80 || context.spent_tokens >= 90 }",
    "when { context.spent_usd > 50 && !context.approved }",
    'when { context.tainted && context.provenance.contains("web") }',
    'when { context.arguments_from_untrusted && context.untrusted_arguments.contains("to") }',
    "when { context.risk >= 60 }",
    "when { context.risk >= 30 && context.uncertainty >= 50 && !context.approved }",
    'when { context.longs.hasTag("n") && context.longs.getTag("n") > 10 }',
    'when { context.longs.hasTag("n") && context.longs.getTag("n") * 9000000000000000000 > 1 }',
    'unless { context.decimals.hasTag("price") && context.decimals.getTag("price").lessThan(decimal("1.5")) }',
    'when { context.strings.hasTag("to") && context.strings.getTag("to") like "*@evil.com" }',
    'when { context.bools.hasTag("force") && context.bools.getTag("force") }',
    'when { context.longs.hasTag("items.length") && context.longs.getTag("items.length") > 1 }',
)
ARGUMENTS_OF: dict[str, tuple[Any, ...]] = {
    "n": (0, 11, 12.5, True, "x", 2**63, None),
    "price": (1, 1.25, 2.5, 1.23456),
    "to": ("a@evil.com", "b@example.com", "c" * 300),
    "force": (True, False, 1),
    "items": ([], [1], [1, {"id": 2}]),
    "note": ("hello", "write to ann@example.org"),
}


PLACES = (
    (CallKind.TOOL, "shop/refund"),
    (CallKind.TOOL, "files/delete"),
    (CallKind.LLM, "gpt"),
    (CallKind.AGENT, "billing"),
)


def policies(pick: random.Random) -> str:
    """Some policies, at least one of which permits everything."""
    out = ['@id("all") permit(principal, action, resource);']
    for number in range(POLICIES):
        effect = pick.choice([*["permit"] * 4, *["forbid"] * 4, "@final forbid"])
        condition = pick.choice(CONDITIONS if effect == "permit" else CONDITIONS[1:])
        zone = ZONE if any(f"context.{name}" in condition for name in TIME) else ""
        duty = '@obligation("notify") ' if effect == "permit" and pick.random() < 0.3 else ""
        out.append(f'@id("p{number}") {zone}{duty}{effect}({pick.choice(SCOPES)}) {condition};')
    return "\n".join(out)


def agent(pick: random.Random, name: str) -> AgentFact:
    """An agent with two servers' tools, a model and a peer."""
    level = pick.choice(list(Autonomy))
    return AgentFact(
        workspace="default",
        name=name,
        state=pick.choice([LifecycleState.STAGING, LifecycleState.PRODUCTION, LifecycleState.DRAINING]),
        release="r1",
        credential_epoch=1,
        owner="ann@example.com",
        purpose=pick.choice(["refunds", "letters"]),
        risk_tier=pick.choice([1, 2, 3]),
        models=(ModelFact("gpt", Upstream("http://127.0.0.1:1")),),
        tools=(ToolFact("shop", "refund", level, ask_below=pick.choice([0, 50])), ToolFact("files", "delete")),
        data_classes=pick.choice([(), ("financial",)]),
        agents=(PeerGrant("billing", pick.choice(list(Autonomy))),),
    )


def asked(pick: random.Random, fact: AgentFact) -> tuple[Call, Principal, dict[str, Any]]:
    """A call, who makes it, and how and when it is decided on."""
    kind, resource = pick.choice(PLACES)
    names = pick.sample(list(ARGUMENTS_OF), pick.randrange(4))
    derived = pick.random() < 0.3
    call = Call(
        "c", kind, resource, {name: pick.choice(ARGUMENTS_OF[name]) for name in names},
        spent=(pick.choice([0, 85]), pick.choice([0, 95]), pick.choice([0, 60])),
        origin=pick.choice([None, Origin(derived or pick.random() < 0.5, pick.choice([(), SOURCES[-1:]]), derived,
                                         ("to",) if derived else ())]),
        risk=pick.choice([None, Risk(pick.choice([0, 40, 70]), pick.choice([0, 60]))]),
        justification=pick.choice(["", "a refund"]),
        confidence=pick.choice([None, 40, 90]),
        returned=pick.choice([None, "ann@example.org"]),
    )  # fmt: skip
    chain = pick.choice([(), (), ("broker",), ("boss", "broker")])
    who = Principal(
        "default", fact.name, pick.choice(["r1", "r2"]), "i", pick.choice(["s1", "s2"]), 1,
        on_behalf_of=pick.choice([None, "ann@example.com", "bob@example.com"]),
        task=pick.choice([None, "case-7"]), chain=chain, started=pick.random() < 0.5,
    )  # fmt: skip
    at = datetime(2026, pick.randrange(1, 13), pick.randrange(1, 29), pick.randrange(24), 30, tzinfo=UTC).timestamp()
    how = {"approved": pick.random() < 0.3, "at": at, "found": pick.choice([None, None, Found(("contact",), ())])}
    return call, who, how


def compared(calls: int, seed: int = 1) -> tuple[list[str], Counter[str], int]:
    """What differed, in words; the effects; and how many decisions were not made but remembered."""
    pick = random.Random(seed)  # noqa: S311 (the same calls in each run, not a secret)
    wrong: list[str] = []
    effects: Counter[str] = Counter()
    remembered = 0
    for _ in range(SETS):
        bundle = compile_bundle([("random.cedar", policies(pick))])
        afresh = replace(bundle, sliced=False, memoise=False, _known={}, _slices={})
        fleet = [agent(pick, name) for name in ("clerk", "broker", "third")]
        drawn = [(fact, *asked(pick, fact)) for fact in pick.choices(fleet, k=calls // SETS // 2)]
        for fact, call, who, how in [*drawn, *drawn]:
            fast, slow = decide(call, who, fact, None, bundle, **how), decide(call, who, fact, None, afresh, **how)
            if fast != slow and ARGUMENTS not in slow.policies:
                wrong.append(f"{fast} is not {slow} of {call}")
            effects[fast.effect.value] += 1
        remembered += calls // SETS - sum(len(known.memo) for known in bundle._known.values())
    return wrong, effects, remembered


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.alike", description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--dry", action="store_true", help="print and write nothing")
    given = parser.parse_args()
    begun = time.monotonic()
    wrong, effects, remembered = compared(given.calls)
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "calls": sum(effects.values()),
        "sets_of_policies": SETS,
        "policies_each": POLICIES + 1,
        "effects": dict(effects),
        "from_the_memo": remembered,
        "different": len(wrong),
        "seconds": round(time.monotonic() - begun),
    }
    print("\n".join([*wrong[:10], json.dumps(report)]))
    if not given.dry:
        (RESULTS / f"{report['date']}-alike.json").write_text(json.dumps(report, indent=2) + "\n")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
