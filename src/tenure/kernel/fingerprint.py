"""The fingerprint of a tool's definition: what a person accepted is told from everything else by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from tenure.kernel.json import Json, JsonObject, canonical


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """``digest`` is ``sha256:<64 hex>`` over the whole definition. ``parts`` are the first 16 hex of the same over each
    of its members, by name in order: they say what changed, and decide nothing. Empty where only the digest is known.
    """

    digest: str
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def content(self) -> tuple[tuple[str, str], ...]:
        """All but the name: the same definition under another name is told by it."""
        return tuple(part for part in self.parts if part[0] != "name")


def fingerprint(definition: JsonObject) -> Fingerprint:
    """The fingerprint of a definition as its server gives it, every member of it, in whatever order."""
    parts = tuple((name, _hash(definition[name])[:16]) for name in sorted(definition))
    return Fingerprint(f"sha256:{_hash(definition)}", parts)


def changed(before: Fingerprint, after: Fingerprint) -> tuple[str, ...]:
    """The members of a definition that differ, by name; none where only digests are known."""
    if not before.parts or not after.parts:
        return ()
    old, new = dict(before.parts), dict(after.parts)
    return tuple(sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))


def _hash(value: Json) -> str:
    try:
        whole = canonical(value)
    except (ValueError, RecursionError):
        whole = b"big:" + canonical(_spelled(value))  # other servers' schemas do hold 2**64
    return hashlib.sha256(whole).hexdigest()


def _spelled(value: Json) -> Json:
    """``value`` with numbers that RFC 8785 has no form for written out, so that no digit of them can change unseen."""
    if isinstance(value, Mapping):
        return {name: _spelled(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    if isinstance(value, str):
        return json.dumps(value)
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
