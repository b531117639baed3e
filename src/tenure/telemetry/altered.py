"""What became of the arguments of a call, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tenure.kernel.json import Json


@dataclass(frozen=True, slots=True)
class Place:
    """One field. ``path`` as in ``items[2].name``, empty for the whole. A side that had nothing there is None and has
    ``..._there`` False; ``kept`` False: what was there before is not kept anywhere, ``before`` is None."""

    path: str
    before: Json
    after: Json
    before_there: bool = True
    after_there: bool = True
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Altered:
    """Why two sides of a call's arguments differ, and where.

    ``kind``: ``edited`` (a person approved it with other arguments: what the agent asked against what was executed),
    ``redacted`` (policy took it out of what was sent), ``unrecorded`` (it was sent, and is not in the record),
    ``retried`` (against the earlier call of the same tool) or ``forked`` (against the call of the run that is played
    again). ``by``, ``at``, ``reason`` and ``approval``: who changed it, when, why and in which approval. ``trace_id``
    and ``span_id``: the other call. ``more``: there are further places.
    """

    kind: str
    places: tuple[Place, ...] = ()
    more: bool = False
    by: str = ""
    at: datetime | None = None
    reason: str = ""
    approval: str = ""
    trace_id: str = ""
    span_id: str = ""
