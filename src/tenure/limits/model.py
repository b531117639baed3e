"""Limits, their windows and accounts, and how leases are cut. Pure: the gateway reckons with the same rules.

A limit has an account for each that it is about, and an account a sum for each period. A calendar window is one period.
A sliding window is ``STEPS`` short ones; what was used in as many periods before the present one counts too, which
is a little more than the window, so that no stretch of time as long as the window ever holds more than the amount.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from tenure.kernel.budgets import LimitFact, PriceFact
from tenure.kernel.json import JsonObject
from tenure.kernel.money import dollars, of_nano
from tenure.kernel.naming import uri_matches
from tenure.kernel.values import Call, CallKind, Principal

TTL_S = 30.0
"""How long a lease holds from the request that it answers. A gateway renews it well before."""
GRACE_S = 5.0
"""How much later the control plane gives the rest of a lease to others: what was used of it is told by then."""
STEPS = 12
PARTS = 10
"""A lease is at most this part of the amount, unless a single call needs more."""
WINDOW_S = {"minute": 60, "hour": 3600, "day": 86_400, "month": 30 * 86_400}
ALERTS = (80, 100)
"""Percent of a limit that are told when they are reached."""
GUESSED_OUTPUT = 4096
"""Tokens that an answer is reckoned with while the call does not say how many it may have."""
_BYTES_PER_TOKEN = 4
_WHOM = 254
_OUTPUT = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as ``gen_ai.usage.*`` has them. ``cached`` and ``written`` are parts of ``input``."""

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0


def accounts(
    limits: Sequence[LimitFact], owner: str, call: Call, principal: Principal
) -> Iterator[tuple[str, LimitFact]]:
    """The accounts that a call is charged to under the limits of agent ``owner``: its own, or one that handed the work
    on. What is counted in tokens or dollars is charged for calls of models only."""
    for limit in limits:
        if limit.of != "calls" and call.kind is not CallKind.LLM:
            continue
        whom = _whom(limit, owner, call, principal)
        if whom is not None and (not limit.only or uri_matches(limit.only, whom)):
            yield f"{limit.id}|{whom[:_WHOM]}", limit


def _whom(limit: LimitFact, owner: str, call: Call, principal: Principal) -> str | None:
    match limit.each:
        case "agent":
            return owner
        case "person":
            return principal.on_behalf_of
        case "chain":
            return principal.root
        case "tool":
            return call.resource if call.kind is CallKind.TOOL else None
        case "model":
            return call.resource if call.kind is CallKind.LLM else None
    return ""


# -- windows
@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def period(limit: LimitFact, now: datetime) -> tuple[int, int]:
    """The period of the limit that ``now`` (UTC) is in: Unix seconds of its beginning and its end."""
    at = int(now.timestamp() // 1)
    length = WINDOW_S[limit.per]
    if limit.sliding:
        step = length // STEPS
        return at // step * step, at // step * step + step
    if limit.per in ("minute", "hour"):
        return at // length * length, at // length * length + length
    zone = _zone(limit.zone)
    local = now.astimezone(zone)
    begin = datetime(local.year, local.month, 1 if limit.per == "month" else local.day, tzinfo=zone)
    later = begin.replace(tzinfo=None) + timedelta(days=32 if limit.per == "month" else 1)
    end = later.replace(day=1, tzinfo=zone) if limit.per == "month" else later.replace(tzinfo=zone)
    return int(begin.timestamp()), int(end.timestamp())


def counted(limit: LimitFact, start: int) -> tuple[int, int]:
    """The first and the last beginning of the periods whose sums count in the one that begins at ``start``: a clock
    that was set back may have left some that are still to come."""
    reach = WINDOW_S[limit.per] if limit.sliding else 0
    return start - reach, start + reach


# -- leases
def slice_of(amount: int, left: int, need: int, want: int, holders: int) -> int:
    """How much more a gateway is granted of an account that has ``left``: what its waiting calls ``want`` and half of
    its share among ``holders`` gateways, but no more than a tenth of the ``amount`` beyond what they want. Nothing when
    there is not even what the first of them ``need``s: others may hold what it would have to wait for."""
    if left < need or left <= 0:
        return 0
    fair = min(left // (2 * max(holders, 1)), amount // PARTS)
    return min(left, max(want, fair))


# -- what a call uses
def estimate(call: Call, size: int) -> tuple[Usage, bool]:
    """The tokens that a call of a model is reckoned with before it is made; ``size`` is its body's, in bytes. True when
    it says itself how many may come out: it cannot come to more then, but for what goes in."""
    given: JsonObject = call.arguments
    operation = given.get("operation", "")
    if call.kind is not CallKind.LLM or operation == "count_tokens" or "/" in str(operation):
        return Usage(), True
    bound = next((value for name in _OUTPUT if isinstance(value := given.get(name), int) and value >= 0), None)
    answers = given.get("n")
    output = (GUESSED_OUTPUT if bound is None else bound) * (answers if isinstance(answers, int) and answers > 0 else 1)
    return Usage(size // _BYTES_PER_TOKEN, 0 if operation == "embeddings" else output), bound is not None


def reserved(limit: LimitFact, call: Call, size: int, price: PriceFact | None) -> int:
    """How much of an account a call needs before it is made. What is only guessed is no more than a tenth of the limit,
    so that a small limit does not refuse for ever what nobody bounded."""
    if limit.of == "calls":
        return 1
    usage, bounded = estimate(call, size)
    guess = used(limit, Usage(usage.input, 0 if bounded else usage.output), price)
    said = used(limit, Usage(0, usage.output), price) if bounded else 0
    return said + min(guess, max(limit.amount // PARTS, 1))


def used(limit: LimitFact, usage: Usage, price: PriceFact | None) -> int:
    """What a call of a model with that usage comes to. Dollars without a known price come to nothing."""
    match limit.of:
        case "tokens":
            return usage.input + usage.output
        case "input_tokens":
            return usage.input
        case "output_tokens":
            return usage.output
        case "usd" if price is not None:
            fresh = max(usage.input - usage.cached - usage.written, 0)
            kinds = ((fresh, price.input), (usage.cached, price.cached), (usage.written, price.written))
            total = sum(count * cost for count, cost in kinds) + usage.output * price.output
            return -(-total // 1000)
    return 0


# -- words
def shown(of: str, amount: int) -> str:
    """An amount as people read it, as in ``100 calls`` or ``$5.00``."""
    if of == "usd":
        return dollars(of_nano(amount))
    noun = of.replace("_", " ")
    return f"{amount:,} {noun if amount != 1 else noun[:-1]}"


def words(limit: LimitFact) -> str:
    """A limit as people read it, as in ``100 calls an hour``."""
    article = "an" if limit.per == "hour" else "a"
    return f"{shown(limit.of, limit.amount)} {article} {limit.per}"
