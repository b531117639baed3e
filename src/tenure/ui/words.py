"""Events as sentences and rows of a feed: who did what, to what, and why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tenure.kernel.json import JsonObject
from tenure.kernel.money import dollars
from tenure.kernel.values import Status
from tenure.ui.model import costs, duration, number, person, preview


@dataclass(frozen=True, slots=True)
class Said:
    """An Event as a sentence: who ``actor``, did what ``verb``, to what ``thing``, and a ``note``."""

    verb: str
    thing: str = ""
    note: str = ""


def _call(data: JsonObject) -> Said:
    resource = str(
        data.get("tenure.resource") or data.get("gen_ai.tool.name") or data.get("gen_ai.request.model") or ""
    )
    if data.get("gen_ai.operation.name") == "chat" or data.get("tenure.kind") == "llm":
        tokens = (data.get("gen_ai.usage.input_tokens"), data.get("gen_ai.usage.output_tokens"))
        note = f"{number(tokens[0] or 0)} tokens in, {number(tokens[1] or 0)} out" if any(tokens) else ""
        if note and (cost := costs([data])) is not None:
            note += f", {dollars(cost)}"
        return Said("asked", resource, str(data.get("error.type") or note))
    if data.get("tenure.kind") == "agent":
        return Said("called agent", resource, str(data.get("error.type") or data.get("a2a.method") or ""))
    arguments = data.get("gen_ai.tool.call.arguments")
    note = preview(json.loads(arguments) if _is_json(arguments) else arguments) if arguments else ""
    return Said("used", resource, str(data.get("error.type") or note))


_STEPS = {
    "agent": "ran as",
    "retrieval": "searched in",
    "embedding": "embedded with",
    "guardrail": "was checked by",
    "evaluator": "was judged by",
    "memory": "remembered with",
}


def _step(data: JsonObject) -> Said:
    """What an agent's own span says."""
    step = data.get("otlp.step")
    if step in ("llm", "tool"):
        return _call({"tenure.kind": step, **data})
    thing = data.get("gen_ai.agent.name") if step == "agent" else None
    return Said(_STEPS.get(str(step), "went through"), str(thing or data.get("otlp.name") or ""))


def _is_json(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _spoken(message: Any) -> str:
    parts = message.get("parts") or () if isinstance(message, Mapping) else ()
    return preview(" ".join(str(part.get("content") or part.get("name") or "") for part in parts))


def _reason(data: JsonObject) -> str:
    decision = data.get("tenure.decision")
    return str((decision if isinstance(decision, Mapping) else {}).get("reason") or data.get("reason") or "")


_PLAIN: Mapping[str, tuple[str, str]] = {
    "agent.applied": ("has a new manifest", ""),
    "agent.owner_changed": ("is answered for by", ""),
    "agent.dependency_stopped": ("depends on an agent that was stopped", ""),
    "agent.credentials_revoked": ("has new credentials: those before are dead", ""),
    "agent_key.added": ("may show a key of its own", ""),
    "agent_key.revoked": ("may not show a key any more", "tokens it was shown for end with it"),
    "agent_token.revoked": ("has a token less", "it was ended before its time"),
    "api_token.created": ("made an API token", ""),
    "api_token.revoked": ("revoked an API token", ""),
    "approval.answered": ("was approved by one, and waits for more, for", ""),
    "approval.hand_over_ended": ("has nobody else answer held calls any more", ""),
    "approval.handed_over": ("has somebody else answer held calls for a while", ""),
    "approval.edited": ("gets other arguments from a person for", ""),
    "approval.escalated": ("still waits for a person, and others are asked, for", ""),
    "approval.ladder_removed": ("has an escalation ladder less", ""),
    "approval.ladder_set": ("has an escalation ladder", ""),
    "approval.claimed": ("used its approval", ""),
    "approval.expired": ("got no answer in time for", ""),
    "approval.granted": ("was approved for", ""),
    "approval.rejected": ("was rejected for", ""),
    "autonomy.accepted": ("may use a tool with less oversight: a person accepted the evidence", ""),
    "autonomy.declined": ("goes on under the declared level of a tool", ""),
    "autonomy.fell_back": ("is under the declared level of a tool again", ""),
    "autonomy.proposed": ("has earned that a person is asked about a tool's level", ""),
    "autonomy.seen": ("saw what an agent did on the level notify", ""),
    "autonomy.set": ("set the least oversight of all agents", ""),
    "autonomy.withdrawn": ("has not earned it any more: the evidence turned", ""),
    "blame.asked": ("had a model asked which step failed a run", "what was said in it was sent, redacted"),
    "blame.judged": ("has the answer of a model that was asked which step failed a run", ""),
    "breaker.closed": ("may do everything again: its trial calls went well", ""),
    "content.opened": ("looked at what was said", ""),
    "content.erased": ("erased what was said about somebody", ""),
    "breaker.limited": ("has other limits on a breaker", ""),
    "breaker.reset": ("may go on: a breaker was reset", ""),
    "breaker.trial": ("asks to be tried: a breaker is half open", ""),
    "breaker.tripped": ("is stopped: a breaker has tripped", ""),
    "call.corrected": ("was wrong, a person says", ""),
    "call.refused": ("was refused", ""),
    "client.seen": ("was used by an MCP client", ""),
    "call.refused/draft": ("drafted", ""),
    "call.refused/offer": ("left to people", ""),
    "call.refused/simulate": ("simulated", ""),
    "connector.connected": ("lets agents in at an upstream", ""),
    "connector.disconnected": ("lets agents in at an upstream no longer", ""),
    "connector.lost": ("must let agents in anew", "the upstream takes the refresh token no more"),
    "connector.revoked": ("had an upstream revoke a person's tokens", ""),
    "connector.not_revoked": ("could not have an upstream revoke a person's tokens", "they are good there yet"),
    "connector.put": ("set up how people let agents in at an upstream", ""),
    "connector.refreshed": ("has a fresh token at an upstream", ""),
    "connector.removed": ("removed a connector", "every token that was got by it is forgotten"),
    "credentials.replaced": ("retired the credentials from before a rotation", "they are dead from now on"),
    "credentials.revoked": ("revoked credentials", ""),
    "credentials.rotated": ("rotated credentials", "those before are good for a while"),
    "alert.over": ("is as it was again: an alert is over", ""),
    "alert.raised": ("raised an alert", ""),
    "alert.seen": ("looks after an alert", ""),
    "alerts.rule_removed": ("removed a rule that raises alerts", ""),
    "alerts.rule_set": ("set a rule that raises alerts", ""),
    "discovery.blocked": ("blocked an agent that was found", ""),
    "discovery.claimed": ("answers for an agent that was found", ""),
    "discovery.found": ("found an agent that nobody registered", ""),
    "discovery.ignored": ("said that an agent that was found is of no concern", ""),
    "discovery.opened": ("took back what was decided about an agent that was found", ""),
    "discovery.registered": ("asked for an agent that was found", ""),
    "draft.claimed": ("is having a prepared call made", ""),
    "draft.discarded": ("has a draft less: a person threw it away", ""),
    "draft.elsewhere": ("prepared what a person did by other means", ""),
    "draft.released": ("has a prepared call made by a person", ""),
    "draft.returned": ("has a draft that no gateway took", "it waits as before"),
    "external_agent.imported": ("imported the card of an agent elsewhere", ""),
    "external_agent.removed": ("removed an agent elsewhere", ""),
    "fork.ended": ("a run that is played again has ended", ""),
    "fork.refused": ("was refused, in a run that is played again,", ""),
    "fork.started": ("is played again from a recorded run", "tools are answered from the record"),
    "gateway.dropped": ("lost records of calls", "the calls were decided as always"),
    "handover.accepted": ("was taken on by", ""),
    "handover.declined": ("was turned down by", ""),
    "handover.expired": ("got no answer in time from", ""),
    "handover.offered": ("was offered to", ""),
    "handover.withdrawn": ("is offered no longer to", ""),
    "instance.ended": ("ended a run", ""),
    "instance.returned": ("was heard of again", "it had been taken for lost"),
    "instance.started": ("began a run", ""),
    "key.created": ("published the next signing key", ""),
    "key.rotated": ("rotated the signing key", "tokens of the one before hold until they expire"),
    "key.retired": ("retired a signing key", "tokens it signed are no longer believed"),
    "limits.asked": ("may use more of a limit", ""),
    "limits.reached": ("has used much of a limit", ""),
    "limits.removed": ("took a limit back", ""),
    "limits.set": ("set a limit", ""),
    "login.allowed": ("let a program act as an agent of theirs", ""),
    "login.begun": ("took up what somebody had allowed", ""),
    "login.ended": ("may not act for somebody any more", ""),
    "login.refused": ("did not let a program act for them", ""),
    "login.turned_away": ("sent somebody here to be let in, and was turned away", ""),
    "login_link.created": ("made a login link", ""),
    "owner.concern_ended": ("is of no more concern", ""),
    "owner.concern_raised": ("is of concern", "nobody answers for it, or it is not needed"),
    "owner.confirmed": ("has an owner who confirmed it", ""),
    "notify.answered": ("answered a held call by a link", "the link was theirs and is used up"),
    "notify.failed": ("gave up a message", "it did not arrive after the last attempt"),
    "export.put": ("said where traces are sent on to", ""),
    "export.removed": ("traces are sent to a place no longer", ""),
    "notify.put": ("said who is told of what", ""),
    "notify.removed": ("tells a destination nothing any more", ""),
    "notify.replayed": ("had a message sent again", ""),
    "notify.tested": ("tried a destination", ""),
    "person.credentials_ended": ("ended all that somebody could show", "sessions, API tokens and login codes"),
    "person.entered": ("switched to this workspace", ""),
    "person.joined": ("took a place in this workspace", "as who another workspace says"),
    "person.limited": ("changed what agents may do for somebody", "it holds from the next call on"),
    "person.logged_in": ("logged in", ""),
    "person.passkey_added": ("added a passkey of their own", ""),
    "person.passkey_removed": ("removed a passkey of their own", ""),
    "person.password_changed": ("set a new password", "their other sessions ended"),
    "person.removed": ("took away somebody's place", "sessions and API tokens ended with it"),
    "person.logged_out": ("was logged out by the issuer that they log in with", ""),
    "person.sessions_ended": ("ended sessions of their own", ""),
    "precedent.expired": ("asks again for such calls: a rule made from an approval has ended", ""),
    "precedent.proposed": ("may get a rule made from an approval", "it waits for somebody to publish it"),
    "precedent.published": ("has a rule made from an approval: such calls go on", ""),
    "precedent.revoked": ("asks again for such calls: a rule made from an approval was taken back", ""),
    "precedent.stopped": ("asks again for such calls: a rule made from an approval fails its tests", ""),
    "policy.loaded": ("put new policies into force", ""),
    "policy.rejected": ("refused broken policies", "the ones before stay in force"),
    "program.refused": ("was not registered as a program", ""),
    "program.registered": ("registered a program that people log in with", ""),
    "program.removed": ("removed a program that people logged in with", ""),
    "release.approved": ("has a new current release", ""),
    "release.created": ("got a new release", ""),
    "release.rejected": ("keeps its release: the new one was dropped", ""),
    "request.refused": ("sent what is no call", "nothing was sent on"),
    "secret.bounded": ("changed where a secret may go", ""),
    "secret.key.rotated": ("put a new key around the secrets", ""),
    "secret.outdated": ("forgot a secret's version from before", ""),
    "secret.put": ("kept a secret", ""),
    "secret.removed": ("removed a secret", ""),
    "secret.rotated": ("gave a secret a new value", "the one before is good for a while"),
    "secret.used": ("sent a secret where it may go", ""),
    "sequence.asked": ("keeps what a session did before", ""),
    "sequence.late": ("told of a call of a session that moved", ""),
    "sequence.step": ("told of a call that sequence rules are about", ""),
    "service.changed": ("changed the roles of a service account", ""),
    "service.created": ("made a service account", ""),
    "service.removed": ("removed a service account", "its keys ended with it"),
    "token.issued": ("was given a credential", ""),
    "token.refused": ("was given no token", ""),
    "tool.changed": ("may not use for now", "its definition is not the one that was accepted"),
    "tool.disabled": ("switched off", ""),
    "tool.enabled": ("switched on again", ""),
    "tool.held": ("may not use yet", "nobody has accepted its definition"),
    "tool.pinned": ("has an accepted definition of", ""),
    "tool.rejected": ("still may not use", ""),
    "tool.restored": ("may use again", "it is described as it was accepted"),
    "tool.seen": ("was shown a new description of a tool", ""),
    "trust.added": ("takes an outside issuer's word for an agent", ""),
    "trust.removed": ("takes an outside issuer's word no longer", ""),
    "workspace.created": ("made a workspace", ""),
}
_TRACE = re.compile(r"[0-9a-f]{32}")
_CONCERN = {
    "left": "its owner has left",
    "unconfirmed": "nobody confirmed that they answer for it",
    "inactive": "it has done nothing for long",
}
_BY_A_PERSON = frozenset(
    {
        "agent.applied",
        "handover.offered",
        "agent.transitioned",
        "approval.answered",
        "approval.edited",
        "approval.granted",
        "approval.rejected",
        "breaker.reset",
        "release.approved",
        "release.rejected",
    }
)


def say(kind: str, data: JsonObject, by: str = "") -> Said:  # noqa: PLR0911 (one line for each type is a table)
    """What an Event of type ``kind`` with attributes ``data`` says. ``by``: its actor, named where the Event is about
    an agent and a person did it."""
    resource = str(data.get("resource") or data.get("tenure.resource") or "")
    if kind.startswith("handover.") or kind == "agent.owner_changed":
        resource = str(data.get("to") or data.get("now") or "")
    match kind:
        case "otlp.span":
            return _step(data)
        case "call.completed" | "import.call" | "fork.called" | "fork.answered":
            return _call(data)
        case "approval.requested":
            return Said("waits for approval of", resource, preview(data.get("arguments") or {}))
        case "otlp.event":
            return Said("told of", str(data.get("otlp.name") or "a GenAI event"))
        case "agent.transitioned":
            before = data.get("from")
            change = f"{before} to {data.get('to')}" if before else str(data.get("to"))
            return Said("went from" if before else "is", change, _by(by, _reason(data)))
        case "import.message":
            return Said("said", "", _spoken(data.get("tenure.message")))
        case "import.outcome":
            solved = "solved" if data.get("tenure.outcome.success") else "did not solve"
            return Said(f"{solved} task", str(data.get("tenure.task") or ""))
        case "instance.ended" if data.get("end") == "lost":
            return Said("was lost", "", "its run stopped answering")
        case "owner.concern_raised":
            due = data.get("due")
            until = (
                f"it is suspended on {str(due)[:16].replace('T', ' ')} UTC unless somebody sees to it" if due else ""
            )
            return Said("is of concern:", _CONCERN.get(str(data.get("kind")), str(data.get("kind"))), until)
        case "person.created" | "person.changed":
            roles = ", ".join(map(str, data.get("roles") or ())) or "none"
            verb = "added" if kind == "person.created" else "changed the roles of"
            return Said(verb, str(data.get("email") or ""), f"roles: {roles}")
        case _:
            kind = f"{kind}/{data['tenure.mode']}" if f"{kind}/{data.get('tenure.mode')}" in _PLAIN else kind
            verb, note = _PLAIN.get(kind, (kind.replace(".", " ").replace("_", " "), ""))
            because = _reason(data) or str(data.get("words") or "") or _looked(kind, data) or note
            return Said(verb, resource, _by(by, because) if kind in _BY_A_PERSON else because)


def _looked(kind: str, data: JsonObject) -> str:
    """What somebody looked at; empty for any other Event."""
    what = str(data.get("what") or "") if kind == "content.opened" else ""
    return f"of trace {what[:12]}" if _TRACE.fullmatch(what) else what


def _by(actor: str, because: str) -> str:
    who = f"by {actor}" if actor and not actor.startswith(("system:", "agent:", "gateway:")) else ""
    return ": ".join(filter(None, (who, because)))


@dataclass(frozen=True, slots=True)
class FeedRow:
    """One row of a feed."""

    seq: int
    id: str
    type: str
    time: str
    status: str
    agent: str
    actor: str
    said: Said
    duration: str
    trace_id: str
    span_id: str
    session: str


def _actor(actor: Any) -> str:
    kind = str(actor or "").partition(":")[0]
    return {"system": "Tenure", "gateway": "The gateway"}.get(kind, person(actor))


def feed_row(entry: JsonObject) -> FeedRow:
    """A row from an Event of the API, bare or wrapped with its number in the log."""
    event: JsonObject = entry["event"] if isinstance(entry.get("event"), Mapping) else entry
    data = event.get("data") if isinstance(event.get("data"), Mapping) else {}
    kind = str(event.get("type") or "")
    return FeedRow(
        seq=int(entry.get("seq") or event.get("seq") or 0),
        id=str(event.get("id") or ""),
        type=kind,
        time=str(event.get("time") or ""),
        status=str(event.get("status") or Status.ALLOWED),
        agent=str(event.get("agent") or ""),
        actor=_actor(event.get("actor")),
        said=Said(str(event["title"]), "", str(event.get("detail") or ""))
        if event.get("title")
        else say(kind, data or {}, person(event.get("actor"))),
        duration=duration(event.get("duration_us")),
        trace_id=str(event.get("trace_id") or ""),
        span_id=str(event.get("span_id") or ""),
        session=str(event.get("session") or ""),
    )


def newest_first(entries: Iterable[JsonObject]) -> list[FeedRow]:
    """Feed rows with the newest at the top."""
    return sorted((feed_row(entry) for entry in entries), key=lambda row: (row.seq, row.time), reverse=True)
