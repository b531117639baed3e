"""What the pages show, as values: words for statuses and Events, numbers and times as a person reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from tenure.kernel.json import Json, JsonObject
from tenure.kernel.money import dollars
from tenure.kernel.values import Autonomy, Status, strictest

GONE_WORDS: Mapping[str, str] = {
    "withheld": "It is withheld from you. The top of the page says whom to ask.",
    "erased": "It was erased.",
    "expired": "The time for which it is kept is over.",
    "sampled": "It was not kept: of traces in which nothing was of note, a share is.",
}
"""Why what was said is not in an Event."""
STATUS_WORDS: Mapping[str, str] = {
    Status.ALLOWED: "Allowed",
    Status.FLAGGED: "Flagged",
    Status.VIOLATION: "Violation",
    Status.ANOMALY: "Anomaly",
}

LOSS_WORDS: Mapping[str, str] = {
    "spool_full": "The spool was full: the control plane took nothing for long",
    "disk": "The spool's disk was full, failed or was too slow",
    "damaged": "Damaged on the spool's disk after it was written",
    "refused": "Refused by the control plane, even without its content",
    "not_json": "Could not be written as JSON",
}

AUTONOMY_WORDS: Mapping[str, tuple[str, str]] = {
    Autonomy.AUTONOMOUS: ("Autonomous", "acts by itself"),
    Autonomy.NOTIFY: ("Notify", "acts, and its owner is told"),
    Autonomy.APPROVE: ("Approve", "waits for a person's approval of each call"),
    Autonomy.HUMAN_ONLY: ("Human only", "never acts; a person does this"),
}

TOOL_STATES: Mapping[str, tuple[str, str, str]] = {
    "pinned": ("Pinned", "allowed", "Its definition is the one that was accepted."),
    "changed": ("Changed", "anomaly", "Suspended: its server describes it otherwise than was accepted."),
    "held": ("New", "flagged", "Suspended: nobody has accepted its definition yet."),
    "rejected": ("Rejected", "violation", "Suspended: a person said no to its definition."),
    "disabled": ("Disabled", "off", "A person switched it off."),
    "unseen": ("Unseen", "unseen", "Its server has not been asked yet."),
}
"""How a tool stands: in a word, with which mark, and what it means."""

WHILE_STOPPED = {
    "hold": "While it is stopped, their calls of it are refused, and why is said.",
    "tell": "While it is stopped, their calls of it pass, and their owners are told.",
    "allow": "While it is stopped, their calls of it pass, and nobody is told.",
}
TIER_WORDS: Mapping[int, str] = {1: "minimal", 2: "limited", 3: "high", 4: "critical"}

_WINDOW_STEPS = ((60, "s"), (3600, "min"), (86400, "h"))


def items(answer: Json, *names: str) -> list[JsonObject]:
    """The list in an API answer: the answer itself, or the first of ``names`` that it has."""
    if isinstance(answer, Mapping):
        found = next((answer[name] for name in names if name in answer), ())
        return items(found)
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return [entry for entry in answer if isinstance(entry, Mapping)]
    return []


def moment(value: Any) -> datetime | None:
    """A time of the API (ISO 8601, or Unix seconds) in UTC; None for anything else."""
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str) and value:
        try:
            return moment(datetime.fromisoformat(value))
        except ValueError:
            return None
    return None


def ago(value: Any, now: datetime) -> str:
    """``just now``, ``4 min ago``, ``3 h ago``, ``12 days ago``."""
    time = moment(value)
    if time is None:
        return "never"
    seconds = (now - time).total_seconds()
    if seconds < 10:
        return "just now"
    for limit, unit in _WINDOW_STEPS:
        if seconds < limit:
            return f"{int(seconds // (limit / 60 if unit != 'h' else 3600))} {unit} ago"
    days = int(seconds // 86400)
    return "yesterday" if days == 1 else f"{days} days ago"


def clock(value: Any) -> str:
    """``14:03:22``, in UTC."""
    time = moment(value)
    return time.strftime("%H:%M:%S") if time else "–"


def stamp(value: Any) -> str:
    """``21 Nov 2026, 14:03:22 UTC``."""
    time = moment(value)
    return time.strftime("%-d %b %Y, %H:%M:%S UTC") if time else "–"


def iso(value: Any) -> str:
    """As the ``datetime`` attribute of HTML wants it."""
    time = moment(value)
    return time.isoformat() if time else ""


def duration(microseconds: Any) -> str:
    """``840 µs``, ``12 ms``, ``1.24 s``, ``3 min 05 s``; empty for a moment without length."""
    if not isinstance(microseconds, int | float) or isinstance(microseconds, bool):
        return ""
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.3g} ms" if microseconds < 100_000 else f"{microseconds / 1000:.0f} ms"
    seconds = microseconds / 1_000_000
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(int(seconds), 60)
    if not rest and minutes < 60:
        return f"{minutes} min"
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def number(value: Any) -> str:
    """``12,804``; a dash for nothing known."""
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else "–"


def spent(told: JsonObject) -> str:
    """What a session or an agent cost; a plus where calls of models without a known price are not in it."""
    amount = _amount(told.get("cost_usd")) or Decimal(0)
    return "–" if not amount and told.get("unpriced") else dollars(amount) + ("+" if told.get("unpriced") else "")


def costs(calls: Iterable[JsonObject]) -> Decimal | None:
    """What calls cost in US dollars, of their attributes; None when no price of any of them is known."""
    found = [amount for data in calls if (amount := _amount(data.get("tenure.cost_usd"))) is not None]
    return sum(found, Decimal(0)) if found else None


def _amount(value: Json) -> Decimal | None:
    try:
        amount = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        return None
    return amount if amount is not None and amount.is_finite() else None


def short(value: Any, length: int = 12) -> str:
    """The start of an id or a digest, without its algorithm."""
    text = str(value or "").removeprefix("sha256:")
    return text if len(text) <= length else text[:length]


def pretty(value: Json) -> str:
    """JSON as a person reads it. Text that is itself JSON is read first; other text stays as it is."""
    if isinstance(value, str):
        if not value.strip().startswith(("{", "[")):
            return value
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def preview(value: Json, length: int = 90) -> str:
    """One line of a JSON value: ``path=notes.txt, limit=20`` for an object."""
    if isinstance(value, Mapping):
        parts = (
            f"{key}={part if isinstance(part, str) else json.dumps(part, default=str)}" for key, part in value.items()
        )
        text = ", ".join(parts)
    else:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def agents_of(answer: Any, chosen: str = "") -> list[str]:
    """The names of agents to choose from, by name; the one that is chosen among them, registered or not."""
    return sorted({str(record.get("name")) for record in items(answer, "agents")} | ({chosen} if chosen else set()))


def person(actor: Any) -> str:
    """``person:ada@example.com`` as ``ada@example.com``; other actors with their kind, as Events carry them."""
    return str(actor or "").removeprefix("person:")


def plural(count: int, one: str, many: str = "") -> str:
    """``1 agent``, ``3 agents``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent of the fleet page. ``counts``: calls of the last day by status."""

    name: str
    purpose: str
    state: str
    state_since: str
    owner: str
    framework: str
    tier: int
    tripped: bool
    counts: Mapping[str, int] = field(default_factory=dict)
    last: str = ""
    spent: JsonObject = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Calls of the last day."""
        return sum(self.counts.values())


def agent_rows(
    agents: Iterable[JsonObject],
    breakers: Mapping[str, JsonObject],
    stats: Mapping[str, JsonObject],
) -> list[AgentRow]:
    """The fleet, by name."""
    rows = []
    for agent in agents:
        name = str(agent.get("name") or "")
        stat = stats.get(name) or {}
        rows.append(
            AgentRow(
                name=name,
                purpose=str(agent.get("purpose") or ""),
                state=str(agent.get("state") or ""),
                state_since=str(agent.get("state_since") or ""),
                owner=str(agent.get("owner") or ""),
                framework=str(agent.get("framework") or ""),
                tier=int(agent.get("risk_tier") or 1),
                tripped=bool((breakers.get(name) or {}).get("tripped")),
                counts={status: int(stat.get(status) or 0) for status in Status},
                last=str(stat.get("last") or ""),
                spent=stat,
            )
        )
    return sorted(rows, key=lambda row: row.name)


def breakers_of_agents(answer: Json) -> dict[str, JsonObject]:
    """The breakers that are an agent's own, by its name."""
    found = items(answer, "breakers")
    return {str(one["name"]): one for one in found if one.get("scope") == "agent"}


@dataclass(frozen=True, slots=True)
class FleetFilter:
    """What the fleet page shows, as its address says."""

    q: str = ""
    state: str = ""
    tier: str = ""
    breaker: str = ""

    @property
    def active(self) -> bool:
        """Whether anything is left out."""
        return bool(self.q or self.state or self.tier or self.breaker)


def matches(row: AgentRow, wanted: FleetFilter) -> bool:
    """Whether the fleet page shows ``row``."""
    words = f"{row.name} {row.purpose} {row.owner} {row.framework}".lower()
    return (
        all(word in words for word in wanted.q.lower().split())
        and wanted.state in ("", row.state)
        and wanted.tier in ("", str(row.tier))
        and (not wanted.breaker or row.tripped)
    )


def share_bar(counts: Mapping[str, int]) -> list[tuple[str, float, float]]:
    """(status, x, width) of the pieces of a bar 100 wide; a status that happened is at least 2 wide."""
    total = sum(counts.values())
    if not total:
        return []
    widths = {status: max(2.0, 100 * count / total) for status, count in counts.items() if count}
    scale = 100 / sum(widths.values())
    pieces, x = [], 0.0
    for status, width in widths.items():
        pieces.append((status, round(x, 2), round(width * scale, 2)))
        x += width * scale
    return pieces


@dataclass(frozen=True, slots=True)
class ToolRow:
    """A tool of an agent's manifest, with how far it may go by itself."""

    name: str
    autonomy: str
    behind: str = ""


def tools_of(spec: JsonObject) -> list[ToolRow]:
    """The tools that a manifest's ``spec`` grants."""
    least = Autonomy(spec.get("autonomy") or Autonomy.AUTONOMOUS)
    return [
        ToolRow(
            str(tool["name"]),
            strictest(least, Autonomy(tool.get("autonomy") or Autonomy.AUTONOMOUS)),
            "{registry}/{name}@{version}".format(**behind) if (behind := tool.get("predicts_with")) else "",
        )
        for tool in items(spec, "tools")
    ]


def marked(text: str, characters: Sequence[str]) -> list[tuple[str, str]]:
    """``text`` in pieces, each with the name of the character that it is, or with none. ``characters``: those to point
    out, as ``U+202E RIGHT-TO-LEFT OVERRIDE``; one that is not seen is told by its code, and does nothing here."""
    names = {chr(int(one[2:].split(" ")[0], 16)): one for one in characters}
    if not names:
        return [(text, "")]
    pieces = re.split(f"([{re.escape(''.join(names))}])", text)
    told = []
    for piece in pieces:
        name = names.get(piece, "")
        told.append((name.split(" ")[0] if name and not piece.isprintable() else piece, name))
    return [piece for piece in told if piece[0]]


_NOISE = frozenset(
    {"release", "instance", "session", "trace_id", "span_id", "parent_span_id", "policy_version", "memory_snapshot"}
)


def audit_words(facts: JsonObject) -> str:
    """What an audit entry's facts say in one line. Its identifiers are on the page of what it is about."""
    decision = facts.get("decision") if isinstance(facts.get("decision"), Mapping) else {}
    policies = ", ".join(map(str, (decision or {}).get("policies") or facts.get("policies") or ()))
    parts = [f"{facts.get('from') or 'new'} → {facts['to']}"] if facts.get("to") else []
    parts += [str(facts[name]) for name in ("resource", "tenure.resource", "reason") if facts.get(name)]
    parts += [" by ".join(filter(None, (str((decision or {}).get("effect") or ""), policies)))]
    said = " · ".join(filter(None, parts))
    return said or preview({name: value for name, value in facts.items() if name not in _NOISE})
