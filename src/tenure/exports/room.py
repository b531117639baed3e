"""What the wiring needs to know of exports."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.exports.api import router
from tenure.exports.flow import SENDING

ROOM = Room(
    name="exports",
    events={
        "export.put": "Somebody said where traces are sent on to; data: name, kind, content",
        "export.removed": "Traces are not sent on to a place any more; data: name",
    },
    router=router,
    flows=(SENDING,),
)
