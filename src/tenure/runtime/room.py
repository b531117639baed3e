"""What the wiring needs to know of the runtime."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.runtime.api import router
from tenure.runtime.flow import DONE, DRAIN, SILENT

ROOM = Room(
    name="runtime",
    events={
        "instance.started": "One run of an agent began; data: expires_at, on_behalf_of, confined, parent "
        "(the instance of the agent that started it), chain, task",
        "instance.ended": "One run of an agent ended; data: end (exited or lost), exit_code",
        "instance.returned": "An instance that was taken for lost was heard of again",
    },
    router=router,
    flows=(SILENT, DRAIN, DONE),
)
