"""Audit, as the wiring sees it."""

from __future__ import annotations

from tenure.audit import api, react, service
from tenure.base.log import get
from tenure.base.room import Room, World
from tenure.kernel.errors import Failed


def _start(world: World) -> None:
    """Pins the chain before the first Event. A broken one is told and does not keep Tenure from starting: stopping
    agents is what people need most when something is wrong."""
    try:
        service.pin(world)
    except Failed as error:
        get("audit").error("the audit chain does not hold", problem=error.message)


ROOM = Room(name="audit", router=api.router, consumers=(react.CONSUMER,), pump=service.pin, start=_start)
