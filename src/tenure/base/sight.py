"""Who sees what was said: prompts, answers, arguments, results. Everybody who reads sees the facts; this is more.

It sits on the ground floor because every slice that shows content asks it. Who answers for an agent is looked up by
``World.owners``. That somebody looked is told as ``content.opened``, once an hour for each person and thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from tenure.base import events
from tenure.base.access import Thing, holders, may
from tenure.base.room import World
from tenure.kernel.ids import stable_id
from tenure.kernel.values import PEOPLE, Actor, Event

OPEN = "content:open"
_MOST = 20  # names in one Event


class Sight:
    """What one actor may see. For one request: what it has found out of an agent's owners it remembers."""

    def __init__(self, world: World, actor: Actor) -> None:
        self._world = world
        self._actor = actor
        self._all = actor.name.startswith("system:") or may(actor, OPEN)
        self._owners: Mapping[str, tuple[str, ...]] | None = None
        self.hidden: set[str] = set()
        """The agents of which something was withheld; the empty name stands for what is of none."""

    def of(self, agent: str | None) -> bool:
        """Whether what was said by, or to, an agent may be seen."""
        seen = self._all or may(self._actor, OPEN, Thing(owners=self._answering(agent), agent=agent or ""))
        if not seen:
            self.hidden.add(agent or "")
        return seen

    def _answering(self, agent: str | None) -> tuple[str, ...]:
        if agent is None:
            return ()
        if self._owners is None:
            with self._world.read() as connection:
                self._owners = self._world.owners(connection, self._actor.workspace)
        return self._owners.get(agent, ())

    @property
    def ask(self) -> str:
        """Why something is withheld and whom to ask; empty when nothing is."""
        if not self.hidden:
            return ""
        roles = [role for role in holders(OPEN)[0] if role in PEOPLE]
        who = dict.fromkeys(owner for agent in sorted(self.hidden) for owner in self._answering(agent or None))
        whom = ", ".join([*list(who)[:_MOST], "or an operator"]) if who else "an operator"
        words = f"{', '.join(roles[:-1])} or {roles[-1]}"
        return f"What was said is withheld: it takes the role {words}, or answering for the agent. Ask {whom}."


def opened(world: World, actor: Actor, what: str, agents: Iterable[str | None], about: Iterable[str] = ()) -> None:
    """Tells that ``actor`` was shown what was said: ``what`` is a trace or another thing with a name, ``about`` the
    people. Once an hour for each of both; what Tenure itself reads is told by whoever has it done."""
    if actor.name.startswith("system:"):
        return
    now = world.clock()
    ident = stable_id(OPEN, actor.workspace, actor.name, what, _hour(now))
    with world.read() as connection:
        if events.holds(connection, ident):
            return
    data = {"what": what, "agents": sorted({one for one in agents if one})[:_MOST], "about": sorted({*about})[:_MOST]}
    with world.begin() as tx:
        events.append(tx, [Event(ident, "content.opened", now, actor.workspace, actor.name, data=data)])


def _hour(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H")
