"""Every fact that a policy can look at: the schema is made of this table, and so is ``docs/facts.md``.

The schema names no fact that is not here, and ``context`` finds out each of them. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from tenure.kernel.values import SOURCES

TIERS = ("interactive", "subagent", "background", "api")
"""Who stands behind a call (``kernel.values.tier_of``)."""
ENVIRONMENTS = ("staging", "production")
TIME = frozenset({"hour", "weekday", "date"})
"""Facts of the moment, by the clock on the wall of one declared zone."""
QUARTER_S = 900
"""No fact of the moment changes but when such a part of an hour begins: every zone is so many of them off."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One row. ``type`` is Cedar's, with ``?`` behind the name of one that a call may not have. ``example`` is what a
    policy says after ``when``."""

    name: str
    type: str
    meaning: str
    source: str
    example: str
    optional: bool = False


_MANIFEST, _TOKEN, _CALL = "the agent's manifest", "the token that was shown", "the call"
_SEEN = "what the session has met (`docs/provenance.md`)"
_SCAN = "the scan (`docs/findings.md`)"
_WEIGHED = "the weighing (`docs/risk.md`)"
_LIMITS = "the gateway's leases of limits (`docs/limits.md`)"
_CLOCK = "the gateway's clock, in the zone that `@zone` declares"

AGENT = (
    Fact("owner", "String", "who answers for the agent", _MANIFEST, 'principal.owner like "*@example.com"'),
    Fact("purpose", "String", "what it is for", _MANIFEST, 'principal.purpose == "refunds"'),
    Fact("risk_tier", "Long", "its risk tier, 1 to 4", _MANIFEST, "principal.risk_tier >= 3"),
    Fact("state", "String", "its lifecycle state", "the registry", 'principal.state == "draining"'),
    Fact("tools", "Set<Tool>", "the tools it was granted", _MANIFEST, "principal.tools.contains(resource)"),
    Fact("models", "Set<Model>", "the models it was granted", _MANIFEST, "principal.models.contains(resource)"),
    Fact("agents", "Set<Peer>", "the agents it may call", _MANIFEST, "principal.agents.contains(resource)"),
    Fact(
        "data_classes",
        "Set<String>",
        "the classes of data it may meet",
        _MANIFEST,
        'principal.data_classes.contains("financial")',
    ),
)
"""What policies see of the agent that calls: attributes of ``principal``."""

CONTEXT = (
    Fact(
        "approved",
        "Bool",
        "a person has approved exactly this call",
        "the claimed approval",
        "context.approved == true",
    ),
    Fact(
        "autonomy",
        "String",
        "the level of oversight of what is called: `autonomous`, `notify`, `approve`, `human_only`",
        _MANIFEST,
        'context.autonomy == "notify"',
    ),
    Fact(
        "tier",
        "String",
        "who stands behind the call: `interactive` (its token is a person's, nobody between), `subagent` (another "
        "agent handed the work on), `background` (a process that Tenure started, for nobody), `api` (a program with a "
        "key of its own). `x-tenure-tier` can only take the person away: `background` or `api` in place of "
        "`interactive`",
        _TOKEN,
        'context.tier != "interactive"',
    ),
    Fact("session", "String", "the session", f"{_TOKEN}, or `x-tenure-session`", 'context.session == "night-run"'),
    Fact("task", "String", "the task that all of it is done for; empty for none", _TOKEN, 'context.task == "case-7"'),
    Fact("release", "String", "the release that acts", _TOKEN, 'context.release == "sha256:4b1d"'),
    Fact(
        "environment",
        "String",
        "where the agent stands: `staging` or `production` (draining is production)",
        "the registry",
        'context.environment == "staging"',
    ),
    Fact(
        "on_behalf_of",
        "String",
        "the person that the agent works for",
        _TOKEN,
        'context has on_behalf_of && context.on_behalf_of == "ann@example.com"',
        optional=True,
    ),
    Fact(
        "chain",
        "Set<String>",
        "the agents that handed the work on",
        "the delegation (`docs/delegation.md`)",
        'context.chain.contains("broker")',
    ),
    Fact("chain_depth", "Long", "how many of them there are", "the delegation", "context.chain_depth > 1"),
    Fact("hour", "Long", "the hour, 0 to 23", _CLOCK, "context.hour < 8 || context.hour >= 18"),
    Fact("weekday", "Long", "the day of the week, 1 (Monday) to 7", _CLOCK, "context.weekday > 5"),
    Fact("date", "Long", "the day as a number, 20261224", _CLOCK, "context.date >= 20261224"),
    Fact(
        "confidence",
        "Long",
        "how sure the agent says that it is, in percent",
        "`x-tenure-confidence`",
        "context has confidence && context.confidence < 60",
        optional=True,
    ),
    Fact(
        "justified",
        "Bool",
        "the agent said what the call is for (`docs/justification.md`)",
        _CALL,
        "context.justified == false",
    ),
    Fact(
        "unrepresentable",
        "Bool",
        "it gives an argument that no policy can read, such as a number too large",
        _CALL,
        "context.unrepresentable == true",
    ),
    Fact("findings", "Set<String>", "what was found in what goes out", _SCAN, 'context.findings.contains("secret")'),
    Fact("returned", "Set<String>", "what was found in what came back", _SCAN, 'context.returned.contains("personal")'),
    Fact("spent_calls", "Long", "percent used of its fullest limit on calls", _LIMITS, "context.spent_calls >= 80"),
    Fact("spent_tokens", "Long", "percent used of its fullest limit on tokens", _LIMITS, "context.spent_tokens >= 80"),
    Fact("spent_usd", "Long", "percent used of its fullest budget", _LIMITS, "context.spent_usd >= 80"),
    Fact("tainted", "Bool", "the session has met what is not trusted", _SEEN, "context.tainted == true"),
    Fact(
        "provenance",
        "Set<String>",
        f"the sources it has met: {', '.join(f'`{name}`' for name in SOURCES)}",
        _SEEN,
        'context.provenance.contains("web")',
    ),
    Fact(
        "arguments_from_untrusted",
        "Bool",
        "an argument is taken from what is not trusted",
        _SEEN,
        "context.arguments_from_untrusted == true",
    ),
    Fact(
        "untrusted_arguments",
        "Set<String>",
        "the paths of the arguments that are",
        _SEEN,
        'context.untrusted_arguments.contains("to")',
    ),
    Fact("risk", "Long", "how risky the call looks, 0 to 100", _WEIGHED, "context.risk >= 60"),
    Fact("uncertainty", "Long", "how unsure that is, 0 to 100", _WEIGHED, "context.uncertainty >= 50"),
    Fact(
        "longs",
        "Longs",
        "its arguments that are whole numbers, by path",
        _CALL,
        'context.longs.hasTag("amount") && context.longs.getTag("amount") > 100',
    ),
    Fact(
        "decimals",
        "Decimals",
        "its arguments that are numbers of at most four decimals",
        _CALL,
        'context.decimals.hasTag("price") && context.decimals.getTag("price").greaterThan(decimal("9.99"))',
    ),
    Fact(
        "strings",
        "Strings",
        "its arguments that are texts",
        _CALL,
        'context.strings.hasTag("to") && context.strings.getTag("to") like "*@example.com"',
    ),
    Fact(
        "bools",
        "Bools",
        "its arguments that are true or false",
        _CALL,
        'context.bools.hasTag("force") && context.bools.getTag("force")',
    ),
)
"""What policies see of the call: attributes of ``context``."""


def cedar_record(facts: tuple[Fact, ...]) -> str:
    """The facts as the body of a record type of Cedar's schema."""
    return "".join(f"  {fact.name}{'?' if fact.optional else ''}: {fact.type},\n" for fact in facts)


@lru_cache(maxsize=256)
def zone_of(name: str) -> tzinfo:
    """A zone of the IANA database. Raises ValueError for one that is unknown."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError, bad names the others
        raise ValueError(f"no zone {name}") from error


def moment(at: float, zone: str) -> Mapping[str, int]:
    """The facts of ``TIME`` at a moment in Unix seconds. Raises ValueError where the moment is not known."""
    if not 0 < at < float("inf"):
        raise ValueError("the policies look at the time, and when the call was made is not known")
    then = datetime.fromtimestamp(at, zone_of(zone))
    return {
        "hour": then.hour,
        "weekday": then.isoweekday(),
        "date": then.year * 10_000 + then.month * 100 + then.day,
    }


def changes_at(at: float) -> float:
    """Until when, at the least, the facts of the moment stay what they are (Unix seconds)."""
    return (at // QUARTER_S + 1) * QUARTER_S
