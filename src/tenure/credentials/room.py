"""What the wiring needs to know of credentials."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.credentials.api import router

ROOM = Room(
    name="credentials",
    events={
        "credentials.revoked": "Credentials were revoked; data: revocation, kind, subject, reason",
    },
    router=router,
)
