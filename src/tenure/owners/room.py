"""What the wiring needs to know of owners."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.owners.api import router
from tenure.owners.flow import ACTIVITY, DECLARED, LEFT, LOOK, OFFERS

_DATA = "data: handover, role, from, to"

ROOM = Room(
    name="owners",
    events={
        "handover.offered": f"An agent was offered to somebody else; {_DATA}, expires_at, declared (by its manifest)",
        "handover.accepted": f"Somebody took on an agent that they were offered; {_DATA}, reason",
        "handover.declined": f"Somebody turned down an agent that they were offered; {_DATA}, reason",
        "handover.withdrawn": f"An offer of an agent was taken back; {_DATA}, reason",
        "handover.expired": f"Nobody answered the offer of an agent in time; {_DATA}, reason",
        "owner.confirmed": "Somebody said that they answer for an agent; data: email",
        "owner.concern_raised": "Nobody answers for an agent, or it is not needed; data: kind (left, unconfirmed or "
        "inactive), since, due (when it is suspended), told (whose business it is), owner",
        "owner.concern_ended": "What was of concern about an agent is none any more; data: kinds",
    },
    router=router,
    flows=(DECLARED, OFFERS, LEFT, LOOK, ACTIVITY),
)
