"""What an agent's token is and when it is believed, and the pure rules for people and browsers.

The gateway calls ``verify`` for every token it has not seen, so nothing here touches a database, a file or a clock.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from tenure.identity import chain
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.values import PEOPLE, Actor, Principal, Role

AUDIENCE = "tenure-gateway"
COOKIE = "tenure_session"
DEVICE_COOKIE = "tenure_device"
OIDC_COOKIE = "tenure_oidc"
CONSOLE = "console"  # what the peer of a request is called that the console makes within the control plane itself
LEEWAY_S = 5.0
MAX_TOKEN_CHARS = 4096
MAX_TTL_S = 86_400
MAX_TEXT = 255

_REGISTRY = jws.JWSRegistry(algorithms=["ES256"])
_HEADER = {"alg", "kid", "typ"}
_TYPES = {"at+jwt", "JWT", None}
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_KID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_WORKSPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,118}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class AgentToken:
    """A token just signed. Nothing keeps it but the agent it is for."""

    token: str = field(repr=False)
    expires_at: datetime
    jti: str = ""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs agents' tokens from ``signs_at`` on (None: it comes next, and nobody knows when) and is believed
    until ``retires_at`` (None: it was not replaced)."""

    kid: str
    created_at: datetime
    signs_at: datetime | None = None
    retires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that was believed: who bears it, what it is good for, and the thumbprint of the key whose possession must
    be shown with it (``jkt``, RFC 9449); empty for a plain bearer token."""

    principal: Principal
    audience: str
    jkt: str = ""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A tenant. ``created_by`` is an actor."""

    name: str
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody's place in a workspace. ``home`` is the workspace whose word is taken for who this is: login links,
    passwords and passkeys of that workspace and of no other make a session that may enter this one."""

    workspace: str
    email: str
    roles: frozenset[Role]
    created_at: datetime
    home: str

    @property
    def actor(self) -> Actor:
        """The person as verbs know it."""
        return Actor(self.workspace, f"person:{self.email}", self.roles)


@dataclass(frozen=True, slots=True)
class LoginLink:
    """A one-time code and the page that takes it."""

    email: str
    code: str = field(repr=False)
    url: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A person's session in a browser, just opened. ``token`` is the value of the cookie, and known to the browser
    alone."""

    token: str = field(repr=False)
    actor: Actor
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as it is kept. ``id`` names it and opens nothing; ``home`` is the workspace that said who this is and
    ``method`` how: link, password, passkey or oidc. ``subject`` and ``sid``: digests of whom and of which of its own
    sessions the issuer spoke, empty where none did."""

    id: str
    workspace: str
    email: str
    home: str
    method: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    address: str
    browser: str
    subject: str = ""
    sid: str = ""


@dataclass(frozen=True, slots=True)
class Passkey:
    """A person's passkey: ``id`` is a digest of the credential's id, ``public_key`` COSE in base64."""

    id: str
    workspace: str
    email: str
    name: str
    public_key: str
    sign_count: int
    created_at: datetime
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token for programs, without its secret: a person's (``email``) or a service account's (``service``). ``prefix``
    is how the secret begins; ``scopes`` what it is limited to, None for all that its holder may do."""

    id: str
    workspace: str
    email: str | None
    service: str | None
    name: str
    prefix: str
    scopes: tuple[str, ...] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A service account: a program with a name and roles of its own, and keys that are shown once."""

    workspace: str
    name: str
    roles: frozenset[Role]
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What the first start made, or a later one found: the first operator and a fresh one-time code to log in with."""

    email: str
    login_code: str | None = field(repr=False)


def cookie_name(name: str, secure: bool) -> str:
    """A cookie's name: over TLS with the prefix that makes browsers refuse it from anywhere but this very host (RFC
    6265bis section 4.1.3.2)."""
    return f"__Host-{name}" if secure else name


def secret_hash(secret: str) -> str:
    """What the database keeps of a code, a cookie or an API token. These are 192 random bits or more, so one round of
    SHA-256 is enough: there is nothing to guess."""
    return hashlib.sha256(b"tenure secret v1\n" + secret.encode("utf-8", "replace")).hexdigest()


subject_of = chain.subject_of
claims_of = chain.claims_of


def subject(workspace: str, agent: str) -> str:
    """An agent's name to the world, as a SPIFFE id."""
    return chain.spiffe_id(workspace, agent)


def agent_claims(
    principal: Principal, *, issuer: str, audience: str, issued_at: float, jti: str, jkt: str = ""
) -> dict[str, Any]:
    """The claims of a token for ``principal``, which ends at ``principal.expires_at`` (Unix seconds). ``jkt``: the
    thumbprint of the key that it is bound to (RFC 9449 section 6). Source: RFC 9068 section 2.2."""
    name = subject(principal.workspace, principal.agent)
    bound = {"cnf": {"jkt": jkt}} if jkt else {}
    return bound | {
        "iss": issuer,
        "aud": audience,
        "sub": chain.subject_of(principal),
        "client_id": name,
        "iat": issued_at,
        "exp": principal.expires_at,
        "jti": jti,
        "ws": principal.workspace,
        "agent": principal.agent,
        "release": principal.release,
        "instance": principal.instance,
        "session": principal.session,
        "epoch": principal.credential_epoch,
        **({"started": True} if principal.started else {}),
        **chain.claims_of(principal),
    }


def sign(claims: JsonObject, private_jwk: JsonObject) -> str:
    """A compact JWS (RFC 7515) of ``claims`` by a private P-256 key that has a ``kid``."""
    header = {"alg": "ES256", "kid": private_jwk["kid"], "typ": "at+jwt"}
    key = ECKey.import_key(dict(private_jwk))
    return jws.serialize_compact(header, msgspec.json.encode(claims), key, registry=_REGISTRY)


def sign_detached(header: JsonObject, payload: bytes, private_jwk: JsonObject) -> tuple[str, str]:
    """(protected header, signature), both in base64url, of a JWS (RFC 7515, appendix F) whose payload is elsewhere."""
    key = ECKey.import_key(dict(private_jwk))
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    protected, _, signature = jws.serialize_compact(dict(header), payload, key, registry=registry).split(".")
    return protected, signature


def _dead(code: str, message: str) -> Refused:
    return Refused(code, message, fix="Start the agent with `tenure run` to get a new token.", status=401)


def _malformed(what: str) -> Refused:
    return _dead("token_malformed", f"The token is not one of Tenure's: {what}.")


@lru_cache(maxsize=64)
def _public_key(x: str, y: str) -> ECKey:
    return ECKey.import_key({"kty": "EC", "crv": "P-256", "x": x, "y": y})


def _checked_signature(token: str, keys: Mapping[str, JsonObject]) -> tuple[bytes, str]:
    """The payload of a token whose signature holds, and the id of the key that it holds under."""
    if len(token) > MAX_TOKEN_CHARS:
        raise _malformed(f"it is longer than {MAX_TOKEN_CHARS} characters")
    try:
        signed = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY)
        header = signed.headers()
    except (JoseError, ValueError, TypeError, RecursionError, AttributeError) as error:
        raise _malformed("it is not a compact JWS") from error
    if not isinstance(header, dict) or not set(header) <= _HEADER or header.get("typ") not in _TYPES:
        raise _malformed("its header has members that it may not have")
    if header.get("alg") != "ES256":
        raise _dead("token_bad_signature", "The token is not signed with ES256.")
    kid = header.get("kid")
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise _malformed("its header names no key")
    jwk = keys.get(kid)
    if jwk is None:
        raise _dead("token_unknown_key", "The token is signed by a key that is not, or no longer, Tenure's.")
    try:
        valid = jws.validate_compact(signed, _public_key(str(jwk["x"]), str(jwk["y"])), registry=_REGISTRY)
    except (JoseError, ValueError, TypeError):
        valid = False
    if not valid:
        raise _dead("token_bad_signature", "The token's signature does not hold.")
    return signed.payload or b"", kid


def _text(claims: JsonObject, name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
        raise _malformed(f"claim `{name}` must be text of at most {MAX_TEXT} characters")
    return value


def _number(claims: JsonObject, name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _malformed(f"claim `{name}` must be a number of seconds")
    return float(value)


def _bound_to(claims: JsonObject) -> str:
    """The thumbprint of the key that a token is bound to; empty when it is bound to none. A binding that is not
    understood is one that could not be checked, so it is refused."""
    bound = claims.get("cnf")
    if bound is None:
        return ""
    jkt = bound.get("jkt") if isinstance(bound, dict) and set(bound) == {"jkt"} else None
    if not isinstance(jkt, str) or not _THUMBPRINT.fullmatch(jkt):
        raise _malformed("it is bound to something that is no key's thumbprint")
    return jkt


def verify(token: str, keys: Mapping[str, JsonObject], issuer: str, audience: str, now: float) -> Principal:
    """Who the bearer of a token for ``audience`` is that is bound to no key; otherwise as ``verified``."""
    found = verified(token, keys, issuer, (audience,), now)
    if found.jkt:
        raise _dead("token_bound", "The token is bound to a key, and nothing shows that its bearer has that key.")
    return found.principal


def verified(
    token: str, keys: Mapping[str, JsonObject], issuer: str, audiences: Container[str], now: float
) -> Verified:
    """Who the bearer of ``token`` is, if it is for one of ``audiences``. ``keys``: kid to public JWK; ``now``: Unix
    seconds.

    Raises Refused (401) with code token_malformed, token_bad_signature, token_unknown_key, token_wrong_issuer,
    token_wrong_audience or token_expired. Not judged here: the credential epoch, which takes the agent's fact, and
    whether the bearer has the key that the token is bound to, which takes the request.
    Source: RFC 7519, RFC 8725 sections 3.1, 3.8 to 3.11, RFC 9068 section 4.
    """
    payload, kid = _checked_signature(token, keys)
    try:
        claims = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _malformed("its claims are not JSON") from error
    if not isinstance(claims, dict):
        raise _malformed("its claims are not an object")
    if _text(claims, "iss") != issuer:
        raise _dead("token_wrong_issuer", "The token was issued by another installation.")
    audience = _text(claims, "aud")
    if audience not in audiences:
        raise _dead("token_wrong_audience", "The token is meant for another service.")
    issued, expires = _number(claims, "iat"), _number(claims, "exp") + LEEWAY_S
    if issued > now + LEEWAY_S:
        raise _malformed("it is from the future")
    if expires - issued > MAX_TTL_S + LEEWAY_S:
        raise _malformed("it lives for longer than a token may")
    if expires <= now:
        raise _dead("token_expired", "The token has expired.")
    epoch = claims.get("epoch")
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
        raise _malformed("claim `epoch` must be a whole number")
    jti, jkt = _text(claims, "jti"), _bound_to(claims)
    principal = Principal(
        workspace=_text(claims, "ws"),
        agent=_text(claims, "agent"),
        release=_text(claims, "release"),
        instance=_text(claims, "instance"),
        session=_text(claims, "session"),
        credential_epoch=epoch,
        on_behalf_of=_text(claims, "obo") if claims.get("obo") is not None else None,
        expires_at=expires,
        token_id=jti,
        issued_at=issued,
        key=kid,
        started=claims.get("started") is True,
    )
    try:
        return Verified(replace(principal, **chain.read(claims, principal)), audience, jkt)
    except ValueError as error:
        raise _malformed(str(error)) from error


def csrf_ok(method: str, headers: Mapping[str, str], host: str) -> bool:
    """Whether a request that is authenticated by a cookie may change something. ``headers`` by lower-case name,
    ``host`` as the ``Host`` header has it.

    Reads always may. A change needs a sign that another site cannot send: the header ``x-tenure-csrf`` (a page of
    another origin may not set it without asking), else ``Sec-Fetch-Site: same-origin``, else our own ``Origin``.
    """
    if method.upper() in {"GET", "HEAD", "OPTIONS"}:
        return True
    if headers.get("x-tenure-csrf"):
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    try:
        origin = urlsplit(headers.get("origin", ""))
    except ValueError:
        return False
    return bool(host) and origin.scheme in {"http", "https"} and origin.netloc.lower() == host.lower()


def email_address(text: str) -> str:
    """``text`` as an e-mail address in lower case. Raises Refused for anything else."""
    email = text.strip().lower()
    if not _EMAIL.fullmatch(email):
        raise Refused("bad_email", "This is not an e-mail address.", fix="Write it as name@example.com.", status=422)
    return email


def workspace_name(text: str) -> str:
    """``text`` as a workspace's name. Raises Refused for anything else."""
    if not _WORKSPACE.fullmatch(text):
        raise Refused(
            "bad_workspace",
            "A workspace's name is 1 to 63 lower-case letters, digits and hyphens, and begins and ends with no hyphen.",
            fix="Name it as you would a machine: `payments-eu`.",
            status=422,
        )
    return text


def service_name(text: str) -> str:
    """``text`` as a service account's name. Raises Refused for anything else."""
    if not _WORKSPACE.fullmatch(text):
        raise Refused(
            "bad_name",
            "A service account's name is 1 to 63 lower-case letters, digits and hyphens.",
            fix="Name it for what it does: `ci-deploy`.",
            status=422,
        )
    return text


def human_roles(names: list[str]) -> frozenset[Role]:
    """Roles that a person can have. Raises Refused for none, for an unknown one, and for ``system``."""
    allowed = sorted(PEOPLE)
    wrong = sorted(set(names) - set(allowed))
    if wrong or not names:
        found = f"{', '.join(wrong)} is not a role of people" if wrong else "A person needs a role"
        raise Refused("bad_role", f"{found}.", fix=f"Choose from {', '.join(allowed)}.", status=422)
    return frozenset(Role(name) for name in names)
