"""What the wiring needs to know of revocation."""

from __future__ import annotations

from tenure.base.room import Room

ROOM = Room(name="revocation")
