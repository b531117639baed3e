"""What the wiring needs to know of notifications."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.notify.api import router
from tenure.notify.flow import DELIVERY, FORGETTING
from tenure.notify.react import CONSUMER

ROOM = Room(
    name="notify",
    events={
        "notify.put": "Somebody said who is told of what; data: name, kind, topics, answers",
        "notify.removed": "A destination is told nothing any more; data: name",
        "notify.tested": "Somebody tried a destination; data: name, deliveries",
        "notify.failed": "A message was given up after the last attempt; data: destination, delivery, topic, problem",
        "notify.replayed": "Somebody had a message sent again; data: destination, delivery",
        "notify.answered": "A person answered a held call by a link of their own; data: approval_id, decision, digest, "
        "delivery",
    },
    router=router,
    consumers=(CONSUMER,),
    flows=(*DELIVERY, FORGETTING),
)
