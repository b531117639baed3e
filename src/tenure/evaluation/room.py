"""Evaluation as the wiring sees it."""

from tenure.base.room import Room
from tenure.evaluation.api import router

ROOM = Room(name="evaluation", router=router)
