"""Calls that a person approved with other arguments: what the agent is told. Values only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tenure.kernel.difference import Difference, differences
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import ApprovalFact

META = "tenure/edited"
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Edit:
    """``before``: the agent's arguments; ``fact``: the approval, with those that took their place."""

    before: JsonObject
    fact: ApprovalFact

    @property
    def _changed(self) -> tuple[Difference, ...]:
        return differences(self.before, self.fact.edited)

    @property
    def text(self) -> str:
        """What changed and why, for a model."""
        who = (self.fact.decided_by or "A person").removeprefix("person:")
        said = [
            f"{one.path or 'all'} {_side(one.left, one.left_there)} -> {_side(one.right, one.right_there)}"
            for one in self._changed
        ]
        why = f" Reason: {self.fact.reason}" if self.fact.reason else ""
        return f"{who} approved this call with other arguments than yours: {'; '.join(said)}.{why}"

    @property
    def meta(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "approval": self.fact.id,
            "by": self.fact.decided_by,
            "reason": self.fact.reason,
            "arguments": dict(self.fact.edited or {}),
            "changed": [{"path": one.path, "before": one.left, "after": one.right} for one in self._changed],
        }

    @property
    def record(self) -> dict[str, Any]:
        """The same for the call's Event, whose arguments are those that it was made with."""
        return {"approval": self.fact.id, "by": self.fact.decided_by, "arguments": self.before}

    def told(self, result: JsonObject) -> dict[str, Any]:
        """A result that says so, to the model before all else."""
        content, meta = result.get("content"), result.get("_meta")
        said = {"type": "text", "text": self.text}
        return {
            **result,
            "content": [said, *(content if isinstance(content, list) else [])],
            "_meta": {**(meta if isinstance(meta, dict) else {}), META: self.meta},
        }


def _side(value: Any, there: bool) -> str:
    text = json.dumps(value, ensure_ascii=False) if there else "nothing"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
