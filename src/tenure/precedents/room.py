"""What the wiring needs to know of precedents."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.precedents.api import router
from tenure.precedents.flow import KEEP

ROOM = Room(
    name="precedents",
    events={
        "precedent.proposed": "A rule was drawn up from an approval, for somebody to publish; data: precedent, policy "
        "(as decisions name it), approval_id, resource, terms, expires_at, reason",
        "precedent.published": "A person put it in force; data as precedent.proposed",
        "precedent.revoked": "A person took it back, proposed or in force; data as precedent.proposed",
        "precedent.expired": "Its end has come; data as precedent.proposed",
        "precedent.stopped": "Its tests do not pass beside new policies, so it is in force no more; data as "
        "precedent.proposed, and problem",
    },
    router=router,
    flows=(KEEP,),
)
