"""What a held call asks for is shown to whom it may be shown (``base.sight``), and to whoever may answer it now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tenure.approvals import service
from tenure.approvals.model import Approval, State
from tenure.base.room import World
from tenure.base.sight import Sight, opened
from tenure.kernel.values import Actor


def shown(world: World, actor: Actor, found: Sequence[Approval], what: str = "") -> list[tuple[Approval, str]]:
    """Approvals as ``actor`` sees them, each with why something is withheld and whom to ask, empty where nothing is.
    ``what``: what they are opened as; without it, the held calls of each agent."""
    sight, out = Sight(world, actor), []
    looked: dict[str, list[Approval]] = {}
    for item in found:
        if not (item.arguments or item.justification or item.notes or item.edited):
            out.append((item, ""))
        elif sight.of(item.agent) or _answers(world, actor, item):
            looked.setdefault(what or f"held calls of {item.agent}", []).append(item)
            out.append((item, ""))
        else:
            bare = replace(item, arguments={}, justification="", notes=(), edited=None, editable=False)
            out.append((bare, sight.ask))
    for name, items in looked.items():
        about = (f"person:{one.on_behalf_of}" if one.on_behalf_of else f"agent:{one.agent}" for one in items)
        opened(world, actor, name, (one.agent for one in items), about)
    return out


def _answers(world: World, actor: Actor, item: Approval) -> bool:
    """Whoever may answer a held call, as a stand-in for example, must see it."""
    return item.state is State.PENDING and actor.is_person and not service.refusal(world, actor, item)
