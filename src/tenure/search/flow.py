"""The Flow that keeps vectors of what can be found, where an endpoint gives them."""

from __future__ import annotations

from tenure.base.room import Flow
from tenure.identity import service as identity
from tenure.search import service

EMBED = Flow(
    "search.embed",
    lambda connection, _now: identity.workspaces(connection),
    service.embed,
    every=30.0,
    calls_for=service.lacks_vectors,
)
