"""What the wiring needs to know of the breaker."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.breaker.api import router
from tenure.breaker.flow import TRIALS
from tenure.breaker.react import CASCADE, CONSUMER

ROOM = Room(
    name="breaker",
    events={
        "breaker.tripped": "What its scope and name say is stopped, every call of it is refused; data: scope, name, "
        "epoch, reason, and threshold and window_s where violations did it",
        "breaker.reset": "An operator lets it go on; data: scope, name, epoch (the new one), reason, tripped_for, "
        "trials (so many calls at first)",
        "breaker.trial": "A gateway asks for a call to pass half-open breakers; data: call_id, breakers (scope, name, "
        "epoch)",
        "breaker.closed": "All trial calls went well, all calls may pass; data: scope, name, epoch, trials",
        "agent.dependency_stopped": "An agent that this one depends on was stopped; data: name (of it), reason, "
        "dependants (hold or tell), declared, granted",
        "breaker.limited": "What trips a breaker was set, or forgotten; data: scope, name, limits",
    },
    router=router,
    consumers=(CONSUMER, CASCADE),
    flows=(TRIALS,),
)
