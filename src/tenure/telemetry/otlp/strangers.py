"""Who sends telemetry without a credential that counts: told as gateways tell of theirs, so that discovery finds it."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from datetime import datetime

from tenure.base import events
from tenure.base.room import World
from tenure.kernel.clients import key_mark
from tenure.kernel.ids import stable_id
from tenure.kernel.json import Json
from tenure.kernel.values import Event, Status

_KEPT = 200
"""Kinds of strangers in a minute; further ones are one kind."""
_TEXT = 200
_CONTROL = re.compile(r"[^\x20-\x7e]")
_lock = threading.Lock()
_counts: dict[tuple[str, str], int] = {}


def note(world: World, headers: Mapping[str, str], address: str, path: str, code: str) -> None:
    """Keeps that somebody was turned away (401), and with which ``code``: who they say they are, their address, and a
    mark of what they showed. One Event for each kind of stranger and minute, with ``count``: a loop does not flood what
    is recorded. It counts for the installation's own workspace: what has no credential says of no workspace that it is
    theirs."""
    now = world.clock()
    token = headers.get("authorization", "").partition(" ")[2].strip()
    if code == "not_authenticated":  # as gateways say it
        code = "token_malformed" if token else "no_token"
    told: dict[str, Json] = {"client.address": address, "error.type": code, "url.path": path}
    if agent := headers.get("user-agent", ""):
        told["user_agent.original"] = _CONTROL.sub("?", agent[:_TEXT])
    if mark := key_mark(token):
        told["tenure.client.key"] = mark
    place = str(world.config.data_dir)
    count, minute = _counted("\x1f".join((place, *(str(value) for value in told.values()))), now)
    if count is None:
        return
    ident = stable_id("otlp-stranger", minute, *(f"{name}={value}" for name, value in told.items()))
    facts = {"http.request.method": "POST", "http.response.status_code": 401, **told, "count": count}
    home, who = world.config.workspace, "system:otlp"
    event = Event(ident, "request.refused", now, home, who, status=Status.FLAGGED, data=facts)
    with world.begin() as tx:
        events.append(tx, [event])


def _counted(kind: str, now: datetime) -> tuple[int | None, str]:
    """(for how many requests an Event stands that is told now, None where none is; the minute). Those of a minute are
    told with the first one of the next."""
    minute = now.strftime("%Y-%m-%dT%H:%M")
    with _lock:
        if len(_counts) >= _KEPT and (minute, kind) not in _counts:
            kind = ""
        before = [key for key in _counts if key[0] != minute and key[1] == kind]
        missed = sum(_counts.pop(key) for key in before)
        seen = _counts.get((minute, kind))
        _counts[minute, kind] = 0 if seen is None else seen + 1
        if len(_counts) > 2 * _KEPT:
            _counts.clear()
    return (1 + missed if seen is None else None), minute
