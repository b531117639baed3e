"""What the wiring needs to know of the graph."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.graph.api import router
from tenure.graph.flow import LOOK

ROOM = Room(name="graph", router=router, flows=(LOOK,))
