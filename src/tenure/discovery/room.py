"""What the wiring needs to know of discovery."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.discovery.api import router
from tenure.discovery.flow import LOOK

_DATA = "data: finding, name, reason, from"

ROOM = Room(
    name="discovery",
    events={
        "discovery.found": "An agent that nobody registered was found; data: finding, name, confidence (percent), "
        "channels, where, reason",
        "discovery.claimed": f"A person answers for an agent that was found; {_DATA}, owner",
        "discovery.registered": f"An agent that was found was asked for; {_DATA}, agent, owner",
        "discovery.blocked": f"An agent that was found is blocked; {_DATA}, clients (what gateways refuse)",
        "discovery.ignored": f"An agent that was found is of no concern; {_DATA}",
        "discovery.opened": f"What was decided about an agent that was found was taken back; {_DATA}",
    },
    router=router,
    flows=(LOOK,),
)
