"""What the wiring needs to know of the breaker."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.breaker.api import router
from tenure.breaker.react import CONSUMER

ROOM = Room(
    name="breaker",
    events={
        "breaker.tripped": "Too many violations: every call is refused; data: epoch, threshold, window_s, reason",
        "breaker.reset": "An operator lets the agent act again; data: epoch (the new one), reason, tripped_for",
    },
    router=router,
    consumers=(CONSUMER,),
)
