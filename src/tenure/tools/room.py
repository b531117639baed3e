"""What the wiring needs to know of tools."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.tools.api import router
from tenure.tools.react import CONSUMER

ROOM = Room(
    name="tools",
    events={
        "tool.pinned": "A definition was accepted, by a person or at first sight in staging; data: resource, "
        "fingerprint, before, reason",
        "tool.changed": "A tool is described otherwise than was accepted, and suspended; data: resource, fingerprint, "
        "before, changed, differences, like (a tool that has or had this definition)",
        "tool.held": "A tool whose definition was never accepted waits for a person; data: resource, fingerprint, like",
        "tool.restored": "A tool is described as it was accepted again; data: resource, fingerprint",
        "tool.rejected": "A person rejected a definition; the tool stays suspended; data: as tool.pinned",
        "tool.disabled": "A tool, or all of a server, was switched off; data: resource, reason, agents",
        "tool.enabled": "Such a switch was taken back; data: resource, reason",
    },
    router=router,
    consumers=(CONSUMER,),
)
