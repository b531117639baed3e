"""The verbs of trust: rules, and whom an outside token stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec
from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Actor, Event
from tenure.trust import keysets, signed, store, svid
from tenure.trust.model import (
    MAX_DAYS,
    MAX_RULES,
    Believed,
    Rule,
    fulfilled,
    narrow_enough,
    rule_name,
    trusted_issuer,
    unbelieved,
)

MAX_PROOF_S = 600.0
"""Longest life of a proof that is signed with a certificate's key, in seconds."""


def list_rules(conn: Connection, actor: Actor) -> list[Rule]:
    """The rules of a workspace, by name."""
    permit(actor, "trust:read")
    return store.rules(conn, actor.workspace)


def add_rule(
    world: World,
    actor: Actor,
    name: str,
    *,
    agent: str,
    issuer: str,
    subject: str,
    audience: str = "",
    claims: Mapping[str, str] | None = None,
    bundle: str = "",
    days: int = 365,
) -> Rule:
    """Trusts an issuer or a trust domain for one agent; a rule of the same name is replaced. ``bundle``: the text of a
    trust bundle, a JWK set or PEM certificates; ``days``: when somebody must look at the rule again. Raises Refused
    (422) for a rule that says too little, or that says something else than it seems to."""
    permit(actor, "trust:manage")
    if not 1 <= days <= MAX_DAYS:
        raise Refused("bad_days", f"A rule lives for 1 to {MAX_DAYS} days.", fix="Choose from these.", status=422)
    keys, authorities = svid.bundle(bundle.encode(), _json(bundle)) if bundle else ((), ())
    now = world.clock()
    rule = Rule(
        workspace=actor.workspace,
        name=rule_name(name),
        agent=agent,
        issuer=trusted_issuer(issuer),
        subject=subject,
        audience=audience,
        claims=dict(claims or {}),
        expires_at=now + timedelta(days=days),
        created_at=now,
        created_by=actor.name,
        keys=keys,
        authorities=authorities,
    )
    narrow_enough(rule)
    with world.begin() as conn:
        have = [one.name for one in store.rules(conn, actor.workspace)]
        if rule.name not in have and len(have) >= MAX_RULES:
            raise Refused("too_many_rules", f"There are {MAX_RULES} rules.", fix="Remove some.", status=409)
        store.put(conn, rule)
        told = {"name": rule.name, "agent": agent, "issuer": rule.issuer, "subject": subject, "claims": rule.claims}
        events.append(conn, [_event("trust.added", world, actor, agent, told)])
    return rule


def remove_rule(world: World, actor: Actor, name: str) -> None:
    """Trusts no longer. Tokens that were issued by the rule end within minutes, or at once with their agent's
    credentials. Raises Refused (404) when there is none of this name."""
    permit(actor, "trust:manage")
    with world.begin() as conn:
        known = {rule.name: rule for rule in store.rules(conn, actor.workspace)}
        if not store.drop(conn, actor.workspace, name):
            raise Refused("unknown_rule", f"There is no rule {name}.", fix="See `tenure trust list`.", status=404)
        events.append(conn, [_event("trust.removed", world, actor, known[name].agent, {"name": name})])


def believe(world: World, workspace: str, agent: str, token: str, audiences: Sequence[str]) -> Believed:
    """What some rule makes of an outside token that is shown for ``agent``. ``audiences``: what this installation is
    called by those who make tokens for it. Raises Refused (401) when no rule believes it, Failed when an issuer cannot
    be heard. Not to be called within a transaction: it may wait for the issuer."""
    header, claims = signed.opened(token)
    with world.read() as conn:
        known = store.rules(conn, workspace, agent)
    fitting = [rule for rule in known if _speaks(rule, header, claims)]
    if not fitting:
        raise unbelieved("unknown_issuer", f"Nobody of this issuer is trusted to be agent {agent}.")
    refused: Refused | None = None
    for rule in fitting:
        try:
            return _believed(rule, token, header, claims, audiences=audiences, now=world.clock().timestamp())
        except Refused as error:
            refused = error
    assert refused is not None  # noqa: S101 (at least one rule was asked)
    raise refused


def instance_of(believed: Believed) -> str:
    """The instance that an outside workload is: the same one as long as the same rule believes it."""
    rule = believed.rule
    return stable_id("outside", rule.workspace, rule.agent, rule.name, rule.issuer, believed.subject)


def _speaks(rule: Rule, header: JsonObject, claims: JsonObject) -> bool:
    """Whether a rule is about the issuer, or the trust domain, that a token says it is of."""
    if rule.spiffe:
        return str(claims.get("sub")).startswith(f"{rule.issuer}/")
    return claims.get("iss") == rule.issuer and "x5c" not in header


def _believed(
    rule: Rule, token: str, header: JsonObject, claims: JsonObject, *, audiences: Sequence[str], now: float
) -> Believed:
    subject = str(claims.get("sub"))
    if rule.spiffe and "x5c" in header:
        name, key = svid.leaf_key(header["x5c"], rule.authorities, now)
        if name != subject:
            raise unbelieved("wrong_subject", "The certificate is of somebody else than the token.")
        _hold(token, header, [key])
        expires = fulfilled(rule, claims, audiences, now)
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 1 <= len(jti) <= 255 or expires > now + MAX_PROOF_S:
            raise unbelieved("malformed", f"A proof has a `jti` and lives for at most {MAX_PROOF_S:.0f} seconds.")
        return Believed(rule, subject, "x509-svid", expires, once=jti)
    if rule.spiffe:
        if not svid.spiffe_id(subject):
            raise unbelieved("bad_svid", "The token's subject is no SPIFFE ID.")
        known: Sequence[JsonObject] = [jwk for jwk in rule.keys if header.get("kid") is not None]
    else:
        known = rule.keys or keysets.keys_of(rule.issuer, header.get("kid"))
    _hold(token, header, signed.named(known, header))
    expires = fulfilled(rule, claims, audiences, now)
    return Believed(rule, subject, "jwt-svid" if rule.spiffe else "oidc", expires)


def _hold(token: str, header: JsonObject, keys: Sequence[signed.PublicKey]) -> None:
    if not keys:
        raise unbelieved("unknown_key", "The token is signed by a key that its issuer does not have.")
    if not signed.holds(token, header, keys):
        raise unbelieved("bad_signature", "The token's signature does not hold.")


def _json(text: str) -> Json:
    try:
        read: Json = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return read


def _event(kind: str, world: World, actor: Actor, agent: str, data: JsonObject) -> Event:
    return Event(
        id=new_id(),
        type=kind,
        time=world.clock(),
        workspace=actor.workspace,
        actor=actor.name,
        agent=agent,
        data=data,
    )
