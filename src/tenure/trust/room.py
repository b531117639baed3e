"""What the wiring needs to know of trust."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.trust.api import router

ROOM = Room(
    name="trust",
    events={
        "trust.added": "An outside issuer's word is taken for an agent. Data: name, agent, issuer, subject, claims.",
        "trust.removed": "An outside issuer's word is taken no longer. Data: name.",
    },
    router=router,
)
