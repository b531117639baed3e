"""Bringing rows of an older schema to this one. The same for every engine.

Versions 1 and 2 kept the attributes of an Event whole, as they were: what is content in them is sealed here, and all
that is taken out of the attributes for queries is taken out anew. Version 3 had sealed content without the marks of
its words: they are made where the key is still there; what was let go or erased stays so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tenure.base.blind import Blind
from tenure.base.events import Logged
from tenure.base.subjects import Keyring, opened
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.values import Event, Status
from tenure.telemetry.traces import content
from tenure.telemetry.traces.rows import COLUMNS, SCHEMA_VERSION, rows_of, time_of
from tenure.telemetry.traces.terms import words_of

_FACTS = (
    *("id", "type", "workspace", "actor", "agent", "release", "instance", "session", "trace_id", "span_id"),
    *("parent_span_id", "policy_version", "memory_snapshot", "duration_us"),
)


@dataclass(frozen=True, slots=True)
class Renewal:
    """How far a store is from ``version`` to this one: ``done`` of ``total`` Events."""

    version: int
    done: int
    total: int

    def __str__(self) -> str:
        return (
            f"The trace store is being brought from version {self.version} to {SCHEMA_VERSION}: {self.done:,} of "
            f"{self.total:,} Events are. What happens meanwhile waits in the event log; nothing is to be done."
        )

    def refusal(self) -> Failed:
        """What who asks for traces meanwhile is told."""
        return Failed("trace_store_renewing", str(self), retry=True)


def newer(place: str, version: int) -> Refused:
    """What is said of a store that a newer Tenure wrote."""
    return Refused(
        "trace_store_newer",
        f"{place} was written by a newer Tenure (version {version}; this one knows {SCHEMA_VERSION}).",
        fix="Start that newer Tenure again: nothing turns a trace store back. Or begin an empty one, in another place "
        "that TENURE_TRACES names; what the event log still has is taken into it.",
        status=409,
    )


def renewed(rows: Sequence[dict[str, Any]], keyring: Keyring) -> list[tuple[Any, ...]]:
    """Rows as this version has them, of rows (by column) as an older one had them."""
    if rows and "content" not in rows[0]:
        return rows_of([_logged(row) for row in rows], keyring)
    numbers = {row["subject"] for row in rows if row["subject"] is not None}
    ciphers, blinds = keyring.opens(numbers), keyring.blinds(numbers)
    marked = [row | {"words": _words(row, ciphers.get(row["subject"]), blinds.get(row["subject"]))} for row in rows]
    return [tuple(row[name] for name in COLUMNS) for row in marked]


def _words(row: dict[str, Any], cipher: AESGCM | None, blind: Blind | None) -> str | None:
    if row["content"] is None or cipher is None or blind is None:
        return None
    try:
        said = content.attributes(opened(cipher, row["content"], row["id"]).decode())
    except Failed:  # it was changed; it is kept, and refused whenever it is read
        return None
    return blind.marks(words_of(said.values()))


def _logged(row: dict[str, Any]) -> Logged:
    facts = {name: row[name] for name in _FACTS}
    data = content.attributes(row["data"])
    return Logged(row["seq"], Event(time=time_of(row["time_us"]), status=Status(row["status"]), data=data, **facts))
