"""A prepared call that a person has told the gateways to make: what of it they need to know."""

from __future__ import annotations

from dataclasses import dataclass

from tenure.kernel.json import JsonObject
from tenure.kernel.values import Principal

DRAFT, SIMULATE, OFFER = "draft", "simulate", "offer"
"""What becomes of a call that is not made: a person is shown it, it is answered as if, or a person is to do it."""
OBLIGATION = {DRAFT: "draft-only", SIMULATE: "simulate"}
"""The obligation of a Decision that each of them is."""


@dataclass(frozen=True, slots=True)
class DraftFact:
    """``by`` (``person:EMAIL``) makes the call in the place of ``principal``, with these ``arguments``, whose digest is
    ``digest``. ``state`` is released, or claimed by the gateway that ``claim`` names: it alone makes the call, once.
    ``trace_id`` and ``parent`` are of the call that was prepared."""

    id: str
    workspace: str
    resource: str
    arguments: JsonObject
    digest: str
    principal: Principal
    by: str
    state: str
    claim: str = ""
    trace_id: str = ""
    parent: str = ""
