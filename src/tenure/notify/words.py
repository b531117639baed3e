"""What an Event is to a person: its topic, and the message about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tenure.kernel.json import Json
from tenure.kernel.values import Event
from tenure.notify.model import Message

_MAX_TEXT = 300
_PLAIN = str.maketrans({"[": "(", "]": ")", "<": "(", ">": ")", "`": "'", "*": " ", "|": " "})

TOPICS: Mapping[str, str] = {
    "approval": "a call is held until a person decides on it",
    "approval-escalated": "nobody answered a held call yet, and the next ones are asked",
    "approval-expired": "nobody decided a held call in time",
    "agent-requested": "an agent, or a release of one, waits for an approver",
    "agent-suspended": "an agent was suspended",
    "agent-retired": "an agent drains or has retired",
    "dependency": "an agent that one depends on was stopped",
    "breaker": "a breaker has tripped or may close again",
    "limit": "80 or 100 percent of a limit is used",
    "tool": "the definition of a tool waits for a person",
    "owner": "nobody answers for an agent, or nobody needs it",
    "instance-lost": "an instance of an agent has gone without a word",
    "connector": "a person must let agents in at an upstream anew",
    "record": "Events of a gateway were lost",
    "policy": "other policies run, or a change of them was refused",
    "credentials": "credentials were revoked",
    "alert": "a rule over what agents did holds, or holds no more",
    "discovery": "an agent was found that nobody registered",
}
"""What a destination may be told of, in words."""

_OF_TYPE = {
    "approval.requested": "approval",
    "approval.escalated": "approval-escalated",
    "approval.expired": "approval-expired",
    "owner.concern_raised": "owner",
    "agent.dependency_stopped": "dependency",
    "breaker.tripped": "breaker",
    "breaker.reset": "breaker",
    "breaker.closed": "breaker",
    "limits.reached": "limit",
    "tool.held": "tool",
    "tool.changed": "tool",
    "connector.lost": "connector",
    "gateway.dropped": "record",
    "policy.loaded": "policy",
    "policy.rejected": "policy",
    "credentials.revoked": "credentials",
    "discovery.found": "discovery",
    "alert.raised": "alert",
    "alert.over": "alert",
}
_OF_STATE = {
    "requested": "agent-requested",  # asked for again
    "suspended": "agent-suspended",
    "draining": "agent-retired",
    "retired": "agent-retired",
}
_CONCERNS = {
    "left": "its owner has left, and nobody answers for it",
    "unconfirmed": "its owner has not confirmed that they answer for it",
    "inactive": "it has done nothing for long",
}
_OF_A_CALL = frozenset({"approval", "approval-escalated", "approval-expired"})
TYPES = frozenset({*_OF_TYPE, "agent.transitioned", "agent.applied", "instance.ended"})
"""The Events that can be something to tell."""


def topic_of(event: Event) -> str | None:
    """What the Event is to a person, None for nothing to tell."""
    if event.type == "agent.transitioned":
        return _OF_STATE.get(str(event.data.get("to", "")))
    if event.type == "agent.applied":
        asks = {"registered", "pending_release"} & set(_words(event.data.get("changed")))
        return "agent-requested" if asks and ("registered" in asks or event.data.get("pending_release")) else None
    if event.type == "instance.ended":
        return "instance-lost" if event.data.get("end") == "lost" else None
    return _OF_TYPE.get(event.type)


def message_of(event: Event, topic: str) -> Message:
    """What is told of an Event. Arguments of calls are not in it: they are shown to those who may see them."""
    who, data = event.agent or "", event.data
    resource, reason = line(data.get("resource")), line(data.get("reason"))
    title, path = _title(event, topic), f"/agents/{who}" if who else "/"
    named = {
        "breaker": "/breakers",
        "limit": "/limits",
        "tool": "/tools",
    }
    path = {"record": "/recording", "policy": "/policies", "connector": "/connectors", "owner": "/owners", **named}.get(
        topic, path
    )
    path = f"/alerts/{line(data.get('alert'))}" if topic == "alert" else path
    path = f"/discovery/{line(data.get('finding'))}" if topic == "discovery" else path
    path = f"/approvals/{quote(str(data.get('approval_id', ''))[:64], safe='')}" if topic in _OF_A_CALL else path
    lines = [
        f"{label}: {text}"
        for label, text in (
            ("Agent", who),
            ("Call", resource),
            ("What", line(data.get("words")) if topic == "alert" else ""),
            ("Most of it", line(data.get("cause"))),
            ("Where", line(data.get("where"))),
            ("Why", reason),
            ("Owner", line(data.get("owner")) if topic == "owner" else ""),
            ("Suspended", f"{line(data.get('due'))[:16].replace('T', ' ')} UTC" if data.get("due") else ""),
            ("Used", line(data.get("spent"))),
            ("Allowed", line(data.get("allowed"))),
            ("By", line(event.actor) if not event.actor.startswith("agent:") else ""),
        )
        if text
    ]
    kept = ("approval_id", "resource", "digest", "reason", "policies", "scope", "name", "from", "to", "limit")
    also = (
        "account",
        "percent",
        "spent",
        "allowed",
        "connector",
        "person",
        "count",
        "version",
        "fingerprint",
        "end",
        "ladder",
        "step",
        "ask",
        "until",
        "alert",
        "rule",
        "severity",
        "words",
        "cause",
    )
    facts: dict[str, Json] = {"workspace": event.workspace, "event": event.id, "actor": event.actor, "topic": topic}
    facts |= {"agent": who} if who else {}
    facts |= {name: data[name] for name in (*kept, *also) if name in data}
    held = topic in ("approval", "approval-escalated")
    return Message(
        topic=topic,
        type=event.type,
        title=title,
        lines=tuple(lines),
        facts=facts,
        path=path,
        agent=who,
        approval=str(data.get("approval_id", ""))[:64] if held else "",
        digest=str(data.get("digest", "")) if held else "",
    )


def _title(event: Event, topic: str) -> str:
    who, data = event.agent or "", event.data
    what = line(data.get("resource"))
    scope, name = line(data.get("scope")), line(data.get("name"))
    whom = "everything in the workspace" if scope == "workspace" else f"{scope} {name}".strip() or who
    state, percent = line(data.get("to")), line(data.get("percent"))
    new = "registered" in _words(data.get("changed"))
    said = {
        "owner.concern_raised": f"{who}: {_CONCERNS.get(str(data.get('kind')), TOPICS['owner'])}",
        "approval.requested": f"{who} waits for a person: {what}",
        "approval.escalated": f"Still waits for a person: {who}, {what}",
        "approval.expired": f"Nobody decided in time: {who}, {what}",
        "agent.dependency_stopped": f"{who} depends on {name}, which was stopped",
        "breaker.tripped": f"Stopped: {whom}",
        "breaker.reset": f"May go on: {whom}",
        "breaker.closed": f"May go on: {whom}",
        "limits.reached": f"{percent} % used: {line(data.get('account'))}",
        "agent.transitioned": f"{who} is {state}",
        "discovery.found": f"At work, and registered by nobody: {name} ({line(data.get('confidence'))} % sure)",
        "alert.raised": f"{line(data.get('severity')).capitalize()}: {line(data.get('rule'))}, {who or 'all agents'}",
        "alert.over": f"Over: {line(data.get('rule'))}, {who or 'all agents'}",
        "agent.applied": f"{who} is asked for" if new else f"{who} has a release that waits",
    }
    return said.get(event.type) or f"{who or event.workspace}: {TOPICS[topic]}" + (f" ({what})" if what else "")


def _words(value: Any) -> Sequence[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else ()


def line(value: Any) -> str:
    """A text from elsewhere as one line that no message's markup reads anything into."""
    text = "" if value is None else str(value)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split()).translate(_PLAIN)
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
