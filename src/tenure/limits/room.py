"""What the wiring needs to know of limits."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.limits.api import router
from tenure.limits.flow import FORGETTING
from tenure.limits.react import CONSUMER

ROOM = Room(
    name="limits",
    events={
        "limits.set": "A person set a limit of the workspace; data: name, limit, allowed, each, only, reason",
        "limits.removed": "A person took a limit of the workspace back; data as limits.set",
        "limits.reached": "So much of a limit is used; data: limit, account, percent (80 or 100), spent, allowed",
    },
    router=router,
    consumers=(CONSUMER,),
    flows=(FORGETTING,),
)
