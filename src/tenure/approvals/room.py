"""What the wiring needs to know of approvals."""

from __future__ import annotations

from tenure.approvals.api import router
from tenure.approvals.flow import EXPIRY
from tenure.approvals.react import CONSUMER
from tenure.base.room import Room

ROOM = Room(
    name="approvals",
    events={
        "approval.granted": "A person approved a held call; data: approval_id, call_id, resource, policies, reason, "
        "answer (the same for all calls that one answer was for)",
        "approval.rejected": "A person rejected a held call; data as approval.granted",
        "approval.expired": "Nobody decided a held call, or its call never came, in time; data as approval.granted",
    },
    router=router,
    consumers=(CONSUMER,),
    flows=(EXPIRY,),
)
