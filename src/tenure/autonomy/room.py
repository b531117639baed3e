"""What the wiring needs to know of oversight."""

from __future__ import annotations

from tenure.autonomy.api import router
from tenure.autonomy.react import CONSUMER
from tenure.base.room import Room

ROOM = Room(
    name="autonomy",
    events={
        "autonomy.set": "A person set the least oversight of all agents; data: level, before, reason",
        "autonomy.seen": "A person saw what an agent did on the level notify; data: resource, calls, call_id",
    },
    router=router,
    consumers=(CONSUMER,),
)
