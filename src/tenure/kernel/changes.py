"""Facts by their keys: what changed between two sets of them, and one with the changes of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

V = TypeVar("V")


def changed(old: Mapping[str, V], new: Mapping[str, V]) -> dict[str, V | None]:
    """What turns ``old`` into ``new``; None for what is there no more."""
    if old is new:
        return {}
    # Most of what is compared is the same object: that is cheaper to see than that two are equal.
    out: dict[str, V | None] = {
        key: value for key, value in new.items() if (known := old.get(key)) is not value and known != value
    }
    out.update({key: None for key in old if key not in new})
    return out


def merged(old: Mapping[str, V], changes: Mapping[str, V | None]) -> Mapping[str, V]:
    """``old`` with ``changes``."""
    if not changes:
        return old
    out = dict(old)
    for key, value in changes.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = value
    return out
