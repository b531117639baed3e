"""What a model call cost: the provider's own count of tokens at the prices of ``genai-prices``, or at one's own. Pure.

The table is the one of the installed package and never fetches another; its version is told with every cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

import genai_prices
import msgspec
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import PriceCalculation, TieredPrices

from tenure.kernel.errors import Refused
from tenure.kernel.values import Event
from tenure.telemetry.model import uses_tokens

_KNOWN_AS = {  # gen_ai.provider.name -> the package's name, where they differ
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "azure.ai.openai": "azure",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
    "aws.bedrock": "aws",
}
_MILLION = Decimal(1_000_000)


class Price(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """US dollars for a million tokens. ``cached`` are those read from the provider's cache, ``written`` those put into
    it; both cost as much as other ``input`` when left out."""

    input: Decimal
    output: Decimal = Decimal(0)
    cached: Decimal | None = None
    written: Decimal | None = None

    def __post_init__(self) -> None:
        for price in (self.input, self.output, self.cached, self.written):
            if price is not None and not (price.is_finite() and price >= 0):
                raise ValueError(f"{price} is no price")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. ``cached`` and ``written`` are parts of ``input``."""

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0


@dataclass(frozen=True)
class Prices:
    """A table of prices. ``own`` (by ``provider/model``, as the Event names them) goes before the package's."""

    version: str = f"genai-prices {genai_prices.__version__}"
    own: Mapping[str, Price] = field(default_factory=dict)

    def priced(self, event: Event) -> Event:
        """The Event with ``tenure.cost_usd`` (a decimal number as text) and ``tenure.prices`` (the table's version), if
        it is a call (or a span of one) that used tokens of a model with a known price; the same Event otherwise."""
        data = event.data
        usage = Usage(
            *(
                count if isinstance(count := data.get(f"gen_ai.usage.{name}_tokens"), int) and count >= 0 else 0
                for name in ("input", "output", "cache_read.input", "cache_creation.input")
            )
        )
        is_call = event.type in ("call.completed", "fork.called") or (event.type == "otlp.span" and uses_tokens(event))
        if not is_call or not (usage.input or usage.output):
            return event
        provider = str(data.get("gen_ai.provider.name") or "")
        # Prices change with time, in some cases with the hour of the day, never within it.
        hour = event.time.replace(minute=0, second=0, microsecond=0)
        for name in ("gen_ai.response.model", "gen_ai.request.model"):
            cost = self._cost(provider, str(data.get(name) or ""), usage, hour)
            if cost is not None:
                known = {"tenure.cost_usd": format(cost, "f"), "tenure.prices": self.version}
                return replace(event, data={**data, **known})
        return event

    def of_thousand(self, provider: str, model: str, at: datetime) -> tuple[Decimal, Decimal, Decimal, Decimal] | None:
        """US dollars for a thousand tokens of a model: input, output, read from the cache, written to it. None where
        no price is known. Of a model whose price grows with the length of what goes in, that of short calls."""
        hour = at.replace(minute=0, second=0, microsecond=0)
        kinds = (Usage(1000), Usage(0, 1000), Usage(1000, 0, cached=1000), Usage(1000, 0, written=1000))
        first, second, third, fourth = (self._cost(provider, model, kind, hour) for kind in kinds)
        if first is None or second is None:
            return None
        return first, second, first if third is None else third, first if fourth is None else fourth

    def _cost(self, provider: str, model: str, usage: Usage, at: datetime) -> Decimal | None:
        own = self.own.get(f"{provider}/{model}")
        if own is None:
            return _listed(_KNOWN_AS.get(provider, provider), model, usage, at)
        fresh = max(usage.input - usage.cached - usage.written, 0)
        cached = own.input if own.cached is None else own.cached
        written = own.input if own.written is None else own.written
        total = fresh * own.input + usage.cached * cached + usage.written * written + usage.output * own.output
        return total / _MILLION


def _listed(provider: str, model: str, usage: Usage, at: datetime) -> Decimal | None:
    """The cost by the package's table; None for what it does not list."""
    if not provider or not model or not _is_listed(provider, model):
        return None
    rates = _rates(provider, model, at)
    if rates is None or usage.cached + usage.written > usage.input:
        return _calculated(provider, model, usage, at)
    once, fresh, output, cached, written = rates
    rest = usage.input - usage.cached - usage.written
    return once + (rest * fresh + usage.output * output + usage.cached * cached + usage.written * written) / _MILLION


@lru_cache(maxsize=20_000)
def _is_listed(provider: str, model: str) -> bool:
    """Whether the package knows the model. To find that it does not it looks at every name (a third of a millisecond),
    each time anew, and there are fleets of which it knows no model."""
    try:
        get_snapshot().find_provider_model(model, None, provider, None)
    except (LookupError, ValueError):
        return False
    return True


@lru_cache(maxsize=20_000)
def _rates(provider: str, model: str, at: datetime) -> tuple[Decimal, Decimal, Decimal, Decimal, Decimal] | None:
    """What a call costs, and a million tokens of each kind (fresh, output, cached, written); None for what is not
    listed, and where a price depends on how many tokens there are. The package takes a tenth of a millisecond."""
    million = int(_MILLION)
    found = _answer(provider, model, Usage(), at)
    if found is None or any(isinstance(price, TieredPrices) for price in vars(found.model_price).values()):
        return None
    once = found.total_price
    kinds = (Usage(million), Usage(0, million), Usage(million, cached=million), Usage(million, written=million))
    first, second, third, fourth = (_calculated(provider, model, kind, at) for kind in kinds)
    if first is None or second is None or third is None or fourth is None:
        return None
    return once, first - once, second - once, third - once, fourth - once


@lru_cache(maxsize=2_000)
def _calculated(provider: str, model: str, usage: Usage, at: datetime) -> Decimal | None:
    found = _answer(provider, model, usage, at)
    return None if found is None else found.total_price


def _answer(provider: str, model: str, usage: Usage, at: datetime) -> PriceCalculation | None:
    spent = genai_prices.Usage(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.written,
    )
    try:
        return genai_prices.calc_price(spent, model, provider_id=provider, genai_request_timestamp=at)
    except (LookupError, ValueError):
        return None


def read_prices(text: bytes, name: str) -> Prices:
    """A file of one's own prices: a JSON object of ``"provider/model": {"input": "2.50", "output": "10"}``, in US
    dollars for a million tokens. Raises Refused."""
    try:
        own = msgspec.json.decode(text, type=dict[str, Price])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(
            "bad_prices",
            f"{name} is no list of prices: {error}",
            fix='Write {"openai/gpt-4o": {"input": "2.50", "output": "10"}}: US dollars for a million tokens.',
        ) from None
    digest = hashlib.sha256(text).hexdigest()[:12]
    return Prices(f"{Prices().version}+{digest}", own)
