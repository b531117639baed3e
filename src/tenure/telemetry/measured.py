"""What agents did over a time, counted. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class AgentStats:
    """One agent over a window: its calls by feed status, errors, latency in microseconds (None without calls), tokens
    and cost, as in ``Session``. ``error_rate`` is errors over calls, 0.0 without calls."""

    workspace: str
    agent: str
    calls: int
    allowed: int
    flagged: int
    violation: int
    anomaly: int
    errors: int
    error_rate: float
    p50_us: int | None
    p95_us: int | None
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: str
    unpriced: int
    tools: int
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """How an agent used a tool: ``recent`` calls within the window that was asked for, and the last one ever."""

    agent: str
    resource: str
    recent: int
    last: datetime


@dataclass(frozen=True, slots=True)
class Measured:
    """One agent's figures over a time. ``calls``: that a gateway decided; of them ``refused``, out of the ordinary
    (``anomalies``), ``held`` for a person, and ``errors`` of those that went out. ``overridden``: what a person
    rejected or corrected. ``runs``: sessions (or traces, without one) that had calls. ``judged`` runs have an outcome,
    ``solved`` ones a good one. Only where it is asked for: in ``handed`` runs the agent handed over to a person (it
    asked for an approval, left a call for somebody to make, or called a tool that brings one in); of ``told`` calls of
    tools with arguments ``again`` were the same as one before in their run, with the same outcome. Calls of
    models of which no price is known (``unpriced``) are not in ``cost_usd``. ``p95_us``: microseconds, None where no
    call went out."""

    agent: str
    calls: int = 0
    refused: int = 0
    errors: int = 0
    anomalies: int = 0
    held: int = 0
    overridden: int = 0
    runs: int = 0
    judged: int = 0
    solved: int = 0
    handed: int = 0
    told: int = 0
    again: int = 0
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0
    p95_us: int | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """A share of an agent's calls: to one ``resource``, ending in one ``error`` (None for those that went well), how
    many, what they cost, and the trace of the newest."""

    resource: str
    error: str | None
    calls: int
    cost_usd: Decimal
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class Changed:
    """Something that somebody changed: the type of its Event, when, by whom, of which agent, and its name."""

    type: str
    time: datetime
    actor: str
    agent: str | None
    name: str


OVERRIDES = ("approval.rejected", "call.corrected", "draft.discarded")
"""Events by which a person said that an agent decided wrongly."""
CHANGES = (
    "agent.applied",
    "agent.transitioned",
    "policy.loaded",
    "tool.changed",
    "autonomy.accepted",
    "precedent.published",
    "breaker.limited",
)
"""Events by which something changed that agents' figures may follow."""


@dataclass(frozen=True, slots=True)
class Walked:
    """One step of a run, as facts. ``type``: of its Event; ``kind``: llm, tool, agent and so on, as far as it says;
    ``reached`` the tool or agent. ``solved``: what an outcome says, False for anything else."""

    trace_id: str
    session: str
    conversation: str
    agent: str
    type: str
    name: str
    kind: str
    reached: str
    model: str
    at: datetime
    duration_us: int
    failed: bool
    cost_usd: Decimal | None
    solved: bool


@dataclass(frozen=True, slots=True)
class Act:
    """One call that an agent made, or tells of in a span, as facts. ``run``: its session, or else its trace; ``kind``:
    llm, tool, agent and so on; ``reached``: the model, tool or agent. ``size``, ``fields`` and ``mark`` are of its
    arguments, ``answer`` is the mark of its result (``telemetry/shapes.py``); None and empty where it has none.
    ``tokens`` and ``cost_usd`` None where nothing says."""

    run: str
    trace_id: str
    span_id: str
    release: str
    type: str
    kind: str
    reached: str
    at: datetime
    duration_us: int | None
    error: str
    tokens: int | None
    cost_usd: Decimal | None
    size: int | None
    fields: str
    mark: str
    answer: str


@dataclass(frozen=True, slots=True)
class ToolShare:
    """How an agent used a tool over a time: ``calls`` in so many ``runs``. ``tool`` is empty for all of them together,
    with all its runs that called a tool."""

    agent: str
    tool: str
    calls: int
    runs: int


@dataclass(frozen=True, slots=True)
class Reasoned:
    """How an agent went on over a time, told from facts alone: of its ``calls`` of tools with arguments, how many were
    the same as one before in the run, ``again`` with the result that it had before, or after ``failed`` the first time.
    In ``handed`` runs it brought a person in."""

    agent: str
    calls: int = 0
    again: int = 0
    failed: int = 0
    handed: int = 0


SIGNALS = (
    "tool_calls",
    "policy_rejections",
    "memory_writes",
    "escalations",
    "irreversible_effects",
    "planning",
    "retrieval",
    "retries",
    "satisfaction",
    "outcomes",
)
"""What can be seen of an agent, in the order in which it is worth making it seen (R093)."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Events of an agent that tell of one of ``SIGNALS``: how many, when the newest was, and the trace of that one."""

    name: str
    count: int
    last: datetime
    trace_id: str
