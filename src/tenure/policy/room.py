"""What the wiring needs to know of policy."""

from __future__ import annotations

from fastapi import APIRouter

from tenure.base.room import Flow, Room
from tenure.policy import api
from tenure.policy.diff import api as diff_api
from tenure.policy.flow import Watch
from tenure.policy.past import api as past_api

_watch = Watch()
_router = APIRouter()
_router.include_router(api.router)
_router.include_router(diff_api.router)
_router.include_router(past_api.router)

ROOM = Room(
    name="policy",
    events={
        "policy.loaded": "Another version of the policies runs; data: version, files, before, how (folder, publish, "
        "rollback, upgrade), reason, tests (how many passed), untested (policies that no test decides by)",
        "policy.rejected": "The policies folder is broken and was refused; data: faults (file, line, problem), running",
    },
    router=_router,
    flows=(Flow("policy.watch", _watch.find, _watch.step, every=1.0, glance=_watch.glance),),
    start=_watch.start,
)
