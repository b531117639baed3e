"""Rules of trust, and when the claims of an outside token fulfil one. Pure: what is checked here was signed by a key
that the rule leads to, which ``signed`` and ``svid`` see to.

A rule says: a token of this issuer, for this audience, with a subject and claims like these, is this agent. Nothing in
a token chooses the agent or the rule, and nothing is believed that no rule names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.naming import uri_matches

LEEWAY_S = 60.0
"""How far the clock of an outside issuer may be off, in seconds."""

MAX_TOKEN = 16_384
MAX_RULES = 200
MAX_DAYS = 366
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DOMAIN = re.compile(r"spiffe://[a-z0-9._-]{1,255}")
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Rule:
    """Whose word is taken for one agent.

    ``issuer``: the ``iss`` of an OpenID Connect issuer, or a trust domain as ``spiffe://example.org``. ``subject`` and
    ``claims`` are patterns in which ``*`` stands for any run of characters; of a claim that is a list one value must
    fit. ``audience``: what the token must be meant for, empty for this installation. ``keys`` are public JWKs and
    ``authorities`` X.509 certificates (base64 of DER); without either the issuer's own key set is asked for."""

    workspace: str
    name: str
    agent: str
    issuer: str
    subject: str
    audience: str
    claims: Mapping[str, str]
    expires_at: datetime
    created_at: datetime
    created_by: str
    keys: tuple[JsonObject, ...] = field(default=(), repr=False)
    authorities: tuple[str, ...] = field(default=(), repr=False)

    @property
    def spiffe(self) -> bool:
        """Whether it is about a SPIFFE trust domain."""
        return self.issuer.startswith("spiffe://")


@dataclass(frozen=True, slots=True)
class Believed:
    """What a rule made of an outside token: which agent it is, who it is elsewhere, and until when (Unix seconds) the
    token says so. ``how``: oidc, jwt-svid or x509-svid. ``once``: an id that must not be taken twice, or empty."""

    rule: Rule
    subject: str
    how: str
    expires: float
    once: str = ""


def unbelieved(why: str, message: str) -> Refused:
    """The refusal (401) of an outside token. ``why`` is for programs and Events."""
    fix = "See what is trusted: `tenure trust list`."
    return Refused("untrusted", message, fix=fix, status=401, details={"why": why})


def trusted_issuer(text: str) -> str:
    """An issuer's address over TLS (or of this very machine), or a trust domain. Raises Refused (422)."""
    try:
        parts = urlsplit(text)
        plain = not (parts.query or parts.fragment or parts.username)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
    except ValueError:
        plain = safe = False
    if len(text) > 500 or not (_DOMAIN.fullmatch(text) or (plain and safe and parts.hostname)):
        raise Refused(
            "bad_issuer",
            f"{text[:200]!r} is neither an https address nor a SPIFFE trust domain.",
            fix="Give the `iss` of the issuer's tokens, or spiffe://example.org.",
            status=422,
        )
    return text


def rule_name(text: str) -> str:
    """``text`` as a rule's name. Raises Refused (422) for anything else."""
    if not _NAME.fullmatch(text):
        raise Refused(
            "bad_name",
            "A rule's name is 1 to 63 lower-case letters, digits and hyphens.",
            fix="Name it for what it lets in: `k8s-prod-clerk`.",
            status=422,
        )
    return text


def narrow_enough(rule: Rule) -> None:
    """Raises Refused (422) for a rule that takes everybody of an issuer for the agent, or whose parts do not fit."""
    patterns = [rule.subject, *rule.claims.values()]
    if any(not 0 < len(one) <= 500 or not one.isprintable() for one in (*patterns, *rule.claims, rule.agent)):
        raise Refused(
            "bad_rule", "Subject, claims and agent are short printable text.", fix="Shorten them.", status=422
        )
    if not any(one.strip("*") for one in patterns):
        raise Refused(
            "rule_too_wide",
            "Everybody whom the issuer knows would be this agent.",
            fix="Name the subject, or a claim that only this workload has.",
            status=422,
        )
    if rule.spiffe and not rule.subject.startswith(f"{rule.issuer}/"):
        raise Refused(
            "bad_subject",
            f"A subject of this trust domain begins with {rule.issuer}/.",
            fix="Give the SPIFFE ID, or a pattern of it.",
            status=422,
        )
    if rule.spiffe and not rule.keys and not rule.authorities:
        raise Refused(
            "no_bundle", "A trust domain needs its bundle.", fix="Send it with `--bundle bundle.json`.", status=422
        )
    if not rule.spiffe and rule.authorities:
        raise Refused("bad_bundle", "Only a trust domain has certificates.", fix="Send a JWK set.", status=422)


def fulfilled(rule: Rule, claims: JsonObject, audiences: Sequence[str], now: float) -> float:
    """When the token ends (Unix seconds), if ``claims`` fulfil ``rule``. ``audiences``: what this installation is
    called. Raises Refused (401). Source: RFC 7519 section 4.1, RFC 7523 section 3, SPIFFE JWT-SVID section 3."""
    if now >= rule.expires_at.timestamp():
        raise unbelieved("trust_expired", f"The rule {rule.name} has expired.")
    if not rule.spiffe and claims.get("iss") != rule.issuer:
        raise unbelieved("wrong_issuer", "The token is of another issuer.")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not uri_matches(rule.subject, subject):
        raise unbelieved("wrong_subject", f"The rule {rule.name} is about somebody else.")
    told = claims.get("aud")
    meant = [told] if isinstance(told, str) else told if isinstance(told, list) else []
    if not {rule.audience} & set(map(str, meant)) if rule.audience else not set(audiences) & set(map(str, meant)):
        raise unbelieved("wrong_audience", "The token is meant for another service.")
    if not all(_fits(pattern, claims.get(name)) for name, pattern in rule.claims.items()):
        raise unbelieved("wrong_claims", f"The token's claims are not those that the rule {rule.name} asks for.")
    expires = _seconds(claims, "exp")
    if expires + LEEWAY_S <= now:
        raise unbelieved("token_expired", "The token has expired.")
    if any(_seconds(claims, name) > now + LEEWAY_S for name in ("iat", "nbf") if name in claims):
        raise unbelieved("token_from_the_future", "The token is from the future.")
    return expires


def _fits(pattern: str, value: Json) -> bool:
    values = value if isinstance(value, list) else [value]
    texts = [str(one).lower() if isinstance(one, bool) else str(one) for one in values if isinstance(one, str | int)]
    return any(uri_matches(pattern, text) for text in texts)


def _seconds(claims: JsonObject, name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise unbelieved("malformed", f"Claim `{name}` of the token is no number of seconds.")
    return float(value)
