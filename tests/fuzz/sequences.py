"""What holds for files of sequence rules, and for any calls under the rules of one that was read."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import yaml

from tenure.kernel.values import Call, CallKind, Effect
from tenure.sequences.history import MAX_OPEN, History
from tenure.sequences.language import read_rules
from tenure.sequences.model import Look, Outcome, Sequences, judge, kept_of, marks_of
from tests.fuzz.source import Source

_WORDS = (
    *("rules", "id", "reason", "deny", "hold", "once", "never", "count", "reached", "since", "within", "per", "also"),
    *(
        "over",
        "session",
        "agent",
        "agents",
        "keys",
        "tool",
        "model",
        "peer",
        "where",
        "like",
        "unlike",
        "under",
        "among",
    ),
    *("found", "returned", "failed", "counts", "ignored", "shop/refund", "shop/*", "*", "case", "items.*.id", "24h"),
)
_TOOLS = ("shop/refund", "shop/list", "files/read")
_KEYS: tuple[Any, ...] = (1, 1.0, "1", None, True, "A", "a", [1, 2], {"id": 1}, "x" * 300)


def rules(data: bytes) -> None:
    """A file is refused with the line of every fault, or read; then rules say the same whether what was before is kept
    in memory or was handed on as text, within the bounds that they state, whatever calls come."""
    source = Source(data)
    mode = source.byte() % 4
    if mode == 0:
        text = source.rest().decode("utf-8", "replace")
    elif mode == 1:
        text = json.dumps(_likely(source))
    else:
        text = yaml.safe_dump(_likely(source), allow_unicode=mode == 2)
    read = read_rules([("fuzz.sequence.yaml", text)])
    assert all(fault.line >= 1 and fault.problem for fault in read.faults), read.faults
    assert read.faults or read.rules, "a file without a rule is a fault"
    if not read.faults:
        _calls(Sequences(read.rules), source)


def _likely(source: Source) -> Any:
    rule: dict[str, Any] = {"id": "r", source.pick(("deny", "hold")): _pattern(source)}
    match source.byte() % 3:
        case 0:
            rule["once"] = _pattern(source)
        case 1:
            rule["never"] = _pattern(source)
        case _:
            rule |= {"count": _pattern(source), "reached": source.byte() % 5 + 1}
    more = (("per", "case"), ("since", _pattern(source)), ("within", "10s"), ("over", "agent"), ("keys", 2))
    rule |= {name: value for name, value in more if source.byte() % 2}
    for _ in range(source.byte() % 3):
        rule[source.pick(_WORDS)] = source.json(_WORDS)
    return {"rules": [rule]}


def _pattern(source: Source) -> dict[str, Any]:
    out: dict[str, Any] = {"tool": source.pick((*_TOOLS, "shop/*", "*"))}
    if source.byte() % 2:
        out["where"] = {source.pick(("case", "n", "items.*.id")): source.pick((1, "a", {"over": 2}, {"like": "*"}))}
    return out


def _calls(sequences: Sequences, source: Source) -> None:
    histories = {"session": History(), "agent": History()}
    now = 1_000.0
    for number in range(source.byte() % 48):
        now += source.byte()
        given = {"case": source.pick(_KEYS), "n": source.byte(), "items": [{"id": source.pick(_KEYS)}]}
        call = Call(f"c{number}", CallKind.TOOL, source.pick(_TOOLS), given)
        watched = sequences.watched("clerk", call.kind, call.resource)
        if watched is None:
            continue
        look = Look(call, frozenset())
        handed = {over: msgspec.json.decode(msgspec.json.encode(one), type=History) for over, one in histories.items()}
        finding = judge(watched, call, histories, now, look, {})
        assert judge(watched, call, handed, now, look, {}) == finding
        if finding is not None:
            assert finding.effect in (Effect.DENY, Effect.HOLD)
            assert judge(watched, call, histories, now, look, {over: ["gone"] for over in histories}), (
                "lost, and passes"
            )
            continue
        for over, marks in marks_of(watched, call, look).items():
            if histories[over].begin(call.id, now, marks) and source.byte() % 4:
                outcome = Outcome(failed=source.byte() % 3 == 0)
                histories[over].end(call.id, now + source.byte(), kept_of(watched, marks, outcome))
    for over, history in histories.items():
        assert len(history.calls) <= MAX_OPEN
        for rule in sequences.rules:
            kept = [history.conditions[one.id] for one in rule.conditions if one.id in history.conditions]
            assert rule.over == over or not kept
            assert all(len(one.keys) <= rule.keys for one in kept)
