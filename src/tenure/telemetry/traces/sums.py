"""Events summed by day, beside their rows: tables and SQL that every engine has alike.

Sums are made of so many numbers of Events at a time (``AT_ONCE``), once all of them are in the store. An Event that
comes in late is in a later sum of its own day; what a day comes to is the sum of its sums. What counts over days reads
sums, and rows only of a day that is not asked for whole and of the newest Events, which are not summed yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from tenure.telemetry.measured import OVERRIDES
from tenure.telemetry.model import CALL_TYPES
from tenure.telemetry.traces.dialect import Dialect

AT_ONCE = 250_000
"""Numbers of Events that are summed together: fewer make more sums to be read, more make more rows to be."""
DAY = 86_400_000_000
"""Microseconds."""
_LAST = 2**63 - 1
_STEPS = 8
"""Buckets of durations that double: each is 9% wide, so that its middle is within 4.5% of all that is in it."""


def listed(names: Sequence[str]) -> str:
    """Names of ours as a list in SQL."""
    return "(" + ", ".join(f"'{name}'" for name in names) + ")"


CALLS = listed(sorted(CALL_TYPES))
WENT = f"type IN {CALLS} AND type <> 'call.refused'"
"""Calls that went out."""
_COUNTED = listed([*sorted(CALL_TYPES), *OVERRIDES, "approval.requested", "import.outcome"])


def duration_of(bucket: int) -> int:
    """The microseconds that stand for a bucket: the middle of the whole numbers in it. -1 is that of no time at all."""
    if bucket < 0:
        return 0
    low, above = ceil(2 ** (bucket / _STEPS)), ceil(2 ** ((bucket + 1) / _STEPS))
    return (low + max(low, above - 1)) // 2


@dataclass(frozen=True, slots=True)
class Sums:
    """A table of sums. ``key``: its columns that say what is summed; ``added``: those that are added up; ``greatest``:
    those of which the greatest counts; each with what it is of one Event. ``of``: which Events. ``marked``: what
    of the key is a name, of which a number is kept. Every table has ``upto`` besides, the last of the numbers that were
    summed together."""

    name: str
    key: Mapping[str, str]
    added: Mapping[str, str]
    greatest: Mapping[str, str]
    of: str
    marked: str = ""

    def columns(self) -> dict[str, str]:
        """The columns and their types."""
        texts = {"workspace", "agent", "type", "operation", "reached"}
        kinds = {name: "VARCHAR NOT NULL" if name in texts else "BIGINT NOT NULL" for name in self._names()}
        return {"upto": "BIGINT NOT NULL"} | kinds | ({"cost": "DECIMAL(38, 12) NOT NULL"} if "cost" in kinds else {})

    def _names(self) -> list[str]:
        return [*self.key, *self.added, *self.greatest]

    def of_rows(self, dialect: Dialect, where: str) -> str:
        """The Events that meet a condition, each as a sum of itself; by name where names are marked, for there are few
        of them and a mark takes longer than to add up."""
        pieces = {"day": dialect.day.format("time_us"), "solved": _solved(dialect)}
        columns = {**self.key, **self.added, **self.greatest}.items()
        inner = "_" if self.marked else ""
        chosen = ", ".join(f"{sql.format(**pieces)} AS {name}{inner}" for name, sql in columns)
        rows = f"SELECT {chosen} FROM event WHERE agent IS NOT NULL AND {self.of} AND {where}"  # noqa: S608 (only our own names)
        if not self.marked:
            return rows
        shown = {name: dialect.mark.format(f"{name}_") if name == self.marked else f"{name}_" for name in self.key}
        shown |= {name: f"max({name}_)" for name in self.greatest}
        named = ", ".join(f"{sql} AS {name}" for name, sql in shown.items())
        return f"SELECT {named} FROM ({rows}) AS each GROUP BY {', '.join(f'{name}_' for name in self.key)}"  # noqa: S608 (as above)

    def of_days(self, where: str) -> str:
        """The sums that meet a condition."""
        return f"SELECT {', '.join(self._names())} FROM {self.name} WHERE {where}"  # noqa: S608 (only our own names)

    def made(self, dialect: Dialect) -> str:
        """What makes sums of Events; its values: the last number, the one before the first, the last."""
        key = ", ".join(self.key)
        figures = [f"sum({name})" for name in self.added] + [f"max({name})" for name in self.greatest]
        return (
            f"INSERT INTO {self.name} (upto, {', '.join(self._names())}) SELECT ?, {key}, {', '.join(figures)}"  # noqa: S608 (only our own names)
            f" FROM ({self.of_rows(dialect, 'seq > ? AND seq <= ?')}) AS one GROUP BY {key}"
        )


def _solved(dialect: Dialect) -> str:
    return _one(f"type = 'import.outcome' AND {dialect.text.format('tenure.outcome.success')} = 'true'")


def _one(condition: str) -> str:
    return f"CASE WHEN {condition} THEN 1 ELSE 0 END"


_WHOSE = {"on_day": "{day}", "workspace": "workspace", "agent": "coalesce(agent, '')"}
CALLED = Sums(
    "summed_calls",
    _WHOSE
    | {
        "type": "type",
        # what comes before the first space of the name, with that space: ``execute_tool ``
        "operation": "left(name, position(' ' IN name))",
        "reached": "coalesce(resource, '')",
    },
    {
        "n": "1",
        **{status: _one(f"status = '{status}'") for status in ("allowed", "flagged", "violation", "anomaly")},
        "failed": _one("error IS NOT NULL"),
        "tokens_in": "coalesce(input_tokens, 0)",
        "tokens_out": "coalesce(output_tokens, 0)",
        "tokens_cached": "coalesce(cached_tokens, 0)",
        "tokens_thought": "coalesce(reasoning_tokens, 0)",
        "cost": "coalesce(cost_usd, 0)",
        "unpriced": _one("cost_usd IS NULL AND coalesce(input_tokens, 0) + coalesce(output_tokens, 0) > 0"),
    },
    {"last_us": "time_us"},
    f"type IN {_COUNTED}",
)
"""Events that are counted, by agent and by what they were about."""
TOOK = Sums(
    "summed_durations",
    _WHOSE
    | {
        "bucket": f"""CASE WHEN coalesce(duration_us, 0) < 1 THEN -1
            ELSE CAST(floor({_STEPS} * log2(greatest(coalesce(duration_us, 1), 1))) AS BIGINT) END"""
    },
    {"n": "1"},
    {},
    f"{WENT} AND duration_us IS NOT NULL",
)
"""How long calls took that went out, by agent."""
RAN = Sums(
    "summed_runs",
    _WHOSE | {"run": "coalesce(session, trace_id, id)"},
    {},
    {"called": _one(f"type IN {CALLS}"), "judged": _one("type = 'import.outcome'"), "solved": "{solved}"},
    f"(type IN {CALLS} OR type = 'import.outcome')",
    marked="run",
)
"""Runs (sessions, or traces without one) by agent: a number made of the name, so that the same one counts once."""
TABLES = (RAN, TOOK, CALLED)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Up to which Event there are sums, and from when on (microseconds) Events count: older ones were dropped."""

    summed: int
    floor: int


@dataclass(frozen=True, slots=True)
class Reach:
    """A time from ``low`` up to ``high``, cut into whole days, from ``first`` up to ``past``, and the rest of it: what
    is asked of sums, and of which rows."""

    bounds: Bounds
    low: int
    high: int
    first: int
    past: int

    @classmethod
    def over(cls, bounds: Bounds, since: int | None, until: int | None) -> Reach:
        """The time since one time until another, as far as Events count."""
        low = max(bounds.floor, since or 0)
        high = _LAST if until is None else until
        return cls(bounds, low, high, -(-low // DAY), high // DAY)

    @property
    def has_sums(self) -> bool:
        return self.bounds.summed > 0 and self.first < self.past

    def days(self) -> tuple[str, list[int]]:
        """The condition of its sums and the values."""
        return "upto <= ? AND on_day >= ? AND on_day < ?", [self.bounds.summed, self.first, self.past]

    def rows(self) -> list[tuple[str, list[int]]]:
        """The conditions of its rows, each with its values; no Event meets two. Several, for engines skip what lies
        outside a range, and not what lies outside of one or the other."""
        within = "time_us >= ? AND time_us < ?"
        if not self.has_sums:
            return [(within, [self.low, self.high])]
        summed = self.bounds.summed
        found = [(f"seq > ? AND {within}", [summed, self.low, self.high])]
        for low, high in ((self.low, self.first * DAY), (self.past * DAY, self.high)):
            if low < high:
                found.append((f"seq <= ? AND {within}", [summed, low, high]))
        return found
