"""Requests that never became a call: unreadable, too large, without a credential that counts. Told all the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from tenure.gateway.clients import told_by
from tenure.gateway.http import Request
from tenure.gateway.spool import Spool
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Event, Principal, Status

_AT_ONCE = 20.0
_A_SECOND = 1.0
_CALLERS_KEPT = 10_000
_STRANGERS_KEPT = 200


def _nowhere(_: Request) -> str:
    return "default"


class TurnedAway:
    """Records them as ``request.refused``: of one caller and reason 20 at once and then one a second, so that a loop
    does not flood what is recorded of calls; ``count`` says for how many an Event stands. Strangers are told apart by
    what they say they are, as long as there are few of them. ``wall`` is the machine's clock in Unix seconds;
    ``place`` says which workspace a stranger means."""

    def __init__(
        self, spool: Spool, wall: Callable[[], float] = time.time, place: Callable[[Request], str] = _nowhere
    ) -> None:
        self._place = place
        self._spool = spool
        self._wall = wall
        self._known: dict[tuple[str, str], tuple[float, float, int]] = {}  # tokens left, when, how many were left out
        self._strangers: set[str] = set()

    def _caller(self, principal: Principal | None, told: JsonObject) -> str:
        if principal is not None:
            return principal.instance
        said = f"{told.get('client.address')} {told.get('user_agent.original')} {told.get('tenure.client.key')}"
        if said not in self._strangers:
            if len(self._strangers) >= _STRANGERS_KEPT:
                return ""
            self._strangers.add(said)
        return said

    def note(self, request: Request, status: int, code: str, message: str, principal: Principal | None = None) -> None:
        """One that was answered with ``status``. Never raises, never waits. Nothing of what it said is kept but its
        method, the beginning of its path, and of a stranger what it says it is and where it is: it may hold anything.
        """
        now = self._wall()
        told = told_by(request) if principal is None else {}
        key = (self._caller(principal, told), code)
        left, when, skipped = self._known.get(key, (_AT_ONCE, now, 0))
        left = min(_AT_ONCE, left + (now - when) * _A_SECOND)
        if left < 1:
            self._known[key] = (left, now, skipped + 1)
            return
        if len(self._known) > _CALLERS_KEPT:
            self._known.clear()
        self._known[key] = (left - 1, now, 0)
        self._spool.append(
            Event(
                id=new_id(),
                type="request.refused",
                time=datetime.fromtimestamp(now, UTC),
                workspace=principal.workspace if principal is not None else self._place(request),
                actor=f"agent:{principal.agent}" if principal is not None else "system:gateway",
                agent=principal.agent if principal is not None else None,
                release=principal.release if principal is not None else None,
                instance=principal.instance if principal is not None else None,
                session=principal.session if principal is not None else None,
                status=Status.FLAGGED,
                data={
                    "http.request.method": request.method,
                    "url.path": request.path[:200],
                    "http.request.body.size": len(request.body),
                    "http.response.status_code": status,
                    "error.type": code,
                    "error.message": message[:500],
                    "count": skipped + 1,
                    **told,
                },
            )
        )
