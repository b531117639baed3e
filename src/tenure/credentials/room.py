"""What the wiring needs to know of credentials."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.credentials.api import router
from tenure.credentials.flow import OVERLAPS, SCHEDULE

ROOM = Room(
    name="credentials",
    events={
        "credentials.revoked": "Credentials were revoked; data: revocation, kind, subject, reason",
        "credentials.rotated": "An agent's credentials are replaced by new ones; data: kind, subject, good_until",
        "credentials.replaced": "Those that were replaced are dead from now on; data: kind, subject",
    },
    router=router,
    flows=(OVERLAPS, SCHEDULE),
)
