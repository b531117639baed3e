"""What the wiring needs to know of search."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.search.api import router
from tenure.search.flow import EMBED

ROOM = Room(name="search", router=router, flows=(EMBED,))
