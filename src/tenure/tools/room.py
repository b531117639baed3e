"""What the wiring needs to know of tools."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.tools.api import router

ROOM = Room(
    name="tools",
    events={
        "tool.disabled": "A tool, or all of a server, was switched off; data: resource, reason, agents that it reaches",
        "tool.enabled": "Such a switch was taken back; data: resource, reason",
    },
    router=router,
)
