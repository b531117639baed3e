"""What the wiring needs to know of prepared calls."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.drafts.api import router
from tenure.drafts.flow import GIVE_UP
from tenure.drafts.react import CONSUMER

ROOM = Room(
    name="drafts",
    events={
        "draft.released": "A person wants a prepared call made, in the agent's place; data: draft, kind (draft or "
        "offer), resource, digest, arguments, edited (the arguments in their place), reason",
        "draft.discarded": "A person threw a prepared call away; data as draft.released",
        "draft.elsewhere": "A person says that a prepared call was done by other means; data as draft.released",
        "draft.returned": "No gateway took a prepared call in time, so it waits as before; data as draft.released",
    },
    router=router,
    consumers=(CONSUMER,),
    flows=(GIVE_UP,),
)
