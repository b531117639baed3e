"""What the wiring needs to know of oversight."""

from __future__ import annotations

from tenure.autonomy.api import router
from tenure.autonomy.react import CONSUMER
from tenure.base.room import Room

ROOM = Room(
    name="autonomy",
    events={
        "autonomy.set": "A person set the least oversight of all agents; data: level, before, reason",
        "autonomy.proposed": "The evidence is enough to ask a person whether to relax a tool's level; data: "
        "resource, declared, level, good, failed, overridden, bound, because_of",
        "autonomy.withdrawn": "The evidence turned before a person answered; data as autonomy.proposed",
        "autonomy.accepted": "A person relaxed a tool's level on evidence; data as autonomy.proposed, and reason",
        "autonomy.declined": "A person did not relax a tool's level; data as autonomy.accepted",
        "autonomy.fell_back": "A tool's declared level is in force again; data as autonomy.accepted",
        "autonomy.seen": "A person saw what an agent did on the level notify; data: resource, calls, call_id",
    },
    router=router,
    consumers=(CONSUMER,),
)
