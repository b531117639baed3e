"""What the wiring needs to know of retention."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.retention.api import router
from tenure.retention.flow import ERASE, PERIODS

ROOM = Room(
    name="retention",
    events={
        "content.erased": "What was said about somebody was erased; data: erasure, of (person or agent), reason, "
        "events (that the row buffer held), approvals (whose arguments were forgotten)",
    },
    router=router,
    flows=(ERASE, PERIODS),
)
