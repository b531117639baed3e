"""Sightings, and the findings that they come to. Pure.

A sighting is one thing seen on one channel. It has marks: what another sighting of the same agent would have too (its
name, where it lies, the key it showed). Sightings that share a mark are evidence of one finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tenure.discovery import signs
from tenure.kernel.clients import GENERIC, name_of, telling
from tenure.kernel.errors import Refused
from tenure.kernel.ids import stable_id
from tenure.kernel.json import JsonObject

MAX_FINDINGS = 5_000
"""Of one workspace; what is beyond is not kept, so that nobody fills the store by making up names."""
MAX_EVIDENCE = 50
"""Of one finding; the oldest goes first."""
MAX_SIGHTINGS = 500
"""In one report."""
MAX_MARKS = 20
MAX_TEXT = 500
_MARK = re.compile(r"(?:name|path|container|key|card|caller|client):[\x20-\x7e]{1,300}")


class Channel(StrEnum):
    """How an agent was found."""

    GATEWAY = "gateway"
    OTLP = "otlp"
    MCP = "mcp"
    A2A = "a2a"
    PROCESS = "process"
    CONTAINER = "container"
    CONFIG = "config"
    SOURCE = "source"


WORDS: Mapping[Channel, str] = {
    Channel.GATEWAY: "Requests at the gateway",
    Channel.OTLP: "Telemetry",
    Channel.MCP: "MCP sessions",
    Channel.A2A: "A2A",
    Channel.PROCESS: "Processes",
    Channel.CONTAINER: "Containers",
    Channel.CONFIG: "Clients' configuration",
    Channel.SOURCE: "Source",
}


class State(StrEnum):
    """What somebody decided about a finding."""

    OPEN = "open"
    CLAIMED = "claimed"
    REGISTERED = "registered"
    BLOCKED = "blocked"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One thing that was seen. ``where`` it was (an address, a path, a process), ``what`` was seen in words; ``hints``
    help to draft a manifest (framework, provider, servers)."""

    channel: Channel
    name: str
    where: str
    what: str
    marks: tuple[str, ...]
    signs: tuple[str, ...]
    at: datetime
    count: int = 1
    hints: JsonObject = field(default_factory=dict)

    @property
    def confidence(self) -> int:
        """Percent that this alone is an agent."""
        return signs.confidence(self.signs)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A kind of sighting of one finding: what, where, when first and last, how often."""

    key: str
    channel: Channel
    where: str
    what: str
    signs: tuple[str, ...]
    first_seen: datetime
    last_seen: datetime
    count: int
    hints: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """An agent that nobody registered, as far as it is known. ``agent``: what it was registered as; ``names``: what it
    calls itself that a gateway can refuse."""

    id: str
    workspace: str
    name: str
    state: State
    confidence: int
    first_seen: datetime
    last_seen: datetime
    count: int
    channels: tuple[Channel, ...]
    owner: str = ""
    agent: str = ""
    note: str = ""
    decided_by: str = ""
    decided_at: datetime | None = None
    blocked: tuple[str, ...] = ()


def evidence_key(sighting: Sighting) -> str:
    """Under which a sighting is kept: the same channel, place and words is the same evidence, seen again."""
    return stable_id(str(sighting.channel), sighting.where, sighting.what)


def bounded(found: Sequence[str]) -> bool:
    """Whether something speaks against these signs: then they lend nothing to others."""
    return any(sign in signs.BOUNDS for sign in found)


def united(found: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The signs of several sightings of one agent together. What something speaks against counts alone."""
    sets = list(found)
    free = signs.known(sign for one in sets if not bounded(one) for sign in one)
    best = max(sets, key=signs.confidence, default=())
    return free if signs.confidence(free) >= signs.confidence(best) else tuple(best)


def name_mark(name: str) -> tuple[str, ...]:
    """The mark of a name that tells, else none."""
    plain = name_of(name)
    return (f"name:{plain}",) if telling(plain) else ()


def checked(sighting: Sighting) -> Sighting:
    """A sighting as it may be kept. Raises Refused (422) for one that is none."""
    wrong = ""
    if not sighting.name.strip() or not sighting.where.strip() or not sighting.what.strip():
        wrong = "name, where and what are said"
    elif any(len(text) > MAX_TEXT for text in (sighting.name, sighting.where, sighting.what)):
        wrong = f"name, where and what have at most {MAX_TEXT} characters"
    elif not sighting.marks or len(sighting.marks) > MAX_MARKS or not all(map(_MARK.fullmatch, sighting.marks)):
        wrong = "marks are name:, path:, container:, key:, card:, caller: or client: and a text, 1 to 20 of them"
    elif any(sign not in signs.SIGNS and sign not in signs.BOUNDS for sign in sighting.signs):
        wrong = "signs are those of the table in the docs"
    elif not 0 < sighting.count < 2**31:
        wrong = "count is a positive number"
    if wrong:
        raise Refused("bad_sighting", f"This is no sighting: {wrong}.", fix="See `tenure discover --help`.", status=422)
    return sighting


def blockable(evidence: Iterable[Evidence]) -> tuple[str, ...]:
    """What this agent calls itself on a wire, as far as it is its own name: what a gateway can refuse."""
    names = {str(one.hints.get("client", "")) for one in evidence}
    return tuple(sorted(name for name in names if telling(name) and name not in GENERIC))


_CREDENTIAL = "Where it works with a registered agent's credential, revoke that (`tenure revoke agent`)."
_HOW = {
    Channel.GATEWAY: "What it asks of the gateway is refused already, because nobody here gave out its key. Let no "
    "program reach a model provider but through the gateway, and take its key back at the provider.",
    Channel.OTLP: _CREDENTIAL,
    Channel.MCP: _CREDENTIAL,
    Channel.A2A: "Nobody is granted it, so the gateway refuses calls of it. Close its address to what does not come "
    "through the gateway.",
    Channel.PROCESS: "End the process where it runs, and take its provider key back.",
    Channel.CONTAINER: "Stop the container where it runs, and take its provider key back.",
    Channel.CONFIG: "Take the servers out of the file, or put the gateway's address in their place.",
    Channel.SOURCE: "Take the provider key back; let nothing be deployed from there without a registration.",
}


def how_to_block(channels: Iterable[Channel], names: Iterable[str]) -> list[str]:
    """What blocking does by itself, and what a person has to do."""
    refused = ", ".join(names)
    steps = [f"The gateway refuses whatever calls itself {refused}."] if refused else []
    return steps + list(dict.fromkeys(_HOW[channel] for channel in Channel if channel in set(channels)))
