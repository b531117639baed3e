"""Attribution as the wiring sees it."""

from tenure.attribution.api import router
from tenure.base.room import Room

ROOM = Room(name="attribution", router=router)
