"""Agents, releases, and the one table of what may happen to an agent in its working life. Values and pure rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from tenure.base.access import Thing, permit
from tenure.kernel.budgets import LimitFact
from tenure.kernel.errors import Refused
from tenure.kernel.fingerprint import Fingerprint
from tenure.kernel.json import JsonObject, digest
from tenure.kernel.money import nano
from tenure.kernel.snapshot import (
    AgentFact,
    BreakerFact,
    Concurrency,
    ModelFact,
    PeerGrant,
    ServerFact,
    Timeouts,
    ToolFact,
    Upstream,
)
from tenure.kernel.values import Actor, Autonomy, LifecycleState, strictest
from tenure.registry.fields import LIMITED
from tenure.registry.manifest import Manifest, manifest_schema

__all__ = [
    "ACTING",
    "DRAIN_S",
    "TRANSITIONS",
    "AgentRecord",
    "Applied",
    "Change",
    "Facts",
    "Manifest",
    "Need",
    "Release",
    "Transition",
    "agent_fact",
    "behaviour",
    "bumps_epoch",
    "check",
    "decided_by_another",
    "declared_fact",
    "manifest_schema",
    "release_digest",
    "thing",
    "with_behaviour",
]  # fmt: skip

S = LifecycleState

ACTING = frozenset({S.STAGING, S.PRODUCTION, S.DRAINING})
"""States in which an agent's calls are let through."""

DRAIN_S = 15
"""Seconds that running instances get to finish when an agent is drained and nobody says otherwise."""

PLAIN_FIELDS = ("owner", "sponsor")
"""Who answers for an agent: no part of a release. What it is for was approved with the release."""


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """A registered agent (R020, R021). ``release`` is the digest that is current, ``pending_release`` one that
    waits for an approver. ``manifest`` is the whole declaration with the current release's behaviour in it.
    ``drain_until`` is when a draining agent is retired even if it is still busy. ``pending_owner`` and
    ``pending_sponsor``: who is declared to answer for it and has not accepted; ``pending_by``: whose declaration that
    is, and ``pending_since`` since when."""

    workspace: str
    name: str
    id: str
    state: LifecycleState
    release: str
    credential_epoch: int
    owner: str
    sponsor: str
    framework: str
    risk_tier: int
    manifest: JsonObject
    created_at: datetime
    updated_at: datetime
    state_since: datetime
    state_reason: str
    requested_by: str
    pending_release: str | None = None
    drain_until: datetime | None = None
    pending_owner: str | None = None
    pending_sponsor: str | None = None
    pending_by: str | None = None
    pending_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """An immutable record of all that decides an agent's behaviour, named by the digest of ``content``."""

    workspace: str
    agent: str
    digest: str
    content: JsonObject
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a manifest did. ``changed`` is False when everything was so already."""

    agent: AgentRecord
    changed: bool
    created: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One line of an agent's history. ``frm`` is None for its registration."""

    seq: int
    frm: LifecycleState | None
    to: LifecycleState
    actor: str
    reason: str
    time: datetime
    forced: bool


class Need(StrEnum):
    """What must hold for a transition, beyond the state and the role."""

    RELEASE = "a release is recorded"
    WAS_PRODUCTION = "it was in production when it was suspended"
    NO_DEPENDANTS = "no agent that is not retired depends on it (or it is forced)"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the needs are checked against. ``before``: the state it was in before the one it is in now."""

    has_release: bool
    before: LifecycleState | None
    dependants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Transition:
    """One permitted step. ``action``: what must be permitted (``base.access``) to whoever takes it."""

    frm: LifecycleState
    to: LifecycleState
    action: str
    needs: tuple[Need, ...]
    description: str


def _t(frm: S, to: S, action: str, description: str, *needs: Need) -> Transition:
    return Transition(frm, to, f"agents:{action}", needs, description)


_GO = Need.NO_DEPENDANTS

TRANSITIONS: tuple[Transition, ...] = (
    _t(S.REQUESTED, S.APPROVED, "decide", "The request is granted", Need.RELEASE),
    _t(S.REQUESTED, S.REJECTED, "decide", "The request is turned down"),
    _t(S.REJECTED, S.REQUESTED, "ask", "It is asked for again, with a changed manifest or better reasons"),
    _t(S.APPROVED, S.CREATED, "provision", "Its release is fixed", Need.RELEASE),
    _t(S.CREATED, S.PROVISIONED, "provision", "Its identity and its grants are in force", Need.RELEASE),
    _t(S.PROVISIONED, S.STAGING, "try", "It may run and be tried"),
    _t(S.STAGING, S.PRODUCTION, "promote", "It may do its work"),
    _t(S.PRODUCTION, S.STAGING, "try", "It is taken back to be tried again"),
    _t(S.STAGING, S.SUSPENDED, "suspend", "It is stopped at once, its credentials are dead"),
    _t(S.PRODUCTION, S.SUSPENDED, "suspend", "It is stopped at once, its credentials are dead"),
    _t(S.DRAINING, S.SUSPENDED, "suspend", "It is stopped at once instead of finishing"),
    _t(S.SUSPENDED, S.STAGING, "resume", "It may run again, with new credentials"),
    _t(S.SUSPENDED, S.PRODUCTION, "resume", "It may do its work again, with new credentials", Need.WAS_PRODUCTION),
    _t(S.STAGING, S.DRAINING, "retire", "It finishes what it is doing and starts nothing new", _GO),
    _t(S.PRODUCTION, S.DRAINING, "retire", "It finishes what it is doing and starts nothing new", _GO),
    _t(S.DRAINING, S.RETIRED, "finish", "It is done: nothing of it runs, its credentials are dead"),
    _t(S.SUSPENDED, S.RETIRED, "retire", "It ends; nothing of it runs", _GO),
    _t(S.PROVISIONED, S.RETIRED, "retire", "It ends before it ever ran", _GO),
    _t(S.CREATED, S.RETIRED, "retire", "It ends before it was provisioned", _GO),
    _t(S.APPROVED, S.RETIRED, "retire", "It ends before it was made", _GO),
)
"""Every transition that exists. The database's triggers are made from this table as well."""

_BY_PAIR: Mapping[tuple[LifecycleState, LifecycleState], Transition] = {(t.frm, t.to): t for t in TRANSITIONS}


def thing(agent: AgentRecord) -> Thing:
    """The agent, as the policies of roles look at it."""
    return Thing(owners=(agent.owner, agent.sponsor), agent=agent.name)


def check(agent: AgentRecord, to: LifecycleState, actor: Actor, facts: Facts, *, force: bool = False) -> Transition:
    """The transition that ``actor`` may make now. Raises Refused: ``illegal_transition`` (409) for a pair that
    the table does not have, ``not_permitted`` (403) for whoever may not, ``unmet_need`` (409) when something does not
    hold yet."""
    found = _BY_PAIR.get((agent.state, to))
    if found is None:
        possible = [str(t.to) for t in TRANSITIONS if t.frm == agent.state]
        raise Refused(
            "illegal_transition",
            f"{agent.name} is {agent.state}; it cannot become {to}.",
            fix=f"From {agent.state} it can become: {', '.join(possible)}."
            if possible
            else "This is the end of its life.",
            status=409,
            details={"from": str(agent.state), "to": str(to), "possible": possible},
        )
    permit(actor, found.action, thing(agent))
    for need in found.needs:
        _hold(need, agent, to, facts, force)
    return found


def _hold(need: Need, agent: AgentRecord, to: LifecycleState, facts: Facts, force: bool) -> None:
    details: dict[str, Any] = {}
    if need is Need.RELEASE:
        holds, fix = facts.has_release, "Apply its manifest again."
    elif need is Need.WAS_PRODUCTION:
        holds, fix = facts.before is S.PRODUCTION, "Resume it to staging and promote it from there."
    else:
        holds, details = force or not facts.dependants, {"dependants": list(facts.dependants)}
        fix = f"{', '.join(facts.dependants)} would be cut off: retire or change them first, or repeat with force."
    if not holds:
        raise Refused(
            "unmet_need", f"{agent.name} cannot become {to} yet: {need}.", fix=fix, status=409, details=details
        )


def decided_by_another(actor: Actor, *askers: str) -> None:
    """Four eyes: raises Refused (409) when ``actor`` is one of those who asked."""
    if actor.name in askers:
        raise Refused(
            "own_request",
            f"{actor.name} asked for this; in this workspace somebody else must grant it.",
            fix="Ask another approver.",
            status=409,
        )


def bumps_epoch(frm: LifecycleState, to: LifecycleState) -> bool:
    """Whether a transition makes every credential issued so far worthless."""
    return to in (S.SUSPENDED, S.RETIRED) or (frm in ACTING and to not in ACTING)


def behaviour(workspace: str, manifest: JsonObject) -> JsonObject:
    """All of a manifest that decides how the agent behaves, and whose it is: what a release is made of."""
    spec = {key: value for key, value in manifest["spec"].items() if key not in PLAIN_FIELDS}
    return {"workspace": workspace, "agent": manifest["metadata"]["name"], "spec": spec}


def release_digest(content: JsonObject) -> str:
    """The name of the release that ``content`` (of ``behaviour``) is."""
    return digest(content)


def with_behaviour(manifest: JsonObject, content: JsonObject) -> JsonObject:
    """The manifest with a release's behaviour in place of its own."""
    plain = {key: value for key, value in manifest["spec"].items() if key in PLAIN_FIELDS}
    return {**manifest, "spec": {**content["spec"], **plain}}


def agent_fact(agent: AgentRecord) -> AgentFact:
    """What the gateways decide from. Breaker limits come from the manifest; whether it has tripped, from elsewhere."""
    return replace(
        declared_fact(agent.workspace, agent.manifest),
        state=agent.state,
        release=agent.release,
        credential_epoch=agent.credential_epoch,
        owner=agent.owner,
        risk_tier=agent.risk_tier,
    )


def declared_fact(workspace: str, manifest: JsonObject) -> AgentFact:
    """The fact of an agent as a manifest declares it, without what the registry knows besides."""
    spec = manifest["spec"]
    least = Autonomy(spec.get("autonomy", Autonomy.AUTONOMOUS))
    below, mode = spec["approvals"].get("ask_below", 0), spec.get("mode", "")
    return AgentFact(
        workspace=workspace,
        name=manifest["metadata"]["name"],
        state=S.REQUESTED,
        release="",
        credential_epoch=0,
        owner=spec["owner"],
        purpose=spec["purpose"],
        models=tuple(_model(model) for model in (spec["model"], *spec.get("models", ()))),
        servers=tuple(_server(name, server) for name, server in spec.get("servers", {}).items()),
        tools=tuple(_tool(tool, least, below, mode) for tool in spec.get("tools", ())),
        data_classes=tuple(spec.get("data_classes", ())),
        breaker=BreakerFact(threshold=spec["breaker"]["threshold"], window_s=float(spec["breaker"]["window_s"])),
        hold_timeout_s=float(spec["approvals"]["hold_timeout_s"]),
        agents=tuple(_peer(peer, least, below, mode) for peer in spec.get("agents", ())),
        callbacks=tuple(spec.get("callbacks", ())),
        limits=tuple(_limits(manifest["metadata"]["name"], spec)),
        dependants=spec.get("dependants", "hold"),
    )


def _limits(name: str, spec: JsonObject) -> Iterator[LimitFact]:
    """The budgets, then the further limits, each under an id that says whose it is and what it counts: it stays the
    same when another is added, and so do the accounts under it."""
    for field, value in spec.get("budgets", {}).items():
        of, _, per = field.partition("_per_")
        yield LimitFact(f"{name}/{of}-{per}", of, _amount(of, value), per, "agent")
    seen: Counter[str] = Counter()
    for limit in spec.get("limits", ()):
        of = next(of for of in LIMITED if of in limit)
        sliding, only = limit.get("sliding", False), limit.get("only", "")
        ident = f"{name}/{of}-{limit['per']}-each-{limit['each']}{'-sliding' * sliding}{only and ':' + only}"
        seen[ident] += 1
        again = f"#{seen[ident]}" if seen[ident] > 1 else ""
        amount = _amount(of, limit[of])
        yield LimitFact(ident + again, of, amount, limit["per"], limit["each"], only, sliding, limit["zone"])


def _amount(of: str, value: Any) -> int:
    return nano(value) if of == "usd" else int(value)


def _model(model: JsonObject) -> ModelFact:
    return ModelFact(
        name=model["name"],
        upstream=Upstream(model["base_url"], model.get("credential_env"), model.get("credential_secret", "")),
        provider=model["provider"],
        alias=model.get("alias", ""),
        wire=model.get("wire", ""),
        fallbacks=tuple(model.get("fallbacks", ())),
        timeouts=Timeouts(**model.get("timeouts", {})),
        concurrency=Concurrency(**model["concurrency"]) if "concurrency" in model else None,
        ask_below=model.get("ask_below", 0),
    )


def _server(name: str, server: JsonObject) -> ServerFact:
    sandbox = server.get("sandbox", {})
    return ServerFact(
        name=name,
        command=tuple(server.get("command", ())),
        env=dict(server.get("env", {})),
        env_from=tuple(server.get("env_from", ())),
        cwd=server.get("cwd"),
        url=server.get("url"),
        credential_env=server.get("credential_env"),
        prefix=server.get("prefix"),
        resources=tuple(server.get("resources", ())),
        prompts=tuple(server.get("prompts", ())),
        asks=tuple(server.get("asks", ())),
        network=sandbox.get("network", True),
        write=tuple(sandbox.get("write", ())),
        shared=server.get("shared", True),
        in_process=server.get("in_process", False),
        credential_secret=server.get("credential_secret", ""),
        env_secrets=dict(server.get("env_secrets", {})),
        connector=server.get("connector", ""),
        trust=server.get("trust", ""),
        source=server.get("source", ""),
    )


def _peer(peer: JsonObject, least: Autonomy, ask_below: int, mode: str) -> PeerGrant:
    tools, agents = (tuple(peer[name]) if name in peer else None for name in ("tools", "agents"))
    level, below = strictest(least, Autonomy(peer["autonomy"])), max(ask_below, peer.get("ask_below", 0))
    return PeerGrant(peer["name"], level, tools, agents, peer.get("trust", ""), below, _mode(mode, peer))


def _tool(tool: JsonObject, least: Autonomy, ask_below: int, mode: str) -> ToolFact:
    server, _, name = tool["name"].partition("/")
    pin = Fingerprint(tool["fingerprint"]) if "fingerprint" in tool else None
    trust, source = tool.get("trust", ""), tool.get("source", "")
    level, below = strictest(least, Autonomy(tool["autonomy"])), max(ask_below, tool.get("ask_below", 0))
    named = {"trust": trust, "source": source, "mode": _mode(mode, tool)}
    return ToolFact(server, name, level, pin=pin, ask_below=below, reads=tool.get("read_only"), **named)


def _mode(of_agent: str, granted: JsonObject) -> str:
    """Of the agent's mode and that of what was granted, draft before simulate before none: in it a person sees more."""
    own: str = granted.get("mode", "")
    return min(of_agent, own, key=("draft", "simulate", "").index)
