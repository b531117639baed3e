"""What a trace used up: each call's own tokens and cost, and with them what the calls inside it used. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tenure.kernel.json import JsonObject
from tenure.kernel.money import dollars
from tenure.ui.model import costs

_SEEN = ("call.completed", "call.refused", "import.call")
_OWN_STEPS = ("llm", "embedding")
_DEEP = 64  # circles of parents, which only a broken client sends, end here


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens, and US dollars as far as prices are known (None: no price of any call is)."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    cost: Decimal | None = None

    def __add__(self, other: Spent) -> Spent:
        known = [one for one in (self.cost, other.cost) if one is not None]
        return Spent(
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
            sum(known, Decimal(0)) if known else None,
        )

    def __bool__(self) -> bool:
        return bool(self.input or self.output or self.cost)

    def __str__(self) -> str:
        told = [f"{self.input:,} → {self.output:,} tokens"] if self.input or self.output else []
        return ", ".join([*told, *([dollars(self.cost)] if self.cost is not None else [])])


def own(data: JsonObject) -> Spent:
    """What the attributes of one span say."""
    if not any(name in data for name in _NAMES):
        return _NOTHING
    counts = (value if isinstance(value := data.get(name), int) else 0 for name in _NAMES[:4])
    return Spent(next(counts), next(counts), next(counts), next(counts), costs([data]))


_NOTHING = Spent()
_NAMES = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "tenure.cost_usd",
)


def sums(calls: Sequence[tuple[JsonObject, JsonObject]]) -> tuple[Spent, Mapping[str, Spent]]:
    """(what all ``calls`` used; by the id of each span that has calls inside it, what those and itself used). Calls are
    (span, its attributes). Nothing is counted twice: the spans of agents and workflows repeat the tokens of the model
    calls inside them, and where a gateway saw model calls, agents' own spans tell of the same ones."""
    parents = {str(raw.get("span_id")): str(raw.get("parent_span_id") or "") for raw, _ in calls}
    used = [(raw, data, spent) for raw, data in calls if (spent := own(data))]
    seen = any(raw.get("type") in _SEEN for raw, _, _ in used)
    total, below = _NOTHING, dict.fromkeys(set(parents.values()) & set(parents), _NOTHING)
    for raw, data, spent in used:
        is_own = raw.get("type") != "otlp.span"
        if not is_own and (seen or data.get("otlp.step") not in _OWN_STEPS):
            continue
        total += spent
        span = str(raw.get("span_id"))
        for _ in range(_DEEP):
            if span in below:
                below[span] += spent
            if (span := parents.get(span, "")) not in parents:
                break
    return total, {span: spent for span, spent in below.items() if spent}
