"""Agents elsewhere: their cards are read, checked and kept, so that agents here can be granted to call them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import import_key
from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import Json, JsonObject, canonical
from tenure.kernel.snapshot import PeerFact
from tenure.kernel.values import Actor, Event
from tenure.registry import store
from tenure.registry.cards import (
    HTTP_JSON,
    JSONRPC,
    MAX_CARD,
    ExternalAgent,
    Signature,
    card_of,
    external_fact,
    name_of,
    payload_of,
    published_card,
    read_card,
)
from tenure.registry.model import ACTING

WELL_KNOWN = "/.well-known/agent-card.json"
_FETCH_S = 10.0
_ALGORITHMS = ["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"]
_REGISTRY = jws.JWSRegistry(algorithms=_ALGORITHMS)

Sign = Callable[[JsonObject], JsonObject]
"""Makes the signature (A2A section 8.4: protected, signature) of what a card says."""


def signed(card: JsonObject, sign: Sign) -> str:
    """A card with its signature, as JSON."""
    return msgspec.json.encode({**card, "signatures": [sign(payload_of(card))]}).decode()


def peer_facts(conn: Connection, gateway_url: str, sign: Sign) -> dict[str, PeerFact]:
    """Every agent that may be called over A2A now, by ``<workspace>/<name>``, with its signed card."""
    out: dict[str, PeerFact] = {}
    for agent in store.agents(conn, None, tuple(ACTING)):
        card = card_of(agent.name, agent.manifest["spec"], gateway_url)
        if card is None:
            continue
        served = agent.manifest["spec"]["a2a"]
        out[f"{agent.workspace}/{agent.name}"] = PeerFact(
            workspace=agent.workspace,
            name=agent.name,
            url=served.get("url"),
            rest_url=served.get("rest_url"),
            version=served["protocol"],
            credential_env=served.get("credential_env"),
            credential_secret=served.get("credential_secret", ""),
            card=signed(card, sign),
        )
    for external in store.externals(conn):
        card_text = signed(published_card(external, gateway_url), sign)
        out.setdefault(f"{external.workspace}/{external.name}", external_fact(external, card_text))
    return out


def list_externals(conn: Connection, workspace: str) -> list[ExternalAgent]:
    """The external agents of a workspace, by name."""
    return store.externals(conn, workspace)


def import_card(
    world: World,
    actor: Actor,
    *,
    url: str | None = None,
    card: Json = None,
    name: str | None = None,
    credential_env: str | None = None,
) -> ExternalAgent:
    """Registers the agent that a card describes, or takes a newer card of it. The card is ``card`` or what is served at
    ``url``, a whole address or that of the host. Its signature is verified when it has one: a card whose signature does
    not hold is refused. Raises Refused, and Failed when an address does not answer."""
    permit(actor, "agents:apply")
    source = "a file"
    if url is not None:
        source = url if urlsplit(url).path not in ("", "/") else url.rstrip("/") + WELL_KNOWN
        card = _fetch(source, "card")
    found, addresses, protocol = read_card(card)
    known = _verified(found, addresses.values(), source)
    agent = ExternalAgent(
        workspace=actor.workspace,
        name=name_of(found, name),
        card=found,
        url=addresses.get(JSONRPC),
        rest_url=addresses.get(HTTP_JSON),
        protocol=protocol,
        credential_env=credential_env,
        source=source,
        signature=known,
        imported_at=world.clock(),
        imported_by=actor.name,
    )
    with world.begin() as tx:
        store.alone(tx)
        if store.get(tx, agent.workspace, agent.name) is not None:
            raise Refused(
                "name_taken",
                f"{agent.name} is the name of an agent of this workspace.",
                fix="Import it under another name: --name.",
                status=409,
            )
        store.put_external(tx, agent)
        data = {"name": agent.name, "source": source, "signature": known.state, "kid": known.kid, "jku": known.jku}
        events.append(tx, [_event("external_agent.imported", actor, world, data)])
    return agent


def remove(world: World, actor: Actor, name: str) -> None:
    """Forgets an external agent: no further call of it passes. Raises Refused (404) when there is none."""
    permit(actor, "agents:apply")
    with world.begin() as tx:
        if not store.drop_external(tx, actor.workspace, name):
            raise Refused(
                "unknown_agent",
                f"There is no external agent {name!r}.",
                fix="See `tenure agents external`.",
                status=404,
            )
        events.append(tx, [_event("external_agent.removed", actor, world, {"name": name})])


def _event(kind: str, actor: Actor, world: World, data: JsonObject) -> Event:
    return Event(
        id=new_id(), type=kind, time=world.clock(), workspace=actor.workspace, actor=actor.name, data=dict(data)
    )


# -- signatures -----------------------------------------------------------------------------------------------------


def _verified(card: JsonObject, addresses: Iterable[str], source: str) -> Signature:
    """What the card's signatures say. One that holds is enough (section 8.4.3)."""
    given = card.get("signatures")
    if not given:
        return Signature("unsigned")
    hosts = {urlsplit(address).hostname for address in (*addresses, source)}
    for row in given[:10] if isinstance(given, list) else ():
        protected = row.get("protected") if isinstance(row, Mapping) else None
        header = _header(protected)
        kid, jku = header.get("kid"), header.get("jku")
        if not isinstance(kid, str) or not isinstance(jku, str) or header.get("alg") not in _ALGORITHMS:
            continue
        # A card may not send this process anywhere: in plain HTTP, only to where the card itself came from or leads.
        if urlsplit(jku).scheme != "https" and urlsplit(jku).hostname not in hosts:
            continue
        if _holds(card, str(protected), str(row.get("signature")), _keys(jku), kid):
            return Signature("verified", kid[:200], jku[:2_000])
    raise Refused(
        "bad_signature",
        "The card has a signature, and none of its signatures holds.",
        fix="Ask whoever serves it: it was changed, or its keys are not where it says (`jku`).",
        status=422,
    )


def _header(protected: Any) -> JsonObject:
    try:
        header = msgspec.json.decode(_bytes(str(protected)))
    except (ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _holds(card: JsonObject, protected: str, signature: str, keys: JsonObject, kid: str) -> bool:
    for known_only in (False, True):
        try:
            payload = base64.urlsafe_b64encode(canonical(payload_of(card, known_only=known_only))).rstrip(b"=").decode()
            found = next(dict(key) for key in keys["keys"] if isinstance(key, Mapping) and key.get("kid") == kid)
            jws.deserialize_compact(f"{protected}.{payload}.{signature}", import_key(found), registry=_REGISTRY)
        except (JoseError, ValueError, TypeError, KeyError, StopIteration):
            continue
        return True
    return False


def _keys(jku: str) -> JsonObject:
    found = _fetch(jku, "keys")
    return found if isinstance(found, dict) and isinstance(found.get("keys"), list) else {"keys": []}


def _fetch(url: str, what: str) -> Json:
    """JSON from an address that a person named, or the card that a person named. Follows no redirect."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise Refused("bad_address", f"{url[:200]!r} is not an http or https address.", status=422)
    try:
        with httpx2.Client(timeout=_FETCH_S, follow_redirects=False) as client, client.stream("GET", url) as reply:
            body = bytearray()
            for chunk in reply.iter_bytes():
                body += chunk
                if len(body) > MAX_CARD:
                    raise Refused("bad_card", f"What is at {url} is longer than {MAX_CARD} bytes.", status=422)
            status = reply.status_code
    except httpx2.HTTPError as error:
        raise Failed("not_fetched", f"The {what} at {url} cannot be fetched: {error}", status=502) from error
    if status != 200:
        raise Refused("not_fetched", f"{url} answers {status}, not a {what}.", fix="Check the address.", status=422)
    try:
        return msgspec.json.decode(bytes(body))
    except (ValueError, RecursionError):
        raise Refused("bad_card", f"What is at {url} is not JSON.", status=422) from None
