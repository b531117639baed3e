"""What the wiring needs to know of corrections."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.corrections.api import router
from tenure.corrections.react import CONSUMER

ROOM = Room(
    name="corrections",
    events={
        "call.corrected": "A person says that a call, or a model's answer, was wrong; data: call, resource, reason, "
        "right (what would have been right)",
    },
    router=router,
    consumers=(CONSUMER,),
)
