"""Logging in at another issuer: OpenID Connect Core 1.0 with the code flow, PKCE (RFC 7636), state bound to the
browser, nonce, and the issuer's name in the answer (RFC 9207)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

import httpx2
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy.engine import Connection

from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import account_store, logins, people, store
from tenure.identity.logins import Visitor
from tenure.identity.model import Person, Session, email_address, human_roles, secret_hash
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Role

LIFE = timedelta(minutes=10)
_ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"]
_MAX_BYTES = 1 << 20
_FRESH_S = 600.0
_LEEWAY_S = 60.0
_NO_ROLE = "no_role"
_known: dict[str, tuple[float, Mapping[str, Any]]] = {}


class Issuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule of trust, as the file that TENURE_OIDC names lists them: whose word is taken, for which workspace, and
    which roles follow from which values of a claim.

    A session that begins at the issuer ends after ``session_s`` seconds at the latest, and nothing of a person
    (session, API token, place in another workspace) is good for anything ``vouched_s`` seconds after their last login
    there."""

    name: str
    issuer: str
    client_id: str
    workspace: str
    roles: dict[str, list[str]]
    roles_claim: str = "groups"
    email_claim: str = "email"
    default_roles: list[str] = []
    client_secret_file: str = ""
    session_s: Annotated[int, msgspec.Meta(ge=60, le=86_400)] = 3_600
    vouched_s: Annotated[int, msgspec.Meta(ge=60, le=31 * 86_400)] = 86_400


@dataclass(frozen=True, slots=True)
class Sent:
    """Where to send the browser, and what it must bring back as a cookie."""

    url: str
    binding: str


def issuers(config: Config) -> list[Issuer]:
    """The rules of trust. Raises Refused for a file that cannot be read or does not say what it must."""
    if not config.oidc:
        return []
    try:
        found = msgspec.json.decode(Path(config.oidc).read_bytes(), type=list[Issuer])
        for one in found:
            _checked_url(one.issuer)
            human_roles([role for roles in one.roles.values() for role in roles] or one.default_roles)
    except (OSError, msgspec.MsgspecError, Refused) as error:
        raise Refused(
            "bad_oidc",
            f"{config.oidc} is no list of issuers: {error}",
            fix="See docs/oidc.md for what it holds.",
            status=500,
        ) from error
    return found


def issuer_of(world: World, name: str) -> Issuer:
    """The rule of this name. Raises Refused (404)."""
    found = [one for one in issuers(world.config) if one.name == name]
    if not found:
        raise Refused("unknown_issuer", f"Nobody logs in with {name} here.", fix="See the login page.", status=404)
    return found[0]


def _checked_url(url: str) -> str:
    """Raises Refused unless it is over TLS, or of this very machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}):
        return url
    raise Refused("insecure_issuer", f"{url} is not an https address.", status=422)


def _answer(method: str, url: str, **more: Any) -> Any:
    try:
        with httpx2.Client(timeout=10, trust_env=False, follow_redirects=False) as client:
            answer = client.request(method, _checked_url(url), **more)
            if answer.status_code != 200 or len(answer.content) > _MAX_BYTES:
                raise Failed("issuer_unavailable", f"{urlsplit(url).netloc} answered {answer.status_code}.", status=502)
            return answer.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise Failed("issuer_unavailable", f"{urlsplit(url).netloc} does not answer.", retry=True) from error


def _document(url: str, *, anew: bool = False) -> Mapping[str, Any]:
    kept = _known.get(url)
    if kept is None or anew or time.monotonic() - kept[0] > _FRESH_S:
        kept = _known[url] = (time.monotonic(), _answer("GET", url))
    return kept[1]


def discovered(issuer: Issuer) -> Mapping[str, Any]:
    """What the issuer says of itself. Raises Failed when it does not, or says that it is another."""
    found = _document(issuer.issuer.rstrip("/") + "/.well-known/openid-configuration")
    if found.get("issuer") != issuer.issuer:
        raise Failed("issuer_unavailable", f"{issuer.issuer} says that it is somebody else.", status=502)
    return found


def redirect_uri(config: Config, name: str) -> str:
    """Where an issuer sends the browser back to."""
    return f"{config.public_url.rstrip('/') or config.control_url}/login/from/{name}"


def begin(world: World, name: str, back: str) -> Sent:
    """The beginning of a login at an issuer."""
    issuer = issuer_of(world, name)
    state, nonce, verifier, binding = (secrets.token_urlsafe(32) for _ in range(4))
    asked = {"name": name, "nonce": nonce, "verifier": verifier, "binding": secret_hash(binding), "back": back}
    place = _checked_url(str(discovered(issuer)["authorization_endpoint"]))
    with world.begin() as conn:
        account_store.add_challenge(
            conn, secret_hash(state), issuer.workspace, kind="oidc", data=asked, now=world.clock(), life=LIFE
        )
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code",
        "client_id": issuer.client_id,
        "redirect_uri": redirect_uri(world.config, name),
        "scope": "openid email profile",
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return Sent(f"{place}{'&' if '?' in place else '?'}{urlencode(query)}", binding)


def _refused(message: str) -> Refused:
    return Refused("bad_oidc_login", message, fix="Begin again from the login page.", status=401)


def finish(
    world: World, name: str, *, code: str, state: str, iss: str, binding: str, visitor: Visitor
) -> tuple[Session, str]:
    """A session for whom the issuer says this is, and where to go on. Raises Refused (401): a state that was not given
    to this browser or was used before, an answer of another issuer, an ID token that does not hold, an address that
    the issuer did not verify, or one that is another's; 403 for who has no role (any more): then nothing that there is
    of this person is good for anything from now on."""
    issuer = issuer_of(world, name)
    now = world.clock()
    with world.begin() as conn:
        asked = account_store.take_challenge(conn, secret_hash(state), "oidc", now)
    if asked is None or asked["name"] != name:
        raise _refused("This login was not begun here, or too long ago.")
    if not hmac.compare_digest(str(asked["binding"]), secret_hash(binding)):
        raise _refused("This login was begun in another browser.")
    document = discovered(issuer)
    if iss != issuer.issuer and (iss or document.get("authorization_response_iss_parameter_supported")):
        raise _refused("The answer is of another issuer.")
    _, claims = read(document, _redeemed(world, issuer, document, code, str(asked["verifier"])))
    _check(claims, issuer, str(asked["nonce"]), now)
    subject = digest_of(issuer, str(claims["sub"]))
    sid = digest_of(issuer, str(claims["sid"])) if claims.get("sid") else ""
    try:
        email, roles = _who(claims, issuer)
    except Refused as error:
        if error.code == _NO_ROLE:
            with world.begin() as conn:
                account_store.unvouch(conn, subject, issuer.workspace, now)
        raise
    with world.begin() as conn:
        person = _admitted(conn, issuer, subject, email, roles=roles, now=now)
        life = timedelta(seconds=issuer.session_s)
        opened = logins.open_session(world, conn, person, "oidc", visitor, life, subject=subject, sid=sid)
    return opened, str(asked["back"])


def _redeemed(world: World, issuer: Issuer, document: Mapping[str, Any], code: str, verifier: str) -> str:
    body = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri(world.config, issuer.name),
        "client_id": issuer.client_id,
        "code_verifier": verifier,
    }
    more: dict[str, Any] = {}
    if issuer.client_secret_file:
        try:
            secret = Path(issuer.client_secret_file).read_text("utf-8").strip()
        except OSError as error:
            raise Failed("bad_oidc", f"The client secret of {issuer.name} cannot be read.", status=500) from error
        more["auth"] = (issuer.client_id, secret)
    try:
        answer = _answer("POST", str(document["token_endpoint"]), data=body, **more)
    except Failed as error:
        if error.status == 502:
            raise _refused("The issuer does not confirm this login.") from error
        raise
    return str(answer.get("id_token") or "")


def digest_of(issuer: Issuer, value: str) -> str:
    """What is kept of a name that an issuer gave: a subject's, or that of a session of its own."""
    return secret_hash(f"{issuer.issuer}\n{value}")


def read(document: Mapping[str, Any], token: str) -> tuple[JsonObject, JsonObject]:
    """(header, claims) of a token that a key of the issuer has signed. Raises Refused (401)."""
    where = str(document["jwks_uri"])
    for anew in (False, True):  # a key that is not known may be new
        try:
            keys = KeySet.import_key_set(dict(_document(where, anew=anew)))  # type: ignore[arg-type]  # joserfc checks it
            found = jwt.decode(token, keys, algorithms=_ALGORITHMS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            if anew:
                raise _refused("The issuer's word cannot be verified.") from error
            continue
        return dict(found.header), found.claims
    raise _refused("The issuer's word cannot be verified.")


def _check(claims: JsonObject, issuer: Issuer, nonce: str, now: datetime) -> None:
    """OpenID Connect Core 1.0 section 3.1.3.7."""
    seconds = now.timestamp()
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else list(audience or ())
    party = claims.get("azp")
    times = [claims.get(name) for name in ("exp", "iat")]
    numbers = [float(value) for value in times if isinstance(value, int | float) and not isinstance(value, bool)]
    faults = [
        claims.get("iss") != issuer.issuer,
        issuer.client_id not in named,
        (len(named) > 1 or party is not None) and party != issuer.client_id,
        len(numbers) != 2 or numbers[0] <= seconds - _LEEWAY_S or numbers[1] > seconds + _LEEWAY_S,
        not hmac.compare_digest(str(claims.get("nonce") or ""), nonce),
        not isinstance(claims.get("sub"), str) or not claims.get("sub"),
    ]
    if any(faults):
        raise _refused("The issuer's word is not meant for this login.")


def _who(claims: JsonObject, issuer: Issuer) -> tuple[str, frozenset[Role]]:
    if claims.get("email_verified") is not True:
        raise _refused("The issuer did not verify the address.")
    email = email_address(str(claims.get(issuer.email_claim) or ""))
    values = claims.get(issuer.roles_claim)
    held = [values] if isinstance(values, str) else list(values or ())
    names = {role for value in held for role in issuer.roles.get(str(value), ())} or set(issuer.default_roles)
    if not names:
        raise Refused(
            _NO_ROLE,
            f"{email} has no role here: none of what {issuer.name} says of them is given one.",
            fix="Ask an operator.",
            status=403,
        )
    return email, human_roles(sorted(names))


def _admitted(
    conn: Connection, issuer: Issuer, subject: str, email: str, *, roles: frozenset[Role], now: datetime
) -> Person:
    """The person's place with the roles that follow from the claims now. An address belongs to the first subject of the
    issuer that came with it: another one with the same address is somebody else."""
    store.alone(conn, store.person_table)
    if not account_store.bind_subject(
        conn, subject, issuer.workspace, email, now + timedelta(seconds=issuer.vouched_s)
    ):
        raise _refused("This address belongs to somebody else.")
    known = store.person(conn, issuer.workspace, email)
    if known is not None and known.home != issuer.workspace:
        raise _refused("This address belongs to somebody of another workspace.")
    others: Sequence[Person] = [p for p in store.people(conn, issuer.workspace) if p.email != email]
    if known is not None and Role.OPERATOR in known.roles - roles and not any(Role.OPERATOR in p.roles for p in others):
        roles |= {Role.OPERATOR}  # a workspace always has an operator
    person = Person(issuer.workspace, email, roles, known.created_at if known else now, issuer.workspace)
    if known != person:
        store.put_person(conn, person)
        people.tell_person(conn, person, f"system:oidc:{issuer.name}", now, new=known is None)
    return person
