"""What sessions did before as the control plane keeps it, in memory, for gateways under test: the room's own rules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tenure.kernel.histories import HistoryFact
from tenure.sequences.history import read_step
from tenure.sequences.ledger import Record, asked, fact, read_ask, told


class HistoryBook:
    """Every history, by its name."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}

    def take(self, kind: str, data: Mapping[str, Any]) -> bool:
        """One Event; says whether it may have changed what a gateway hears of."""
        if kind == "sequence.asked":
            ask = read_ask(data)
            assert ask is not None, data
            known = self.records.get(ask.history) or Record("default", ask.history)
            self.records[ask.history] = asked(known, ask, datetime.now(UTC))
        for one in data.get("steps", ()) if kind.startswith("sequence.") else ():
            step = read_step(one["step"])
            assert step is not None, one
            known = self.records.get(one["history"]) or Record("default", one["history"])
            self.records[one["history"]] = told(known, one["lease"], step)
        return kind in ("sequence.asked", "sequence.late")

    def facts(self) -> dict[str, HistoryFact]:
        """Those that are kept."""
        now = datetime.now(UTC)
        return {one.lease: fact(one) for one in self.records.values() if one.lease and one.until > now}
