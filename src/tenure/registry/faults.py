"""The refusal of a manifest."""

from __future__ import annotations

from collections.abc import Sequence

from tenure.base import faults
from tenure.base.faults import Fault
from tenure.kernel.errors import Refused


def refuse(found: Sequence[Fault]) -> Refused:
    """The refusal ``invalid_manifest`` that carries every fault."""
    fix = "Mend what is listed and apply again. The shape is at /v1/schemas/agent.json."
    return faults.refuse(found, code="invalid_manifest", what="manifest", fix=fix)
