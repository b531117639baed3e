"""What a program asks for when it sends a person here to log in, and what comes of it. Values and pure rules.

Sources: OAuth 2.1 (draft-ietf-oauth-v2-1) section 4.1, RFC 7636 (PKCE, S256 only), RFC 8252 section 7.3 (loopback
ports), RFC 8707 (one resource), RFC 9207 (``iss`` in the answer), RFC 9449 section 10 (``dpop_jkt``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from tenure.kernel.errors import Refused
from tenure.kernel.scopes import Bound, bound

CODE_S = 60
"""Seconds that a code is good for: the browser hands it over at once."""
LOGIN_DAYS = 30
"""How long a program may renew its tokens before the person is asked again."""
SESSION_S = 3600.0
"""A program that has rested for longer goes on in another session: what it does then is another piece of work."""
MAX_REQUEST = 8192
MAX_REDIRECTS = 20

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_URI = re.compile(
    r"[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]{1,2000}"
)  # RFC 3986, without what never stands bare
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{1,63}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_BROWSERS_OWN = frozenset(
    {"about", "blob", "chrome", "content", "data", "file", "filesystem", "ftp", "intent", "jar", "javascript", "mailto"}
    | {"res", "sms", "tel", "vbscript", "view-source", "ws", "wss"}
)
_OFFLINE = "offline_access"
_PEER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Program:
    """A program that may ask: a public client (RFC 6749 section 2.1). ``how`` it is known: ``document`` (its id is the
    address of a document that says the rest), ``registration`` (it registered itself) or ``operator`` (a person did).
    Only of a document's address and of what an operator wrote is anything more known than that somebody says so."""

    id: str
    workspace: str
    name: str
    redirects: tuple[str, ...]
    how: str
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a program asks for, with every rule kept. ``audience``: what the token will be good for."""

    program: str
    redirect: str
    audience: str
    scopes: Bound
    state: str
    challenge: str
    jkt: str = ""


@dataclass(frozen=True, slots=True)
class Turned:
    """A request that is answered with an error at the program: the address to send the browser to, and why."""

    location: str = field(repr=False)
    why: str
    message: str


@dataclass(frozen=True, slots=True)
class Login:
    """What a person has allowed: that a program acts as one of their agents, on their behalf, until ``expires_at``.

    ``id`` is the instance that Events tell of. ``begun_at`` is None until the program has traded its code in;
    ``epoch`` the agent's credentials at that time, whose end is the login's. ``jkt``: the key that all its tokens are
    bound to; empty for none."""

    id: str
    workspace: str
    email: str
    agent: str
    program: str
    program_name: str
    how: str
    redirect: str
    audience: str
    scopes: Bound
    challenge: str
    epoch: int
    jkt: str
    session: str
    allowed_at: datetime
    expires_at: datetime
    begun_at: datetime | None = None
    last_used_at: datetime | None = None
    ended_at: datetime | None = None
    ended_by: str = ""
    why: str = ""


def checked_redirect(uri: str) -> str:
    """An address that a program may have the browser sent back to. Raises Refused for one where the answer would go
    over the open network, to this browser itself, or to nobody knows whom."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        parts, port = None, None
    problem = ""
    if parts is None or not _URI.fullmatch(uri) or not _SCHEME.fullmatch(parts.scheme) or port == 0:
        problem = "it is no address"
    elif "#" in uri or "*" in uri or "@" in parts.netloc:
        problem = "it has a fragment, a wildcard or a user in it"
    elif parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        problem = "plain http is for this machine only"
    elif parts.scheme in ("http", "https") and not parts.hostname:
        problem = "it names no host"
    elif parts.scheme in _BROWSERS_OWN:
        problem = f"{parts.scheme}: is no program"
    if problem:
        raise Refused(
            "invalid_redirect_uri",
            f"{uri[:200]!r} cannot be where the browser is sent back to: {problem}.",
            fix="Use https, http on 127.0.0.1, or a scheme of the program's own.",
        )
    return uri


def same_place(registered: str, asked: str) -> bool:
    """Whether an address is the registered one: to the letter, but for the port on this machine, which a program finds
    out only when it listens (RFC 8252 section 7.3)."""
    if registered == asked:
        return True
    try:
        one, other = urlsplit(registered), urlsplit(asked)
        loopback = one.scheme == "http" and one.hostname in _LOOPBACK
        return (
            loopback
            and "@" not in other.netloc
            and one._replace(netloc="") == other._replace(netloc="")
            and one.hostname == other.hostname
            and (other.port is None or other.port > 0)
        )
    except ValueError:
        return False


def parameters(query: str) -> dict[str, str]:
    """The parameters of an authorization request. Raises Refused for one that is unreadable or was sent twice: what two
    readers could read in two ways is not answered (OAuth 2.1 section 4.1.1)."""
    if len(query) > MAX_REQUEST:
        raise _unreadable("it is too long")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=50, errors="strict")
    except (ValueError, UnicodeDecodeError) as error:
        raise _unreadable("it is no query") from error
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _unreadable("a parameter was sent twice")
    return found


def _unreadable(why: str) -> Refused:
    return Refused(
        "bad_authorization_request",
        f"The program asks in a way that cannot be read: {why}.",
        fix="Nothing was allowed. Tell whoever makes the program.",
    )


def asked(found: Mapping[str, str], program: Program, issuer: str, gateway: str) -> Asked | Turned:
    """What ``program`` asks for, or the error that it is answered. Raises Refused where the browser must not be sent
    anywhere: to an address that is not the program's."""
    redirect = found.get("redirect_uri", "")
    if not redirect and len(program.redirects) == 1:
        redirect = program.redirects[0]
    if not any(same_place(one, redirect) for one in program.redirects):
        raise Refused(
            "wrong_redirect_uri",
            "The address that the browser would be sent back to is not one of the program's own. Nothing was allowed.",
            fix="Do not try again unless you know what sent you here: this is how a login is stolen.",
            details={"redirect_uri": redirect[:200]},
        )
    state, fault = found.get("state", ""), _fault(found)
    scopes: Bound = ()
    target = audience_of(found.get("resource", ""), gateway)
    if fault is None and target is None:
        fault = "invalid_target", "resource", "Name the resource: the address of the gateway that is called."
    audience, whole = target or ("", ())
    words = [word for word in found.get("scope", "").split(" ") if word and word != _OFFLINE]
    try:
        scopes = bound(words or whole)
    except Refused as error:
        fault = fault or ("invalid_scope", "scope", error.message)
    if fault is not None:
        error_code, why, message = fault
        return Turned(answer(redirect, issuer, state, error=error_code, error_description=message), why, message)
    return Asked(program.id, redirect, audience, scopes, state, found["code_challenge"], found.get("dpop_jkt", ""))


def _fault(found: Mapping[str, str]) -> tuple[str, str, str] | None:
    """(error, why, words) of a request that breaks a rule of the protocol itself; None when it keeps them."""
    if found.get("response_type") != "code":
        return "unsupported_response_type", "response_type", "Only the response type code is answered."
    if "request" in found or "request_uri" in found:
        return "request_not_supported", "request_object", "Requests are sent as parameters here."
    if found.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(found.get("code_challenge", "")):
        return "invalid_request", "pkce", "PKCE with S256 is needed: code_challenge and code_challenge_method."
    jkt = found.get("dpop_jkt", "")
    if jkt and not _CHALLENGE.fullmatch(jkt):
        return "invalid_request", "dpop_jkt", "dpop_jkt is no thumbprint."
    return None


def audience_of(resource: str, gateway: str) -> tuple[str, tuple[str, ...]] | None:
    """(audience of the token, scopes that a request without any asks for) of what a program wants to reach; None for
    what is no surface of the gateway (RFC 8707)."""
    everything = ("tool:*", "agent:*", "model:*", "data:*")
    if not resource.startswith(gateway):
        return None
    path = resource.removeprefix(gateway).rstrip("/")
    whole = {"": everything, "/mcp": ("tool:*", "data:*"), "/v1": ("model:*", "data:*"), "/a2a": ("agent:*", "data:*")}
    if path in whole:
        return gateway + path, whole[path]
    peer = path.removeprefix("/a2a/") if path.startswith("/a2a/") else ""
    return (gateway + path, (f"agent:{peer}", "data:*")) if _PEER.fullmatch(peer) else None


def answer(redirect: str, issuer: str, state: str, **more: str) -> str:
    """The address that takes an answer to the program (RFC 6749 section 4.1.2), and names who answers (RFC 9207),
    so that no other server's answer is taken for ours."""
    given = {name: value for name, value in {**more, "state": state, "iss": issuer}.items() if value}
    parts = urlsplit(redirect)
    query = "&".join(filter(None, (parts.query, urlencode(given, quote_via=quote))))
    base = redirect.partition("?")[0]
    return f"{base}?{query}"


def proves(verifier: str, challenge: str) -> bool:
    """Whether a verifier is the one whose hash was sent at the beginning (RFC 7636 section 4.6, S256)."""
    if not _VERIFIER.fullmatch(verifier):
        return False
    found = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).decode().rstrip("=")
    return hmac.compare_digest(found, challenge)


# -- documents that clients are known by ------------------------------------------------------------------------------


def is_document(client_id: str) -> bool:
    """Whether a client's id is the address of a document (draft-ietf-oauth-client-id-metadata-document)."""
    return client_id.startswith(("https://", "http://"))


def checked_document_address(client_id: str, *, loopback: bool) -> str:
    """The address of a client's document. Raises Refused unless it is https with a path, to the letter as it will be
    asked for. ``loopback``: one on this machine will do, and needs no TLS (for development)."""
    try:
        parts = urlsplit(client_id)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _no_document("it is no address") from None
    here = host in _LOOPBACK
    if not _URI.fullmatch(client_id) or len(client_id) > 500 or not host or port == 0:
        raise _no_document("it is no address")
    if parts.scheme != "https" and not (here and loopback):
        raise _no_document("it is not https")
    if here and not loopback:
        raise _no_document("it is on this machine")
    if "#" in client_id or "@" in parts.netloc or parts.path in ("", "/"):
        raise _no_document("it has a user, a fragment or no path")
    if any(piece in (".", "..") for piece in parts.path.split("/")):
        raise _no_document("its path has dots for names")
    return client_id


def program_of_document(client_id: str, document: object, workspace: str, now: datetime) -> Program:
    """The program that a document tells of. Raises Refused for one that is not about ``client_id``, or of a client that
    keeps a secret: nobody keeps one in a document that everybody reads."""
    if not isinstance(document, dict):
        raise _no_document("it is no JSON object")
    if document.get("client_id") != client_id:
        raise _no_document("it is about another client")
    if "client_secret" in document or document.get("token_endpoint_auth_method", "none") != "none":
        raise _no_document("it is of a client that keeps a secret")
    name, redirects = described(document)
    return Program(client_id, workspace, name or str(urlsplit(client_id).hostname), redirects, "document", now, "")


def described(metadata: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    """(name, redirect URIs) of client metadata (RFC 7591 section 2). Raises Refused for redirect URIs that are none,
    and for grants that a public client cannot have."""
    redirects = metadata.get("redirect_uris")
    if not isinstance(redirects, list) or not 1 <= len(redirects) <= MAX_REDIRECTS:
        text = f"redirect_uris must be a list of 1 to {MAX_REDIRECTS} addresses."
        raise Refused("invalid_redirect_uri", text, fix="Name every address exactly.")
    found = tuple(checked_redirect(one) if isinstance(one, str) else checked_redirect("") for one in redirects)
    grants = metadata.get("grant_types", ["authorization_code"])
    if not isinstance(grants, list) or "authorization_code" not in grants:
        text = "A program that logs people in uses the grant authorization_code."
        raise Refused("invalid_client_metadata", text, fix="Name it in grant_types.")
    return shown_name(metadata.get("client_name")), found


def shown_name(name: object) -> str:
    """What a program calls itself, as it can be shown: one line, nothing unseen in it, at most 80 characters."""
    if not isinstance(name, str):
        return ""
    return " ".join("".join(one if one.isprintable() else " " for one in name).split())[:80]


def _no_document(why: str) -> Refused:
    return Refused(
        "bad_client_document",
        f"The program's document cannot be used: {why}.",
        fix="Nothing was allowed. Tell whoever makes the program, or ask an operator to register it.",
        details={"why": why},
    )


def no_document(why: str) -> Refused:
    """The refusal of a client's document."""
    return _no_document(why)


def words_of(scopes: Sequence[str]) -> list[str]:
    """What scopes let a program do, in words, in their order."""
    return [_words(*scope.split(":", 1)) for scope in scopes]


def _words(kind: str, pattern: str) -> str:
    every, some = {
        "tool": (
            "Use every tool that the agent was granted",
            "Use the tools {}" if "*" in pattern else "Use the tool {}",
        ),
        "agent": ("Give work to every agent that it may call", "Give work to the agent {}"),
        "model": ("Ask every model that it was granted", "Ask the models {}"),
        "data": ("Work with data of every class that it handles", "Work with data of class {}"),
    }[kind]
    return every if pattern == "*" else some.format(pattern)
