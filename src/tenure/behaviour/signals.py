"""What can be seen of an agent, in the order in which it is worth making it seen, and what to do about the rest. Pure.

The order is that of R093: first what an agent does and what it must not (tool calls, rejections, memory, escalations,
effects that cannot be undone), then how it comes to that (planning, retrieval, retries), and last what people make of
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tenure.kernel.json import JsonObject
from tenure.kernel.values import Autonomy
from tenure.telemetry.model import SIGNALS, Signal


class State(StrEnum):
    """``seen``: there is some of it. ``ready``: it will be seen as soon as it happens. ``blind``: it may happen and
    nothing would tell."""

    SEEN = "seen"
    READY = "ready"
    BLIND = "blind"


@dataclass(frozen=True, slots=True)
class Seen:
    """One signal of an agent. ``todo``: what to do so that it is seen; empty where it is or will be."""

    name: str
    title: str
    state: State
    count: int
    last: datetime | None
    trace_id: str
    what: str
    todo: str


_WORDS: Mapping[str, tuple[str, str, str]] = {
    "tool_calls": (
        "Tool calls",
        "which tool, with what, and what came back",
        (
            "Grant its tools in the manifest and have it call them through the gateway; tools in its own "
            "process ask the gateway by the SDK. Or send its spans over OTLP."
        ),
    ),
    "policy_rejections": (
        "Policy rejections",
        "what it tried and must not do",
        "Spans that an agent sends of itself tell of no refusals: have it call its tools through the gateway.",
    ),
    "memory_writes": (
        "Memory writes",
        "what it will remember",
        (
            "Put its memory behind an MCP server that it was granted, with tools named for what they do "
            "(create_memory, save_note_to_memory, remember)."
        ),
    ),
    "escalations": (
        "Escalations",
        "when it asks a person",
        (
            "Give the tools that matter the level approve or human_only in its manifest, or grant it a tool "
            "that brings a person in (transfer_to_human)."
        ),
    ),
    "irreversible_effects": (
        "Irreversible effects",
        "calls of the tools whose effects matter",
        (
            "Say in its manifest which tools those are: give them the level notify, approve or human_only. All "
            "its tools are autonomous now."
        ),
    ),
    "planning": (
        "Planning",
        "what it means to do before it does it",
        (
            "Send its framework's spans over OTLP (chains and agents are steps there), or grant it a tool to "
            "think or plan with."
        ),
    ),
    "retrieval": (
        "Retrieval",
        "what it looked up",
        "Call embeddings through the gateway, or send its framework's retriever spans over OTLP.",
    ),
    "retries": (
        "Retries",
        "calls that failed, and whether it tries them again",
        "Retries are told from calls with their arguments: have it call its tools through the gateway.",
    ),
    "satisfaction": (
        "Satisfaction",
        "what people say of what it did: approvals, rejections, corrections",
        "",
    ),
    "outcomes": (
        "Outcomes",
        "whether a run solved what it was for",
        "Tell how runs ended: send import.outcome Events to POST /v1/imports/events, with the session's name.",
    ),
}
"""Of each signal its title, what it tells, and what to do where it is not there."""


def _tools(manifest: JsonObject) -> list[JsonObject]:
    spec = manifest.get("spec")
    tools = spec.get("tools") if isinstance(spec, Mapping) else None
    return [tool for tool in tools or () if isinstance(tool, Mapping)]


def grave_tools(manifest: JsonObject) -> list[str]:
    """The tools that a manifest does not leave to the agent alone: those whose effects matter."""
    return [str(tool.get("name")) for tool in _tools(manifest) if tool.get("autonomy", "autonomous") != "autonomous"]


def instrumentation(manifest: JsonObject, there: Sequence[Signal]) -> list[Seen]:
    """Every signal of an agent, in their order."""
    found = {one.name: one for one in there}
    tools = _tools(manifest)
    asks = {Autonomy.APPROVE, Autonomy.HUMAN_ONLY} & {str(tool.get("autonomy")) for tool in tools}
    ready = {
        "tool_calls": bool(tools),
        "policy_rejections": bool(tools),
        "escalations": bool(asks),
        "irreversible_effects": bool(grave_tools(manifest)),
        "retries": bool(tools),
        "satisfaction": True,
    }
    return list(_told(found, ready))


def _told(found: Mapping[str, Signal], ready: Mapping[str, bool]) -> Iterator[Seen]:
    for name in SIGNALS:
        title, what, todo = _WORDS[name]
        one = found.get(name)
        state = State.SEEN if one else State.READY if ready.get(name) else State.BLIND
        yield Seen(
            name,
            title,
            state,
            one.count if one else 0,
            one.last if one else None,
            one.trace_id if one else "",
            what,
            todo if state is State.BLIND else "",
        )
