"""Breakers: what each is of, what trips it, how it stands. Pure, and the same for a gateway that counts its own
refusals and for the control plane that counts what all gateways tell."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from tenure.kernel.errors import Refused
from tenure.kernel.ids import stable_id
from tenure.kernel.values import CallKind, Event, Status

ANY = "*"
"""As the name in a setting: every tool, release or chain, each counted for itself."""


class Scope(StrEnum):
    """What a breaker stops: the calls of an agent, of a tool (by whomever), of a release, of all work that an agent
    began (wherever it was handed on since), or everything in a workspace."""

    AGENT = "agent"
    TOOL = "tool"
    RELEASE = "release"
    CHAIN = "chain"
    WORKSPACE = "workspace"


@dataclass(frozen=True, slots=True)
class Place:
    """Which breaker. ``name``: of the agent, ``<server>/<tool>``, the release's digest, the agent that began the work;
    empty for the workspace."""

    workspace: str
    scope: Scope
    name: str = ""

    @property
    def key(self) -> str:
        """As Snapshots name it."""
        return f"{self.workspace}/{self.scope.value}/{self.name}"

    @property
    def words(self) -> str:
        """As people read it."""
        if self.scope is Scope.WORKSPACE:
            return f"workspace {self.workspace}"
        return f"the work that {self.name} began" if self.scope is Scope.CHAIN else f"{self.scope.value} {self.name}"


def places(workspace: str, agent: str, release: str, root: str, tool: str) -> tuple[Place, ...]:
    """The breakers that a call stands under. ``root``: who began the work, the agent itself if nobody handed it on;
    ``tool``: empty for a call of something else."""
    found = [
        Place(workspace, Scope.AGENT, agent),
        Place(workspace, Scope.CHAIN, root),
        Place(workspace, Scope.WORKSPACE),
    ]
    found += [Place(workspace, Scope.RELEASE, release)] if release else []
    return (*found, Place(workspace, Scope.TOOL, tool)) if tool else tuple(found)


def places_of(event: Event) -> tuple[Place, ...]:
    """The breakers that an Event of an agent counts for."""
    if event.agent is None:
        return ()
    chain, tool = event.data.get("tenure.chain"), event.data.get("tenure.resource")
    root = str(chain[0]) if isinstance(chain, list | tuple) and chain else event.agent
    is_tool = event.data.get("tenure.kind") == CallKind.TOOL.value and isinstance(tool, str)
    return places(event.workspace, event.agent, event.release or "", root, str(tool)[:200] if is_tool else "")


@dataclass(frozen=True, slots=True)
class Count:
    """``count`` of something within ``window_s`` seconds."""

    count: int
    window_s: float


@dataclass(frozen=True, slots=True)
class Share:
    """At least ``share`` (0 to 1) of the calls within ``window_s`` seconds fail, of ``least`` calls or more."""

    share: float
    least: int
    window_s: float


@dataclass(frozen=True, slots=True)
class Spend:
    """More than ``usd`` US dollars within ``window_s`` seconds."""

    usd: Decimal
    window_s: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What trips a breaker; None: never by that. ``trials``: so many calls must go well after a reset before all may
    pass again, 0 for none."""

    violations: Count | None = None
    anomalies: Count | None = None
    errors: Share | None = None
    spend: Spend | None = None
    trials: int = 0


@dataclass(frozen=True, slots=True)
class Setting:
    """What a workspace has set for one breaker, or for each of a scope (``ANY``)."""

    place: Place
    limits: Limits
    set_by: str
    set_at: datetime


def limits_of(settings: Mapping[Place, Limits], place: Place, manifest: Count | None = None) -> Limits:
    """The limits of a breaker: those set for itself, else those of its scope; an agent's violations are its manifest's
    to say."""
    found = settings.get(place) or settings.get(Place(place.workspace, place.scope, ANY)) or Limits()
    if place.scope is not Scope.AGENT:
        return found
    return Limits(manifest, found.anomalies, found.errors, found.spend, found.trials)


def check(place: Place, limits: Limits) -> None:
    """Raises Refused (422) for limits that cannot be meant."""
    problem = ""
    if place.scope is Scope.AGENT and limits.violations is not None:
        problem = "How many violations stop an agent is said by its manifest, under spec.breaker."
    windows = [part.window_s for part in (limits.violations, limits.anomalies, limits.errors, limits.spend) if part]
    if not windows and not limits.trials:
        problem = "This sets nothing."
    if any(not 1 <= window <= 86_400 for window in windows):
        problem = "A window is 1 to 86400 seconds."
    if any(part.count < 1 for part in (limits.violations, limits.anomalies) if part):
        problem = "A count is 1 or more."
    if limits.errors is not None and not (0 < limits.errors.share <= 1 and limits.errors.least >= 1):
        problem = "A share of errors is above 0 and at most 1, of at least 1 call."
    if limits.spend is not None and not 0 <= limits.spend.usd <= 10**9:
        problem = "What is spent is US dollars, 0 or more."
    if not 0 <= limits.trials <= 100:
        problem = "Trial calls are 0 to 100."
    if problem:
        raise Refused("bad_limits", problem, fix="`tenure breaker set --help` shows how each is written.", status=422)


def as_json(limits: Limits) -> dict[str, Any]:
    """As the database and the API carry them."""
    out: dict[str, Any] = {"trials": limits.trials} if limits.trials else {}
    for name in ("violations", "anomalies"):
        if (count := getattr(limits, name)) is not None:
            out[name] = {"count": count.count, "window_s": count.window_s}
    if limits.errors is not None:
        errors = limits.errors
        out["errors"] = {"share": errors.share, "least": errors.least, "window_s": errors.window_s}
    if limits.spend is not None:
        out["spend"] = {"usd": str(limits.spend.usd), "window_s": limits.spend.window_s}
    return out


def from_json(value: Mapping[str, Any]) -> Limits:
    """What ``as_json`` wrote."""
    spend = value.get("spend")
    return Limits(
        violations=Count(**value["violations"]) if value.get("violations") else None,
        anomalies=Count(**value["anomalies"]) if value.get("anomalies") else None,
        errors=Share(**value["errors"]) if value.get("errors") else None,
        spend=Spend(Decimal(spend["usd"]), spend["window_s"]) if spend else None,
        trials=int(value.get("trials") or 0),
    )


@dataclass(frozen=True, slots=True)
class Window:
    """The times (Unix seconds, ascending) of the violations of one breaker in one epoch that can still matter."""

    times: tuple[float, ...] = ()


def observe(window: Window, at: float, threshold: int, window_s: float) -> tuple[Window, bool]:
    """Counts a violation at ``at``; says whether it makes ``threshold`` violations within ``window_s`` seconds (first
    to last, both included).

    Exact for times in any order as long as none comes more than ``window_s`` late: nothing younger than twice the
    window is forgotten. Raises ValueError for a threshold below 1 or a negative window.
    """
    if threshold < 1 or window_s < 0:
        raise ValueError(f"threshold {threshold} within {window_s} s is not a breaker")
    times = list(window.times)
    here = bisect_right(times, at)
    times.insert(here, at)
    # Only a group that holds ``at`` can be new.
    starts = range(max(0, here - threshold + 1), min(here, len(times) - threshold) + 1)
    tripped = any(times[start + threshold - 1] - times[start] <= window_s for start in starts)
    return Window(tuple(times[bisect_left(times, times[-1] - 2 * window_s) :])), tripped


SLOTS = 60
"""Calls and money are summed in so many slots of a window: it moves by a slot, not by a call."""


def slot(at: float, window_s: float) -> int:
    """The number of the slot that ``at`` (Unix seconds) falls into."""
    return int(at * SLOTS / window_s)


def too_many_errors(limit: Share, calls: int, errors: int) -> bool:
    """Whether what was counted within the window trips."""
    return calls >= limit.least and errors >= limit.share * calls


_NOT_THE_UPSTREAMS = frozenset(
    {"cancelled", "client_disconnected", "stopped", "answer_withheld", "invalid_arguments", "input_required"}
    | {"ask_not_granted", "client_cannot", "client_refused", "client_silent", "busy", "upstream_busy"}
    | {"-32700", "-32600", "-32601", "-32602"}
)


def is_upstream_error(event: Event) -> bool:
    """Whether a call that was let through failed at what was called: not at the agent's own request, nor at a client
    that went away, nor at a queue of the gateway's own."""
    kind = str(event.data.get("error.type") or "")
    if event.type != "call.completed" or not kind or kind in _NOT_THE_UPSTREAMS:
        return False
    return not (kind.isdigit() and 400 <= int(kind) < 500 and kind != "429")


class Outcome(StrEnum):
    """How a trial call went. ``VOID``: it says nothing, and another may be tried in its place."""

    GOOD = "good"
    BAD = "bad"
    VOID = "void"


def outcome(event: Event) -> Outcome:
    """What the Event of a trial call says."""
    if event.status is Status.ANOMALY or is_violation(event) or is_upstream_error(event):
        return Outcome.BAD
    return Outcome.GOOD if event.type == "call.completed" and "error.type" not in event.data else Outcome.VOID


def is_violation(event: Event) -> bool:
    """Whether a gateway called it one."""
    return event.type == "call.refused" and event.data.get("tenure.violation") is True


def trip_id(place: Place, epoch: int) -> str:
    """The id of the one trip a breaker can have in an epoch: whoever notices it, gateway or control plane, tells the
    same Event."""
    return stable_id("breaker", place.key, str(epoch))


def trip_reason(threshold: int, window_s: float) -> str:
    """The words a person reads."""
    return within("1 violation" if threshold == 1 else f"{threshold} violations", window_s)


def within(what: str, window_s: float) -> str:
    """``what`` and in how long."""
    return f"{what} within {window_s:g} s"


FAILED_TRIAL = "a trial call went wrong"
"""Why a half-open breaker trips again."""
LOST_TRIAL = "a trial call was never told of"
"""Likewise: what is not known to have gone well has not."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """One breaker. ``epoch`` counts resets; ``violations`` those counted in this epoch. ``trials`` above 0: it is half
    open, and so many calls must go well; ``tried`` are those that may, ``good`` how many have."""

    place: Place
    epoch: int = 0
    tripped_at: datetime | None = None
    tripped_by: str = ""
    reason: str = ""
    violations: int = 0
    trials: int = 0
    tried: tuple[str, ...] = ()
    good: int = 0
    reset_at: datetime | None = None
    reset_by: str | None = None
    reset_reason: str = ""

    @property
    def tripped(self) -> bool:
        """Whether it blocks every call."""
        return self.tripped_at is not None

    @property
    def state(self) -> str:
        """``tripped``, ``half_open`` or ``closed``."""
        return "tripped" if self.tripped else "half_open" if self.trials else "closed"


@dataclass(frozen=True, slots=True)
class Reach:
    """What stopping something comes to: the agents whose calls it refuses, their running instances, the calls that
    wait for approval, and how many calls they made in the last minute (None: not known)."""

    place: Place
    agents: tuple[str, ...] = ()
    instances: int = 0
    held: int = 0
    calls_last_minute: int | None = field(default=None)
