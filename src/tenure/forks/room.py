"""What the wiring needs to know of forks."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.forks.api import router
from tenure.forks.flow import GOING

ROOM = Room(
    name="forks",
    events={
        "fork.started": "A person had a recorded run played again; data: tenure.fork, tenure.fork.of, "
        "tenure.fork.step, tenure.fork.changed, and the texts in the place of the recorded ones",
        "fork.answered": "A tool call of a fork was answered from the record (`tenure.fork.answered`: record, again, "
        "stand-in, none); nothing was called",
        "fork.ended": "A fork came to its end; data: tenure.fork, tenure.fork.came_to, detail, tenure.fork.same (steps "
        "that are the record's own)",
    },
    router=router,
    flows=(GOING,),
)
