"""Clients, their keys, and what a request for a token must show. Values and pure rules.

Refusals of the token endpoint are Refused like any other; their code is one of RFC 6749 section 5.2, and
``details["why"]`` says for programs and Events what it was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from tenure.identity.model import AUDIENCE, LEEWAY_S, subject
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.oauth import jose

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_FORM = 32_768
MAX_ASSERTION = 8192
MAX_ASSERTION_S = 3600
"""Longest life of a client assertion, in seconds: that of the libraries that agents use."""

DPOP_WINDOW_S = 60
"""How long a DPoP proof is good for, in seconds; it is good once."""

MAX_KEYS = 20
MAX_KEY_DAYS = 365

_CLIENT = re.compile(r"spiffe://tenure/([a-z0-9-]{1,63})/agent/([a-z0-9-]{1,63})")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HEADER = frozenset({"alg", "kid", "typ"})
_PROOF_HEADER = frozenset({"alg", "typ", "jwk"})
_TYPES = frozenset({None, "JWT", "client-authentication+jwt"})
_REPEATED = frozenset({"resource", "audience"})


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A public key that an agent proves itself with. ``instance``: who holds the key is this instance of the agent.
    ``public`` is its JWK, ``kid`` what the agent calls it, ``thumbprint`` what everybody does (RFC 7638)."""

    workspace: str
    agent: str
    kid: str
    thumbprint: str
    alg: str
    public: JsonObject
    name: str
    instance: str
    added_at: datetime
    added_by: str
    expires_at: datetime
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    last_used_at: datetime | None = None

    def live(self, now: datetime) -> bool:
        """Whether it proves anything now."""
        return self.revoked_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks for a token, and how it was shown: ``method`` is one of RFC 8414's names. An agent has the ``key`` that
    it signed with; a public client has none, and stands for nobody by itself. ``agent`` is empty for what is no agent
    of the workspace."""

    id: str
    workspace: str
    agent: str
    method: str
    key: ClientKey | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """The parameters of a request (application/x-www-form-urlencoded), in the order they were sent."""

    pairs: tuple[tuple[str, str], ...]

    def one(self, name: str, default: str = "") -> str:
        """The value of a parameter that may be sent once."""
        return next((value for key, value in self.pairs if key == name), default)

    def all(self, name: str) -> list[str]:
        """Every value of one that may be repeated (``resource``, ``audience``)."""
        return [value for key, value in self.pairs if key == name]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request for a token from a client that has shown who it is. ``audience``: what the token is asked for
    (``resource``, RFC 8707); ``jkt``: the thumbprint of the key that it shall be bound to (RFC 9449), or empty.
    ``brought``: what the grant found out before (``Grant.before``)."""

    client: Client
    form: Form
    audience: str
    jkt: str
    now: datetime
    brought: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the token endpoint gives (RFC 6749 section 5.1). ``more``: members besides, as a grant type has them."""

    token: str = field(repr=False)
    expires_in: int
    scope: str = ""
    more: Mapping[str, Any] = field(default_factory=dict, repr=False)


def refusal(error: str, why: str, message: str, *, fix: str = "", status: int = 400) -> Refused:
    """A Refused of the token endpoint. ``error``: the code of RFC 6749 or of an extension; ``why``: ours."""
    return Refused(error, message, fix=fix, status=status, details={"why": why})


def form_of(body: bytes) -> Form:
    """The parameters of a body. Raises Refused (``invalid_request``) for what is none and for one that is repeated
    (RFC 6749 section 3.2)."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=50, errors="strict"
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise refusal("invalid_request", "bad_form", "The body is no form.", fix="Send it urlencoded.") from error
    names = [name for name, _ in pairs if name not in _REPEATED]
    if len(names) != len(set(names)):
        raise refusal("invalid_request", "repeated_parameter", "A parameter was sent twice.", fix="Send each once.")
    return Form(tuple((name, value) for name, value in pairs if value))


def agent_of(client_id: str) -> tuple[str, str] | None:
    """(workspace, agent) of an agent's client id, which is its SPIFFE id; None for any other."""
    found = _CLIENT.fullmatch(client_id)
    return (found[1], found[2]) if found else None


def client_id(workspace: str, agent: str) -> str:
    """An agent's client id."""
    return subject(workspace, agent)


def surfaces(gateway: str, control: str) -> dict[str, str]:
    """What tokens may be asked for (RFC 8707), and where each is good: ``gateway`` (all of it), ``control`` or both
    (``any``), or one wire of the gateway: ``llm``, ``mcp``, ``a2a``. The addresses end with no slash."""
    return {
        AUDIENCE: "any",
        gateway: "gateway",
        f"{gateway}/v1": "llm",
        f"{gateway}/mcp": "mcp",
        f"{gateway}/a2a": "a2a",
        control: "control",
    }


class Targets:
    """The audiences of ``surfaces``, one agent that is called (``<gateway>/a2a/<agent>``) included. A slash at the end
    of an address makes no difference."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known
        self.bases = tuple(name for name, surface in known.items() if surface == "gateway")

    def surface(self, audience: str) -> str:
        """Where a token for ``audience`` is good; empty for nowhere."""
        audience = audience.removesuffix("/")
        found = self._known.get(audience, "")
        base, _, agent = audience.rpartition("/")
        if not found and self._known.get(base) == "a2a" and _NAME.fullmatch(agent):
            return f"a2a/{agent}"
        return found

    def __contains__(self, audience: object) -> bool:
        return isinstance(audience, str) and self.surface(audience) != ""

    def __str__(self) -> str:
        return ", ".join(self._known)


def audience_of(form: Form, targets: Targets) -> str:
    """The audience that a request asks for; without a word the gateway with all that belongs to it. Raises Refused
    (``invalid_target``) for one that is not ours, and for several: a token for two could be shown to the one by the
    other."""
    wanted = list(dict.fromkeys(form.all("resource") or form.all("audience")))
    if not wanted:
        return AUDIENCE
    if len(wanted) > 1:
        raise refusal("invalid_target", "two_targets", "A token is for one resource.", fix="Ask once for each.")
    if wanted[0] not in targets:
        raise refusal("invalid_target", "unknown_target", "No such resource is here.", fix=f"There is {targets}.")
    return wanted[0]


# -- client assertions (RFC 7523) ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assertion:
    """A client assertion that was read and believed by nobody yet. ``kid`` is empty when it names no key."""

    client_id: str
    kid: str
    jti: str
    expires: float
    token: jose.Jws


def read_assertion(token: str, endpoints: Sequence[str], now: float) -> Assertion:
    """A client assertion as RFC 7523 section 3 has it. ``endpoints``: the issuer and the endpoint that is asked, of
    which it must name exactly one as its audience. Raises Refused (``invalid_client``, 401).

    Only what the signature covers is told apart here; whose signature it is, ``jose.holds`` says.
    """
    try:
        read = jose.read(token, types=_TYPES, members=_HEADER, most=MAX_ASSERTION)
    except jose.Unreadable as error:
        raise bad_client("assertion_malformed", f"The client assertion is not acceptable: {error}.") from error
    claims = read.claims
    issuer, kid, jti = claims.get("iss"), read.header.get("kid", ""), claims.get("jti")
    if not isinstance(issuer, str) or issuer != claims.get("sub") or not isinstance(kid, str) or len(kid) > 128:
        raise bad_client("assertion_malformed", "The client assertion must name its client as `iss` and as `sub`.")
    if not isinstance(jti, str) or not 1 <= len(jti) <= 255:
        raise bad_client("assertion_malformed", "The client assertion has no `jti`.")
    audience = claims.get("aud")
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    if not isinstance(audience, str) or audience not in endpoints:
        raise bad_client("assertion_wrong_audience", "The client assertion is meant for another server.")
    expires = _seconds(claims, "exp")
    starts = (
        max(_seconds(claims, name) for name in ("iat", "nbf") if name in claims)
        if {"iat", "nbf"} & set(claims)
        else now
    )
    if starts > now + LEEWAY_S:
        raise bad_client("assertion_malformed", "The client assertion is from the future.")
    if expires + LEEWAY_S <= now:
        raise bad_client("assertion_expired", "The client assertion has expired.")
    if expires > now + MAX_ASSERTION_S + LEEWAY_S:
        raise bad_client("assertion_malformed", f"The client assertion lives for more than {MAX_ASSERTION_S} seconds.")
    return Assertion(issuer, kid, jti, expires, read)


def bad_client(why: str, message: str) -> Refused:
    """``invalid_client``: whoever asks has not shown who it is."""
    fix = "Sign a fresh assertion with a key that `tenure agents keys list` shows."
    return refusal("invalid_client", why, message, fix=fix, status=401)


def _seconds(claims: JsonObject, name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise bad_client("assertion_malformed", f"Claim `{name}` of the client assertion is no number of seconds.")
    return float(value)


# -- proofs of possession (RFC 9449) ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proof:
    """A DPoP proof that holds: the thumbprint of the key that signed it, its id, which must not come again, and when it
    was made (Unix seconds)."""

    jkt: str
    jti: str
    issued: float


def bad_proof(message: str) -> Refused:
    """``invalid_dpop_proof``."""
    fix = "Make a proof for this very request: RFC 9449 section 4.2."
    return refusal("invalid_dpop_proof", "invalid_dpop_proof", message, fix=fix, status=401)


def read_proof(proof: str, *, method: str, urls: Sequence[str], now: float, ath: str = "", jkt: str = "") -> Proof:
    """A proof of possession as RFC 9449 section 4.3 has it, for a request of ``method`` to one of ``urls`` (no query).
    ``ath``: the digest of the token that it goes with; ``jkt``: the key that it must be signed with; both empty
    where a token is asked for. Raises Refused (``invalid_dpop_proof``, 401). Whether it came before is not asked."""
    if not proof:
        raise bad_proof("No DPoP proof was sent.")
    try:
        read = jose.read(proof, types=("dpop+jwt",), members=_PROOF_HEADER, most=MAX_ASSERTION)
        public = jose.public_jwk(read.header.get("jwk"))
        key = jose.thumbprint(public)
    except jose.Unreadable as error:
        raise bad_proof(f"The DPoP proof is not acceptable: {error}.") from error
    if jkt and key != jkt:
        raise bad_proof("The DPoP proof is signed with another key than the token's.")
    claims = read.claims
    jti, issued = claims.get("jti"), claims.get("iat")
    if not isinstance(jti, str) or not 1 <= len(jti) <= 255:
        raise bad_proof("The DPoP proof has no `jti`.")
    if claims.get("htm") != method or _target(claims.get("htu")) not in urls:
        raise bad_proof(f"The DPoP proof is for another request than {method} {urls[0][:200] if urls else ''}.")
    if isinstance(issued, bool) or not isinstance(issued, int | float) or not -LEEWAY_S <= now - issued < DPOP_WINDOW_S:
        raise bad_proof("The DPoP proof is not from this minute.")
    if ath and claims.get("ath") != ath:
        raise bad_proof("The DPoP proof is for another token.")
    if not jose.holds(read, public):
        raise bad_proof("The DPoP proof's signature does not hold.")
    return Proof(key, jti, float(issued))


def _target(url: object) -> str:
    """A request's address without query and fragment, as it is compared."""
    return url.partition("#")[0].partition("?")[0] if isinstance(url, str) else ""
