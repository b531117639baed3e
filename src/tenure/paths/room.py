"""Paths as the wiring sees it."""

from tenure.base.room import Room
from tenure.paths.api import router

ROOM = Room(name="paths", router=router)
