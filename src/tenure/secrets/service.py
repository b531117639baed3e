"""The verbs of secrets: put, rotate, remove, list; what gateways are told; and the keys that all are kept under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec
from sqlalchemy.engine import Connection

from tenure.base import events, keys
from tenure.base.access import permit
from tenure.base.bounds import Bounds, read_bounds
from tenure.base.faults import Fault, nearest
from tenure.base.room import World
from tenure.base.sealing import seal_for, wipe
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact, SecretFact
from tenure.kernel.values import Actor, Event, LifecycleState, Status
from tenure.registry import service as registry
from tenure.registry.model import ACTING, declared_fact
from tenure.secrets import connector_store, sealing, store
from tenure.secrets.model import (
    MAX_OVERLAP,
    OVERLAP,
    Secret,
    Use,
    check_name,
    check_value,
    uses,
    uses_of_others,
    variables_of,
)

_GONE = frozenset({LifecycleState.RETIRED, LifecycleState.REJECTED})
_SELF = "system:secrets"


@dataclass(frozen=True, slots=True)
class Listed:
    """A secret and what is known around it. ``locked``: the key that it was kept under is gone."""

    secret: Secret
    uses: tuple[Use, ...]
    locked: bool


# -- reading --------------------------------------------------------------------------------------------------------


def find(world: World, actor: Actor) -> list[Listed]:
    """The secrets of the workspace by name, each with what uses it."""
    known = keys.keys_of(world.config)
    with world.read() as conn:
        found = store.find(conn, actor.workspace)
        kept = store.versions(conn, [(secret.workspace, secret.name) for secret in found])
        wanted = _uses(conn, actor.workspace)
    out = []
    for secret in found:
        mine = tuple(use for use in wanted if use.secret == secret.name)
        sealed = kept.get((secret.workspace, secret.name, secret.version))
        out.append(Listed(secret, mine, sealed is None or not known.known(sealed.kek)))
    return out


def _uses(conn: Connection, workspace: str) -> list[Use]:
    """Every use of a secret by an agent that is not gone."""
    agents = [agent for agent in registry.list_agents(conn, workspace) if agent.state not in _GONE]
    return [use for agent in agents for use in _uses_of(agent.workspace, agent.manifest)]


def _uses_of(workspace: str, manifest: JsonObject) -> list[Use]:
    fact = declared_fact(workspace, manifest)
    return [*uses(fact), *uses_of_others(fact.name, manifest)]


# -- changing -------------------------------------------------------------------------------------------------------


def put(
    world: World, actor: Actor, name: str, value: str | None, *, hosts: Sequence[str], programs: Sequence[str] = ()
) -> Secret:
    """Keeps a new secret, or (without a value) changes where one may go. Raises Refused: 403, 409 for a value of one
    that is there (it is rotated), 422 for a value, name or place that is none."""
    permit(actor, "secrets:manage")
    check_name(name)
    bounds = read_bounds(hosts, programs)
    plain = check_value(value) if value is not None else None
    now = world.clock()
    with world.begin() as tx:
        store.alone(tx)
        known = next(iter(store.find(tx, actor.workspace, name)), None)
        if known is not None:
            if plain is not None:
                raise Refused(
                    "secret_exists",
                    f"There is a secret {name} already.",
                    fix="Rotate it: `tenure secrets rotate` keeps the old value for the calls that are on their way.",
                    status=409,
                )
            secret = replace(known, bounds=bounds, changed_at=now, changed_by=actor.name)
            if bounds != known.bounds:
                store.change(tx, secret)
                _tell(tx, secret, "secret.bounded", {"hosts": bounds.hosts, "programs": bounds.programs})
            return secret
        if plain is None:
            raise _unknown(tx, actor.workspace, name)
        secret = Secret(actor.workspace, name, bounds, 1, now, actor.name, now, actor.name)
        store.add(tx, secret)
        store.add_version(tx, secret.workspace, name, 1, sealing.sealed(world, plain, (secret.workspace, name, 1)))
        _tell(tx, secret, "secret.put", {"version": 1, "hosts": bounds.hosts, "programs": bounds.programs})
        return secret


def rotate(world: World, actor: Actor, name: str, value: str, overlap: timedelta = OVERLAP) -> Secret:
    """Makes ``value`` the current version. The one before is believed for ``overlap`` longer: a gateway falls back on
    it where an upstream does not know the new one yet. Raises Refused (403, 404, 422)."""
    permit(actor, "secrets:manage")
    plain = check_value(value)
    if not timedelta() <= overlap <= MAX_OVERLAP:
        raise Refused("bad_overlap", "That is no time to keep the old value.", fix="0 s to 30 days.", status=422)
    now = world.clock()
    with world.begin() as tx:
        store.alone(tx)
        known = the_secret(tx, actor.workspace, name)
        version = known.version + 1
        secret = replace(known, version=version, changed_at=now, changed_by=actor.name, until=now + overlap)
        store.change(tx, secret)
        store.add_version(
            tx, secret.workspace, name, version, sealing.sealed(world, plain, (secret.workspace, name, version))
        )
        store.outdate(tx, secret.workspace, name, version, now + overlap)
        _tell(tx, secret, "secret.rotated", {"version": version, "until": (now + overlap).isoformat()})
    return secret


def remove(world: World, actor: Actor, name: str, *, force: bool = False) -> list[Use]:
    """Forgets a secret, for good, and returns what used it. Raises Refused (403, 404, 409 while something uses it and
    nobody insists; the details name what)."""
    permit(actor, "secrets:manage")
    with world.begin() as tx:
        secret = the_secret(tx, actor.workspace, name)
        broken = [use for use in _uses(tx, actor.workspace) if use.secret == name]
        if broken and not force:
            agents = sorted({use.agent for use in broken})
            raise Refused(
                "secret_in_use",
                f"Without {name} these would break: {', '.join(agents)}.",
                fix="Change their manifests first, or insist: --force.",
                status=409,
                details={"faults": [{"path": use.agent, "problem": f"{use.where} needs it"} for use in broken]},
            )
        store.remove(tx, actor.workspace, name)
        secret = replace(secret, changed_by=actor.name, changed_at=world.clock())
        _tell(tx, secret, "secret.removed", {"agents": sorted({use.agent for use in broken})})
    return broken


def the_secret(conn: Connection, workspace: str, name: str) -> Secret:
    """One secret. Raises Refused (404)."""
    found = store.find(conn, workspace, name)
    if not found:
        raise _unknown(conn, workspace, name)
    return found[0]


def _unknown(conn: Connection, workspace: str, name: str) -> Refused:
    hint = nearest(name, [secret.name for secret in store.find(conn, workspace)][:200])
    return Refused(
        "unknown_secret",
        f"There is no secret {name[:63]!r} in workspace {workspace}.",
        fix=hint[:1].upper() + hint[1:] if hint else f"Keep it: `tenure secrets put {name[:63]}`.",
        status=404,
    )


def _tell(tx: Connection, secret: Secret, kind: str, data: Mapping[str, Any]) -> None:
    event = Event(
        id=new_id(),
        type=kind,
        time=secret.changed_at,
        workspace=secret.workspace,
        actor=secret.changed_by,
        status=Status.FLAGGED,
        data={"secret": secret.name, **data},
    )
    events.append(tx, [event])


# -- manifests ------------------------------------------------------------------------------------------------------


def vet(world: World, conn: Connection, workspace: str, manifests: Sequence[JsonObject]) -> list[Fault]:
    """What is wrong with the credentials that manifests name: secrets that are not there, and places that a secret or a
    variable may not go to."""
    bounds = {secret.name: secret.bounds for secret in store.find(conn, workspace)}
    allowed = world.config.variables
    connected = {one.name: Bounds(one.hosts) for one in connector_store.connectors(conn, workspace)}
    faults = []
    for number, manifest in enumerate(manifests):
        for use in _uses_of(workspace, manifest):
            if use.secret not in bounds:
                hint = nearest(use.secret, bounds) or f"keep it first: tenure secrets put {use.secret}"
                faults.append(Fault(_path(use), f"names the secret {use.secret}, which is not there", hint, number))
            elif not use.fits(bounds[use.secret]):
                problem = f"would take the secret {use.secret} to {use.place}, where it may not go"
                hint = f"tenure secrets allow {use.secret} says where it may"
                faults.append(Fault(_path(use), problem, hint, number))
        for server in declared_fact(workspace, manifest).servers:
            if server.connector and not connected.get(server.connector, Bounds()).send_to(server.url or ""):
                problem = f"names the connector {server.connector}, which does not lead to {server.url}"
                hint = nearest(server.connector, connected) or "set it up first: tenure connectors put"
                faults.append(Fault(f"spec.servers.{server.name}", problem, hint, number))
        for use in variables_of(declared_fact(workspace, manifest)):
            if use.secret not in allowed or not use.fits(allowed[use.secret]):
                problem = f"would take the variable {use.secret} to {use.place}, where no operator lets it go"
                hint = "keep a secret instead (tenure secrets put), or have TENURE_ENV_CREDENTIALS name it"
                faults.append(Fault(_path(use), problem, hint, number))
    return faults


def _path(use: Use) -> str:
    kind, _, name = use.where.partition(" ")
    return {"server": f"spec.servers.{name}", "a2a": "spec.a2a"}.get(kind, f"spec.model ({name})")


# -- what gateways are told -----------------------------------------------------------------------------------------


def facts(conn: Connection, agents: Mapping[str, AgentFact], now: datetime) -> dict[str, SecretFact]:
    """What gateways must know of the secrets that agents at work need, by ``<workspace>/<name>``."""
    needed = {(fact.workspace, use.secret) for fact in agents.values() if fact.state in ACTING for use in uses(fact)}
    for agent in registry.list_agents(conn, None, tuple(ACTING)):
        needed |= {(agent.workspace, use.secret) for use in uses_of_others(agent.name, agent.manifest)}
    out = _tokens(conn, agents, now)
    if not needed:
        return out
    found = [secret for secret in store.find(conn) if (secret.workspace, secret.name) in needed]
    kept = store.versions(conn, [(secret.workspace, secret.name) for secret in found])
    for secret in found:
        sealed = kept.get((secret.workspace, secret.name, secret.version))
        before = kept.get((secret.workspace, secret.name, secret.version - 1))
        if sealed is not None:
            out[f"{secret.workspace}/{secret.name}"] = SecretFact(
                version=secret.version,
                mark=sealed.nonce.hex(),
                hosts=secret.bounds.hosts,
                programs=secret.bounds.programs,
                previous=before.nonce.hex() if before is not None and secret.until and secret.until > now else "",
            )
    return out


def _tokens(conn: Connection, agents: Mapping[str, AgentFact], now: datetime) -> dict[str, SecretFact]:
    """The tokens of people that agents at work may need, by ``<workspace>/<connector>/<address>``."""
    needed = {
        (fact.workspace, server.connector)
        for fact in agents.values()
        if fact.state in ACTING
        for server in fact.servers
        if server.connector
    }
    if not needed:
        return {}
    hosts = {(one.workspace, one.name): one.hosts for one in connector_store.connectors(conn)}
    alive = [
        one
        for one in connector_store.held(conn)
        if (one.workspace, one.connector) in needed & set(hosts)
        and not one.problem
        and (one.expires_at is None or one.expires_at > now)
    ]
    kept = store.versions(conn, [(one.workspace, one.name) for one in alive])
    return {
        f"{one.workspace}/{one.name}": SecretFact(
            version=one.version,
            mark=kept[one.workspace, one.name, one.version].nonce.hex(),
            hosts=hosts[one.workspace, one.connector],
        )
        for one in alive
        if (one.workspace, one.name, one.version) in kept
    }


def values(world: World, wanted: Mapping[str, SecretFact]) -> dict[str, bytearray]:
    """The values of secrets by their marks, for the gateways alone, as ``opened_by_mark``."""
    with world.read() as conn:
        kept = store.versions(conn, [(key.split("/", 1)[0], key.split("/", 1)[1]) for key in wanted])
    marks = {mark for fact in wanted.values() for mark in (fact.mark, fact.previous)}
    return sealing.opened_by_mark(world, [one for one in kept.items() if one[1].nonce.hex() in marks])


def plain(world: World, workspace: str, name: str, url: str) -> list[bytearray]:
    """The value of a secret for the control plane's own use at ``url``: the current version, then the one before while
    it is believed. Without a ``url`` the value is itself the address that it goes to. Wipe them after use. Raises
    Refused when there is no such secret or it may not go there, Failed when the key it is kept under cannot be had."""
    now = world.clock()
    with world.begin() as tx:
        secret = the_secret(tx, workspace, name)
        versions = [secret.version, *([secret.version - 1] if secret.until and secret.until > now else [])]
        kept = store.versions(tx, [(workspace, name)])
        store.used(tx, workspace, name, now)
    wanted = [(key, kept[key]) for version in versions if (key := (workspace, name, version)) in kept]
    opened = sealing.opened_by_mark(world, wanted)
    found = [opened[sealed.nonce.hex()] for _, sealed in wanted if sealed.nonce.hex() in opened]
    if not found:
        raise Failed("secret_locked", f"The secret {name} cannot be opened: rotate it.")
    if not secret.bounds.send_to(url or found[0].decode()):
        wipe(*found)
        place = f"to {urlsplit(url).netloc.rpartition('@')[2]}" if url else "where it leads"
        raise Refused(
            "secret_bounded",
            f"The secret {name} may not go {place}.",
            fix=f"`tenure secrets allow {name}` says where it may.",
            status=422,
        )
    return found


def sealed_for(world: World, wanted: Mapping[str, SecretFact], box: str) -> str:
    """The values of secrets by their marks, as JSON that only the gateway can open whose key ``box`` is. Raises Failed
    when the key that they are kept under cannot be had, Refused for a box that is none."""
    found = values(world, wanted)
    try:
        return seal_for(box, msgspec.json.encode({mark: value.decode() for mark, value in found.items()}))
    finally:
        wipe(*found.values())


def note_use(conn: Connection, event: Event) -> None:
    """Takes over what a gateway says it has sent."""
    store.used(conn, event.workspace, str(event.data.get("secret", "")), event.time)


def outdated(conn: Connection, now: datetime) -> Sequence[str]:
    """One word when there are versions whose overlap is over."""
    return ("versions",) if store.has_outdated(conn, now) else ()


def drop_outdated(world: World) -> bool:
    """Forgets versions whose overlap is over; says whether there were any."""
    with world.begin() as tx:
        now = world.clock()
        gone = store.drop_outdated(tx, now)
        told = [
            Event(new_id(), "secret.outdated", now, workspace, _SELF, data={"secret": name, "version": version})
            for workspace, name, version in gone
        ]
        events.append(tx, told)
    return bool(gone)
