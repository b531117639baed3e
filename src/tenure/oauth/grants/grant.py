"""What a grant type is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from tenure.base.room import World
from tenure.oauth.model import Answer, TokenRequest


@dataclass(frozen=True, slots=True)
class Grant:
    """``handle`` answers a request in the caller's transaction, which is undone when it raises Refused. ``methods`` are
    the ways in which a client may have shown who it is (names of RFC 8414)."""

    handle: Callable[[World, Connection, TokenRequest], Answer]
    methods: frozenset[str]
