"""Behaviour as the wiring sees it."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.behaviour.api import router

ROOM = Room(name="behaviour", router=router)
