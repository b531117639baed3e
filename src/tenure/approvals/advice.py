"""What speaks against approving a held call. Pure.

Tenure recommends to reject, or nothing: a recommendation to approve would be followed unread, and what has nothing
against it waits for a person all the same because a policy wants one to look. Who approves against a recommendation is
recorded with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tenure.approvals.model import Approval
from tenure.kernel.json import JsonObject

RISKY = 70
"""From this many points of 100 on (``docs/risk.md``) a call's risk speaks against it."""
ADVICE_LOOKS_BACK = timedelta(days=30)
"""For how long a person's no to the same call speaks against it."""
_PATHS = 10


def against(data: JsonObject, before: Approval | None) -> tuple[str, ...]:
    """The reasons, in words, none where nothing is known that speaks against it. ``data``: of the Event by which a
    gateway asked; ``before``: an equal call that a person rejected."""
    found = []
    risk, origin = data.get("tenure.risk"), data.get("tenure.origin")
    if isinstance(risk, Mapping) and isinstance(score := risk.get("score"), int) and score >= RISKY:
        found.append(f"its risk is {score} of 100")
    if isinstance(origin, Mapping) and (paths := _words(origin.get("arguments"))):
        more = f" and {len(paths) - _PATHS} more" if len(paths) > _PATHS else ""
        found.append(f"arguments are taken from what is not trusted: {', '.join(paths[:_PATHS])}{more}")
    if before is not None and before.settled_at is not None:
        by, on = (before.decided_by or "").removeprefix("person:"), before.settled_at.date().isoformat()
        found.append(f"{by} rejected the same call on {on}: {before.reason}")
    return tuple(found)


def _words(value: Any) -> list[str]:
    texts = value if isinstance(value, list | tuple) else ()
    return [one[:100].replace("\x00", "") for one in texts if isinstance(one, str)]
