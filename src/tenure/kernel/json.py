"""JSON as a value: the type, the canonical form, and the digest that approvals and releases bind to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import rfc8785

# Recursive aliases defeat pydantic's and msgspec's schema builders; the shape is JSON, the name says so.
Json: TypeAlias = Any
JsonObject: TypeAlias = Mapping[str, Any]
JsonArray: TypeAlias = Sequence[Any]


def canonical(value: Json) -> bytes:
    """RFC 8785 canonical JSON. Raises ValueError for NaN, infinities and integers beyond ±(2**53 - 1)."""
    return rfc8785.dumps(cast("Any", value))


def digest(value: Json) -> str:
    """``sha256:<64 hex>`` over the canonical form."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()
