"""Content is shown to whom it may be shown, and that it was is told (``base.sight``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tenure.base.events import Logged
from tenure.base.room import World
from tenure.base.sight import Sight, opened
from tenure.kernel.values import Actor
from tenure.telemetry.traces import content


def shown(world: World, actor: Actor, found: Sequence[Logged], what: str) -> tuple[list[Logged], str]:
    """(Events as ``actor`` sees them, those whose content is not for them without it; why that is and whom to ask,
    empty where nothing is withheld). ``what``: what they are opened as, a trace's id or where they are listed."""
    sight = Sight(world, actor)
    out, agents, about = [], set[str | None](), set[str]()
    for logged in found:
        event = logged.event
        if not content.has_content(event):
            out.append(logged)
        elif sight.of(event.agent):
            agents.add(event.agent)
            about.add(content.subject_of(event))
            out.append(logged)
        else:
            out.append(replace(logged, event=content.withheld(event)))
    if agents:
        opened(world, actor, what, agents, about)
    return out, sight.ask
