"""Who may do what with the control plane: one engine, asked by every route, verb and page.

The rules are Cedar policies in ``base/roles``; here are the names of what can be done, and how to ask. An error of the
engine is a no. It sits on the ground floor because every slice asks it, and knows no slice: what a rule must know of an
agent is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import cedarpy

from tenure.kernel.errors import Refused
from tenure.kernel.values import PEOPLE, Actor, Role

ACTIONS: Mapping[str, str] = {
    "agents:read": "Read agents, their history, releases and instances",
    "agents:apply": "Register an agent",
    "agents:change": "Change the declaration of an agent that is registered",
    "agents:decide": "Grant or turn down an agent that is asked for, or a changed release",
    "agents:ask": "Ask again for an agent that was turned down",
    "agents:try": "Move an agent to staging",
    "agents:promote": "Move an agent to production",
    "agents:suspend": "Stop an agent at once",
    "agents:resume": "Let a suspended agent go on",
    "agents:retire": "End an agent's working life",
    "agents:finish": "Retire a draining agent before it is done",
    "agents:provision": "Fix an approved agent's release and put its grants in force",
    "agents:keys": "Register and revoke the keys that an agent proves itself with",
    "agents:run": "Start an instance of an agent",
    "agents:offer": "Offer an agent to somebody else who is to answer for it, and take the offer back",
    "agents:accept": "Take on an agent that one was offered",
    "agents:decline": "Turn down an agent that one was offered",
    "agents:confirm": "Confirm that one answers for an agent",
    "agents:take": "Take over an agent whose owner has left",
    "credentials:read": "See what was revoked, and which keys there are",
    "credentials:revoke": "Revoke the credentials of an agent, of one of its instances or of a release",
    "credentials:rotate": "Replace the credentials of an agent by new ones",
    "agents:spawn": "Start an instance of an agent that one's own manifest grants, as an agent",
    "instances:tend": "Tell how an instance goes on, and hear whether it must end",
    "agent:read": "Read one agent, as that agent",
    "spans:send": "Send spans over OTLP",
    "content:read": "Read how long content is kept, and what was erased",
    "content:open": "See what was said: prompts, answers, arguments and results of calls",
    "content:erase": "See whom content is kept about, and erase it",
    "approvals:read": "Read held calls and what was decided about them",
    "approvals:decide": "Approve or reject a held call",
    "approvals:hand_over": "Have somebody else answer held calls for oneself, for a while",
    "approvals:escalate": "Say whom held calls are shown to when nobody answers, and what holds at the deadline",
    "approvals:stand_in": "Answer held calls for somebody who has handed that over, with what they may decide",
    "corrections:read": "Read where people decided otherwise than agents, and export it",
    "corrections:make": "Say that a call or an answer of an agent was wrong, and what would have been right",
    "drafts:read": "Read calls that agents prepared and did not make, and what became of them",
    "drafts:decide": "Have a prepared call made in the agent's place, discard it, or say that it was done elsewhere",
    "precedents:read": "Read rules that were made from approvals",
    "precedents:propose": "Draw up a rule from an approval, for somebody to publish",
    "precedents:revoke": "Take back a rule that was made from an approval",
    "breakers:read": "Read breakers",
    "breakers:trip": "Stop an agent, a tool, a release, a chain or the whole workspace at once",
    "breakers:reset": "Let go on again what a breaker has stopped",
    "breakers:limit": "Set what trips breakers",
    "limits:read": "Read rate limits and budgets, and what was used of them",
    "limits:set": "Set a limit of the workspace, or take it back",
    "autonomy:read": "Read the levels of oversight, and where agents' own decisions end",
    "autonomy:set": "Set the least oversight that every agent of the workspace has",
    "autonomy:relax": "Answer a proposal to relax a tool's level on evidence, or end what was relaxed",
    "autonomy:see": "Say that what an agent did on the level notify was seen",
    "tools:read": "Read which tools agents were granted, their definitions, and what is switched off",
    "tools:decide": "Accept or reject the definition of a tool that waits",
    "tools:switch": "Switch a tool or a server off, or on again",
    "secrets:read": "See which secrets are kept, where they may go and who uses them, never their values",
    "secrets:manage": "Keep, replace and forget secrets, and say where they may go",
    "notify:read": "See who is told of what, and what became of it",
    "notify:manage": "Say who is told of what, try it, and send again what did not arrive",
    "alerts:read": "Read alerts, the rules that raise them, and the report of a period",
    "alerts:see": "Say that one looks after an alert",
    "alerts:manage": "Set, turn off and remove the rules that raise alerts",
    "exports:read": "See where traces are sent on to, and how each place fares",
    "exports:manage": "Say where traces are sent on to",
    "connectors:use": "Let agents in at an upstream, for oneself, and no longer",
    "policies:read": "Read the policies of agents, and look at files without loading them",
    "policies:reload": "Load the policies folder",
    "policies:publish": "Publish policies, or run again a version that ran before",
    "discovery:read": "See agents that nobody registered",
    "discovery:report": "Report what was seen of agents that nobody registered",
    "discovery:claim": "Answer for an agent that was found, or ask for it to be registered",
    "discovery:block": "Block an agent that was found, ignore it, or take that back",
    "events:read": "Read Events, traces, sessions, figures and the live feed",
    "events:import": "Bring in sessions that were recorded elsewhere",
    "runs:fork": "Play a recorded run again on an agent's model, with tools answered from the record",
    "runs:judge": "Have a model asked which step of a recorded run failed it",
    "reports:read": "Read reports",
    "audit:read": "Read and check the audit chain",
    "people:read": "See who may log in, and which service accounts there are",
    "people:manage": "Let people in, change their roles, take their place away",
    "people:provision": "Say as a directory, over SCIM, who may log in and who has left",
    "people:link": "Make a login link for somebody",
    "services:manage": "Make service accounts and their keys",
    "tokens:manage": "Make and end one's own API tokens",
    "tokens:delegate": "Let agents act on one's own behalf (with scopes: only when one covers this)",
    "sessions:manage": "See and end one's own sessions, passwords and passkeys; switch between workspaces",
    "logins:manage": "Let programs act as an agent on one's own behalf, and end that",
    "programs:manage": "Register programs that people log in with",
    "workspaces:create": "Make a workspace (in the installation's own workspace)",
    "trust:read": "See whose word is taken for who an agent is",
    "trust:manage": "Take the word of an outside issuer for who an agent is, or no longer",
    "workspaces:revoke": "End everything that anybody of the workspace can show",
    "keys:rotate": "Replace the key that signs agents' tokens (in the installation's own workspace)",
    "keys:revoke": "Stop believing a key that signed agents' tokens (in the installation's own workspace)",
    "gateway:facts": "Hear the facts that calls are decided from",
    "gateway:events": "Tell what agents did",
}
"""Everything that can be done, in words. Those that end in ``:read`` are the group ``read``, but for an agent's own."""

_SCHEMA = (
    "entity Role;\n"
    "entity Actor in [Role] = { workspace: String, kind: String, name: String };\n"
    "entity Thing = { workspace: String, owners: Set<String>, agent: String, started_by: String };\n"
    "type Credential = { scoped: Bool, scopes: Set<String>, names: Set<String> };\n"
    "action read;\n"
)


def _in_group(action: str) -> bool:
    return action.endswith(":read") and action != "agent:read"


@dataclass(frozen=True, slots=True)
class Thing:
    """What something is done to, as far as the rules look at it. ``owners``: the addresses of those who answer for the
    agent; ``agent``: its name; ``started_by``: the actor that started the instance. Of what is not of an agent:
    nothing. ``workspace``: empty means that of the actor."""

    owners: tuple[str, ...] = ()
    agent: str = ""
    started_by: str = ""
    workspace: str = ""


_NOTHING = Thing()


def _load() -> tuple[cedarpy.PolicySet, cedarpy.Schema]:
    schema = _SCHEMA + "".join(
        f'action "{name}"{" in [Action::" + chr(34) + "read" + chr(34) + "]" if _in_group(name) else ""} '
        "appliesTo { principal: [Actor], resource: [Thing], context: Credential };\n"
        for name in ACTIONS
    )
    folder = resources.files("tenure.base").joinpath("roles")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".cedar")), key=lambda file: file.name)
    text = "\n".join(file.read_text("utf-8") for file in files)
    checked = cedarpy.validate_policies(text, cedarpy.Schema.from_str(schema))
    assert checked.validation_passed, [fault.error for fault in checked.errors]  # noqa: S101 (they are our own)
    return cedarpy.PolicySet.from_str(text), cedarpy.Schema.from_str(schema)


_POLICIES, _PARSED = _load()


def scope_names(action: str) -> tuple[str, ...]:
    """The scopes that cover an action: itself, its family (``agents:*``), its verb (``*:read``)."""
    family, _, verb = action.partition(":")
    return action, f"{family}:*", f"*:{verb}"


def check_scopes(scopes: Iterable[str], holder: tuple[str, ...] | None) -> tuple[str, ...]:
    """``scopes`` in order and once each. Raises Refused for one that covers nothing there is, and for one that reaches
    further than those of the credential that asks (``holder``; None: it has no limits)."""
    wanted = tuple(sorted(set(scopes)))
    known = {name for action in ACTIONS for name in scope_names(action)}
    wrong = [scope for scope in wanted if scope not in known]
    if wrong or not wanted:
        raise Refused(
            "bad_scope",
            f"{wrong[0]!r} covers nothing that can be done." if wrong else "A key needs a scope.",
            fix="Give actions of docs/roles.md, as agents:read, agents:* or *:read.",
            status=422,
        )
    covered = [action for action in ACTIONS if set(scope_names(action)) & set(wanted)]
    beyond = [a for a in covered if holder is not None and not set(scope_names(a)) & set(holder)]
    if beyond:
        raise Refused(
            "scope_too_wide",
            f"The credential that asks does not reach {beyond[0]} itself.",
            fix=f"Stay within {', '.join(holder or ())}.",
            status=403,
        )
    return wanted


@lru_cache(maxsize=8192)
def _decide(who: tuple[str, str, tuple[str, ...]], scopes: tuple[str, ...] | None, action: str, thing: Thing) -> bool:
    workspace, name, roles = who
    actor = {"type": "Actor", "id": name}
    resource = {"type": "Thing", "id": "it"}
    groups = [{"type": "Role", "id": role} for role in roles]
    facts = {
        "workspace": thing.workspace or workspace,
        "owners": [f"person:{owner}".lower() for owner in thing.owners],
        "agent": f"agent:{thing.agent}" if thing.agent else "",
        "started_by": thing.started_by.lower(),
    }
    kind = name.partition(":")[0]
    entities: list[dict[Any, Any]] = [
        {"uid": actor, "attrs": {"workspace": workspace, "kind": kind, "name": name.lower()}, "parents": groups},
        {"uid": resource, "attrs": facts, "parents": []},
        *({"uid": group, "attrs": {}, "parents": []} for group in groups),
    ]
    request = {
        "principal": actor,
        "action": {"type": "Action", "id": action},
        "resource": resource,
        "context": {"scoped": scopes is not None, "scopes": list(scopes or ()), "names": list(scope_names(action))},
    }
    answer = cedarpy.is_authorized(request, _POLICIES, entities, _PARSED)
    return bool(answer.allowed) and not answer.diagnostics.errors


def may(actor: Actor, action: str, thing: Thing = _NOTHING) -> bool:
    """Whether ``actor`` may do ``action`` to ``thing``. An action that is not in ``ACTIONS`` is our own bug."""
    assert action in ACTIONS, action  # noqa: S101 (as above)
    who = (actor.workspace, actor.name, tuple(sorted(actor.roles)))
    return _decide(who, actor.scopes, action, thing)


def permit(actor: Actor, action: str, thing: Thing = _NOTHING) -> None:
    """Raises Refused (403) unless ``actor`` may do ``action`` to ``thing``."""
    if may(actor, action, thing):
        return
    what = ACTIONS[action][:1].lower() + ACTIONS[action][1:]
    if thing.workspace not in ("", actor.workspace):
        why, fix = "this concerns the whole installation, not your workspace", "Ask whoever runs the installation."
    elif actor.scopes is not None and not set(scope_names(action)) & set(actor.scopes):
        why, fix = "the scopes of this credential do not cover it", "Use a credential whose scopes cover it."
    else:
        roles, owning = holders(action)
        people = [role for role in roles if role in PEOPLE]  # what Tenure does by itself is nobody's to ask for
        who = " or ".join((*(people or roles), *("owner of the agent" for _ in owning)))
        why = f"it takes the role {who}" if who else "it is for nobody to ask for"
        fix = "Ask an operator for the role, or a person who has it to do this."
        if owning and thing.owners:
            fix = f"Ask {', '.join(dict.fromkeys(thing.owners))}, or a person who has such a role."
    raise Refused(
        "not_permitted",
        f"{actor.name} may not do this: {why}.",
        fix=fix,
        status=403,
        details={"action": action, "words": what},
    )


def allowed(actor: Actor, thing: Thing = _NOTHING) -> list[str]:
    """Everything that ``actor`` may do to ``thing``, in the order of ``ACTIONS``."""
    return [action for action in ACTIONS if may(actor, action, thing)]


@lru_cache(maxsize=256)
def holders(action: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(roles that may do ``action`` to anything, roles that may do it to what they answer for), as the engine says."""
    anything, own = [], []
    for role in sorted(Role):
        kind = role.value if role in {Role.SYSTEM, Role.GATEWAY} else "person"
        actor = Actor("any", f"{kind}:asker", frozenset({role}))
        if may(actor, action):
            anything.append(role.value)
        elif may(actor, action, Thing(owners=("asker",))):
            own.append(role.value)
    return tuple(anything), tuple(own)


def table() -> list[tuple[str, str, dict[str, str]]]:
    """(action, words, role of people: yes, own or nothing), as the engine says: what ``docs/roles.md`` is made of."""
    rows = []
    for action, words in ACTIONS.items():
        anything, own = holders(action)
        marks = {role.value: "yes" if role in anything else "own" if role in own else "" for role in sorted(PEOPLE)}
        rows.append((action, words, marks))
    return rows
