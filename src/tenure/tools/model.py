"""Switches: what a person has switched off, and what of an agent's grants that is. Values and pure rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches

from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import AgentFact, ServerFact
from tenure.kernel.values import Autonomy

ALL = "*"
"""As a tool: every one of the server, and its resources and prompts."""
_RESOURCE = re.compile(r"([a-z0-9][a-z0-9-]{0,62})/(\*|[A-Za-z0-9_.-]{1,128})")


@dataclass(frozen=True, slots=True)
class Switch:
    """A tool of a server, or all of it (``*``), is switched off for ``agent``; empty: for every agent that uses the
    server, by whatever name. ``by`` is the person who did it."""

    workspace: str
    server: str
    tool: str
    agent: str
    reason: str
    by: str
    since: datetime

    @property
    def resource(self) -> str:
        """``<server>/<tool>``."""
        return f"{self.server}/{self.tool}"


@dataclass(frozen=True, slots=True)
class Standing:
    """One grant of one agent as it stands. ``off``: the switches that cover it, none while it is on. ``pinned``: the
    fingerprint that the manifest itself gives."""

    agent: str
    agent_state: str
    server: str
    tool: str
    autonomy: Autonomy
    off: tuple[Switch, ...] = ()
    pinned: str | None = None

    @property
    def resource(self) -> str:
        """``<server>/<tool>``, as the agent's manifest names it."""
        return f"{self.server}/{self.tool}"


def parse(resource: str) -> tuple[str, str]:
    """The server and the tool of ``SERVER/TOOL`` or ``SERVER/*``. Raises Refused."""
    found = _RESOURCE.fullmatch(resource)
    if found is None:
        raise Refused(
            "bad_tool",
            f"{resource[:200]!r} names no tool.",
            fix="Write SERVER/TOOL as in the agents' manifests, or SERVER/* for all of a server.",
            status=422,
        )
    return found[1], found[2]


class Switchboard:
    """All switches, ready to be asked about any agent."""

    def __init__(self, switches: Iterable[Switch], agents: Iterable[AgentFact]) -> None:
        self._switches: dict[str, list[Switch]] = {}
        for switch in switches:
            self._switches.setdefault(switch.workspace, []).append(switch)
        # The same server under another name is the same server: a switch for all agents must not be dodged by a name.
        self._places: dict[tuple[str, str], set[tuple[str, ...]]] = {}
        for agent in agents if self._switches else ():
            for server in agent.servers:
                self._places.setdefault((agent.workspace, server.name), set()).add(server.place)

    def covering(self, agent: AgentFact, server: ServerFact, tool: str) -> tuple[Switch, ...]:
        """The switches that a tool of one of the agent's servers is under; ``*`` asks for those of the whole server."""
        return tuple(
            switch
            for switch in self._switches.get(agent.workspace, ())
            if switch.tool in (tool, ALL) and self._reaches(switch, agent, server)
        )

    def _reaches(self, switch: Switch, agent: AgentFact, server: ServerFact) -> bool:
        if switch.agent:
            return switch.agent == agent.name and switch.server == server.name
        return switch.server == server.name or server.place in self._places.get((switch.workspace, switch.server), ())

    def applied(self, agent: AgentFact) -> AgentFact:
        """The agent's fact with what is off marked as such."""
        if agent.workspace not in self._switches:
            return agent
        servers = {server.name: server for server in agent.servers}
        tools = tuple(
            replace(tool, off=_why(self.covering(agent, server, tool.name)))
            if (server := servers.get(tool.server)) is not None
            else tool
            for tool in agent.tools
        )
        marked = tuple(replace(server, off=_why(self.covering(agent, server, ALL))) for server in agent.servers)
        return replace(agent, tools=tools, servers=marked)


def _why(switches: Sequence[Switch]) -> str:
    return switches[0].reason if switches else ""


def standings(agents: Iterable[AgentFact], board: Switchboard) -> list[Standing]:
    """Every grant of ``agents``, by agent in the manifest's order."""
    found = []
    for agent in agents:
        servers = {server.name: server for server in agent.servers}
        for tool in agent.tools:
            server = servers.get(tool.server)
            off = board.covering(agent, server, tool.name) if server is not None else ()
            pinned = tool.pin.digest if tool.pin is not None else None
            found.append(Standing(agent.name, agent.state.value, tool.server, tool.name, tool.autonomy, off, pinned))
    return found


def meant(agents: Mapping[str, AgentFact], switch: Switch) -> list[Standing]:
    """The grants of ``agents`` that ``switch`` would reach. Raises Refused (404) with the nearest names when it reaches
    none: a slip must not pass for done."""
    found = [one for one in standings(agents.values(), Switchboard([switch], agents.values())) if one.off]
    if not found and not (switch.tool == ALL and any(_has(fact, switch) for fact in agents.values())):
        names = sorted({f"{one.server}/{one.name}" for fact in agents.values() for one in fact.tools})
        near = get_close_matches(switch.resource, names, 3, 0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else "`tenure tools list` shows what agents were granted."
        whom = f"Agent {switch.agent} was not" if switch.agent else "No agent was"
        raise Refused("unknown_tool", f"{whom} granted {switch.resource}.", fix=hint, status=404)
    return found


def _has(fact: AgentFact, switch: Switch) -> bool:
    return switch.agent in ("", fact.name) and any(one.name == switch.server for one in fact.servers)
