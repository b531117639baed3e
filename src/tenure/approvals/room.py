"""What the wiring needs to know of approvals."""

from __future__ import annotations

from tenure.approvals.api import router
from tenure.approvals.flow import ESCALATION, EXPIRY, STAND_INS
from tenure.approvals.react import CONSUMER
from tenure.base.room import Room

ROOM = Room(
    name="approvals",
    events={
        "approval.granted": "A person approved a held call; data: approval_id, call_id, resource, policies, reason, "
        "answer (the same for all calls that one answer was for), for (whom a stand-in answered for), given (all "
        "answers, where it took more than one person), covers (where a person changed it), recommended and against "
        "(what Tenure recommended, and why)",
        "approval.answered": "One of the people whose approval a held call takes approved it, and it waits for more; "
        "data as approval.granted, and missing",
        "approval.edited": "A person changed the arguments of a held call; whoever had approved it as it was is asked "
        "again; data as approval.granted, and arguments, edited (before and after), covers (their digest)",
        "approval.escalated": "Nobody answered a held call, and its ladder asks the next ones; data as "
        "approval.granted, and ladder, step, ask, until, at_deadline",
        "approval.ladder_set": "Somebody set whom held calls are shown to when nobody answers; data: ladder, agents, "
        "tools, policies, steps, deadline_s, at_deadline, reason",
        "approval.ladder_removed": "Somebody removed a ladder; data as approval.ladder_set",
        "approval.handed_over": "A person has somebody else answer held calls for them; data: stand_in, for, agents, "
        "tools, begins_at, ends_at, reason",
        "approval.hand_over_ended": "A stand-in's time is over, or was ended; data as approval.handed_over",
        "approval.rejected": "A person rejected a held call; data as approval.granted",
        "approval.expired": "Nobody decided a held call, or its call never came, in time; data as approval.granted",
    },
    router=router,
    consumers=(CONSUMER,),
    flows=(EXPIRY, ESCALATION, STAND_INS),
)
