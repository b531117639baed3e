"""What a grant type is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.oauth.model import Answer, TokenRequest


@dataclass(frozen=True, slots=True)
class Grant:
    """``handle`` answers a request in the caller's transaction, which is undone when it raises Refused. ``methods`` are
    the ways in which a client may have shown who it is (names of RFC 8414). ``before``: what must be found out before
    the transaction, because it takes a while or writes itself; it is ``TokenRequest.brought`` then."""

    handle: Callable[[World, Connection, TokenRequest], Answer]
    methods: frozenset[str]
    before: Callable[[World, TokenRequest], Any] | None = None


class Spent(Refused):
    """A refusal that is not all: what the grant did is undone, and ``then`` is done all the same, in the transaction of
    the request. For what is shown twice, or by somebody else: to refuse it is too little."""

    def __init__(self, refused: Refused, then: Callable[[Connection], None]) -> None:
        super().__init__(refused.code, refused.message, fix=refused.fix, status=refused.status, details=refused.details)
        self.then = then
