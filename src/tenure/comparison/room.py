"""Comparison as the wiring sees it."""

from tenure.base.room import Room
from tenure.comparison.api import router

ROOM = Room(name="comparison", router=router)
