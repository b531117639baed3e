"""What the wiring needs to know of SCIM."""

from __future__ import annotations

from fastapi import APIRouter

from tenure.base.room import Room
from tenure.scim.api import plain, router

_both = APIRouter()
_both.include_router(router)
_both.include_router(plain)

ROOM = Room(name="scim", router=_both)
