"""Levels of oversight: whose is in force, and what people are told of. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Autonomy, Event, strictest

LEVELS: Mapping[Autonomy, str] = {
    Autonomy.AUTONOMOUS: "acts by itself",
    Autonomy.NOTIFY: "acts, and people are told",
    Autonomy.APPROVE: "waits for a person's approval of each call",
    Autonomy.HUMAN_ONLY: "never acts; a person does this",
}


@dataclass(frozen=True, slots=True)
class Floor:
    """The least oversight that every tool of every agent of a workspace has, and who set it."""

    workspace: str
    level: Autonomy
    by: str
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What an agent did on the level ``notify`` since a person said that it was seen: ``calls`` of one tool or agent,
    the first at ``first_at``; ``call_id`` and ``trace_id`` are those of the last."""

    workspace: str
    agent: str
    resource: str
    calls: int
    first_at: datetime
    last_at: datetime
    call_id: str
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class Level:
    """The level in force for one thing that was granted, and those it is the strictest of. ``own`` and ``agent`` are
    the manifest's, ``workspace`` the floor; ``autonomous`` where nothing is said. ``earned`` stands for the manifest's
    where a person has relaxed them on evidence."""

    own: Autonomy
    agent: Autonomy
    workspace: Autonomy
    earned: Autonomy | None = None

    @property
    def in_force(self) -> Autonomy:
        """The strictest."""
        return strictest(self.earned or strictest(self.own, self.agent), self.workspace)

    @property
    def set_by(self) -> tuple[str, ...]:
        """Which of them ask for it: tool, agent, workspace, evidence; empty for autonomous."""
        named = [("tool", self.own), ("agent", self.agent)] if self.earned is None else [("evidence", self.earned)]
        named.append(("workspace", self.workspace))
        force = self.in_force
        return tuple(who for who, level in named if level is force and force is not Autonomy.AUTONOMOUS)


def levels_of(manifest: JsonObject, floor: Autonomy) -> dict[str, Level]:
    """The levels of the tools and agents that a manifest grants, by their names."""
    spec = manifest["spec"]
    least = Autonomy(spec.get("autonomy", Autonomy.AUTONOMOUS))
    granted = (*spec.get("tools", ()), *spec.get("agents", ()))
    return {one["name"]: Level(Autonomy(one["autonomy"]), least, floor) for one in granted}


def under(fact: AgentFact, floor: Autonomy) -> AgentFact:
    """An agent's fact under the floor of its workspace."""
    if floor is Autonomy.AUTONOMOUS:
        return fact
    return replace(
        fact,
        tools=tuple(replace(tool, autonomy=strictest(tool.autonomy, floor)) for tool in fact.tools),
        agents=tuple(replace(peer, autonomy=strictest(peer.autonomy, floor)) for peer in fact.agents),
    )


def is_told(event: Event) -> bool:
    """Whether an Event is of a call that people are to be told of."""
    decision = event.data.get("tenure.decision")
    duties = decision.get("obligations") if isinstance(decision, Mapping) else None
    return isinstance(duties, list | tuple) and "notify" in duties and bool(event.agent)


def noticed(event: Event) -> Notice:
    """One call that people are told of."""
    return Notice(
        workspace=event.workspace,
        agent=event.agent or "",
        resource=str(event.data.get("tenure.resource", ""))[:400],
        calls=1,
        first_at=event.time,
        last_at=event.time,
        call_id=event.id,
        trace_id=event.trace_id,
    )
