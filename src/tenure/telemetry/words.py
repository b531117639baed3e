"""What a person reads in the live feed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tenure.kernel.values import Event
from tenure.telemetry.model import FeedItem, reason_of, span_name
from tenure.telemetry.traces.content import withheld


def feed_item(seq: int, event: Event) -> FeedItem:
    """The feed's line for an Event with its number in the log. It tells facts and nothing that was said: it is for
    everybody who may see that something happened."""
    event = withheld(event)
    title = _title(event)
    return FeedItem(
        seq=seq,
        time=event.time,
        agent=event.agent,
        session=event.session,
        trace_id=event.trace_id,
        type=event.type,
        status=event.status,
        title=title,
        detail=_detail(event, title),
        duration_us=event.duration_us,
        id=event.id,
        actor=event.actor,
        span_id=event.span_id,
    )


def _short(event: Event) -> str:
    """``refund`` for the tool ``payments/refund``; a model's name whole, since it may hold slashes of its own."""
    resource = str(event.data.get("tenure.resource") or event.data.get("gen_ai.tool.name") or "")
    if event.data.get("tenure.kind") == "llm":
        return resource or str(event.data.get("gen_ai.request.model") or "model")
    return resource.rpartition("/")[2] or event.type


def _because(text: str, reason: Any) -> str:
    return f"{text}: {reason}" if reason else text


_MODES = {"draft": "drafted, not done", "simulate": "simulated, not done", "offer": "left for a person to do"}


def _refused(event: Event) -> str:
    if mode := event.data.get("tenure.mode"):
        return f"{_short(event)} {_MODES.get(str(mode), 'refused')}"
    return _because(f"{_short(event)} denied", reason_of(event) or event.data.get("error.type"))


def _completed(event: Event) -> str:
    data = event.data
    what, tool = _short(event), data.get("gen_ai.operation.name") == "execute_tool"
    if data.get("error.type"):
        return f"{what} failed: {data['error.type']}"
    if data.get("tenure.approval.id"):
        return f"{what} done, as approved"
    if data.get("tenure.first_use"):
        return f"first use of {what}"
    return f"used {what}" if tool else f"asked {what}"


_PLAIN = {
    "call.corrected": "a person says that this was wrong",
    "draft.claimed": "a gateway makes a prepared call",
    "draft.discarded": "a prepared call was thrown away",
    "draft.elsewhere": "a prepared call was done by other means",
    "draft.released": "a person has a prepared call made",
    "draft.returned": "no gateway took a prepared call, it waits as before",
    "agent.applied": "has a new manifest",
    "agent.owner_changed": "somebody else answers for it",
    "agent.dependency_stopped": "an agent that it depends on was stopped",
    "agent.credentials_revoked": "has new credentials, those before are dead",
    "agent_key.added": "a key of the agent's own was registered",
    "agent_key.revoked": "a key of the agent's own was revoked",
    "agent_token.revoked": "a token was ended before its time",
    "api_token.created": "an API token was made",
    "api_token.revoked": "an API token was revoked",
    "approval.ladder_removed": "an escalation ladder was removed",
    "approval.ladder_set": "an escalation ladder was set",
    "approval.hand_over_ended": "somebody answers held calls for somebody else no longer",
    "approval.handed_over": "somebody answers held calls for somebody else",
    "autonomy.accepted": "a person relaxed a tool's level on evidence",
    "autonomy.declined": "a person did not relax a tool's level",
    "autonomy.fell_back": "a tool's declared level is in force again",
    "autonomy.proposed": "the evidence is enough to relax a tool's level",
    "autonomy.seen": "what it did on the level notify was seen",
    "autonomy.set": "the least oversight of all agents was set",
    "autonomy.withdrawn": "the evidence for relaxing a tool's level turned",
    "blame.asked": "a model is asked which step failed a run",
    "blame.judged": "a model has answered which step failed a run",
    "content.opened": "looked at what was said",
    "client.seen": "an MCP client was used with its credential",
    "connector.connected": "lets agents in at an upstream",
    "connector.disconnected": "lets agents in at an upstream no longer",
    "connector.lost": "must let agents in at an upstream anew",
    "connector.revoked": "an upstream revoked a person's tokens",
    "connector.not_revoked": "an upstream did not revoke a person's tokens",
    "connector.put": "a connector was set up",
    "connector.refreshed": "a person's token at an upstream was refreshed",
    "connector.removed": "a connector was removed with all its tokens",
    "credentials.replaced": "the credentials from before a rotation are dead",
    "credentials.revoked": "credentials were revoked",
    "credentials.rotated": "credentials were rotated",
    "external_agent.imported": "the card of an agent elsewhere was imported",
    "external_agent.removed": "an agent elsewhere was removed",
    "export.put": "said where traces are sent on to",
    "export.removed": "traces are sent to a place no longer",
    "handover.accepted": "an offer of the agent was accepted",
    "handover.declined": "an offer of the agent was turned down",
    "alert.over": "what an alert was about is over",
    "alert.raised": "a rule over what agents did holds",
    "alert.seen": "a person looks after an alert",
    "alerts.rule_removed": "a person removed a rule that raises alerts",
    "alerts.rule_set": "a person set a rule that raises alerts",
    "discovery.blocked": "an agent that was found is blocked",
    "discovery.claimed": "a person answers for an agent that was found",
    "discovery.found": "an agent that nobody registered was found",
    "discovery.ignored": "an agent that was found is of no concern",
    "discovery.opened": "what was decided about an agent that was found was taken back",
    "discovery.registered": "an agent that was found was asked for",
    "handover.expired": "an offer of the agent had no answer in time",
    "handover.offered": "was offered to somebody who is to answer for it",
    "handover.withdrawn": "an offer of the agent was taken back",
    "instance.returned": "a run that was taken for lost was heard of again",
    "instance.started": "began a run",
    "fork.answered": "a tool call of a fork was answered from the record",
    "fork.called": "a fork called its model",
    "fork.ended": "a fork came to its end",
    "fork.refused": "a fork was refused its model",
    "fork.started": "a recorded run is played again",
    "key.created": "the next signing key was published",
    "key.rotated": "another key signs tokens",
    "key.retired": "a signing key was retired",
    "login.allowed": "let a program act as an agent of theirs",
    "login.begun": "a program took up what somebody had allowed it",
    "login.ended": "a program may not act for somebody any more",
    "login.refused": "did not let a program act for them",
    "login.turned_away": "a program that sent somebody here was turned away",
    "login_link.created": "a login link was made",
    "owner.concern_ended": "is of no more concern",
    "owner.concern_raised": "is of concern: nobody answers for it, or it is not needed",
    "owner.confirmed": "its owner confirmed it",
    "notify.answered": "answered a held call by a link",
    "notify.failed": "a message did not arrive and was given up",
    "notify.put": "said who is told of what",
    "notify.removed": "a destination is told nothing any more",
    "notify.replayed": "had a message sent again",
    "notify.tested": "tried a destination",
    "person.credentials_ended": "all that somebody could show has ended",
    "person.entered": "switched to this workspace",
    "person.joined": "joined from another workspace",
    "person.limited": "changed what agents may do for somebody",
    "person.passkey_added": "added a passkey",
    "person.passkey_removed": "removed a passkey",
    "person.password_changed": "set a password",
    "person.removed": "somebody is no longer let in",
    "person.logged_out": "was logged out by the issuer that they log in with",
    "person.sessions_ended": "ended sessions of their own",
    "precedent.expired": "a rule made from an approval has ended",
    "precedent.proposed": "a rule was drawn up from an approval",
    "precedent.published": "a rule made from an approval is in force",
    "precedent.revoked": "a rule made from an approval was taken back",
    "precedent.stopped": "a rule made from an approval fails its tests, and was stopped",
    "policy.loaded": "new policies are in force",
    "policy.rejected": "broken policies were refused, the ones before stay in force",
    "program.refused": "a program was not registered",
    "program.registered": "a program that people log in with was registered",
    "program.removed": "a program that people logged in with was removed",
    "release.approved": "a new release is current",
    "release.created": "a new release was recorded",
    "release.rejected": "a new release was dropped",
    "content.erased": "what was said about somebody was erased",
    "secret.bounded": "a secret may go to other places",
    "secret.key.rotated": "there is a new key around the secrets",
    "secret.outdated": "a secret's version from before was forgotten",
    "secret.put": "a secret was kept",
    "secret.removed": "a secret was removed",
    "secret.rotated": "a secret has a new value",
    "secret.used": "a secret was sent where it may go",
    "service.changed": "a service account has other roles",
    "service.created": "a service account was made",
    "service.removed": "a service account was ended",
    "token.issued": "was given a credential",
    "token.refused": "was given no token",
    "trust.added": "takes an outside issuer's word for an agent",
    "trust.removed": "takes an outside issuer's word no longer",
    "workspace.created": "this workspace was made",
}


def _by(event: Event) -> str:
    return event.actor.partition(":")[2] or event.actor


def _title(event: Event) -> str:  # noqa: PLR0911 (one line for each type reads as the table it is)
    data = event.data
    match event.type:
        case "call.completed":
            return _completed(event)
        case "call.refused":
            return _refused(event)
        case "approval.requested":
            resource = str(data.get("resource") or "call").rpartition("/")[2]
            return _because(f"{resource} waits for approval", data.get("reason"))
        case (
            "approval.granted"
            | "approval.rejected"
            | "approval.expired"
            | "approval.answered"
            | "approval.edited"
            | "approval.claimed"
            | ("approval.escalated")
        ):
            return _approval(event)
        case "breaker.reset" | "breaker.tripped" | "breaker.closed" | "breaker.trial" | "breaker.limited":
            return _breaker(event)
        case "tool.changed" | "tool.held" | "tool.restored" | "tool.rejected" | "tool.pinned" | "tool.seen":
            return _definition(event)
        case "tool.disabled" | "tool.enabled":
            word = "off" if event.type == "tool.disabled" else "on again"
            return _because(f"{data.get('resource')} switched {word} by {_by(event)}", data.get("reason"))
        case "agent.transitioned":
            change = " → ".join(str(data[end]) for end in ("from", "to") if data.get(end))
            return _because(change, data.get("reason"))
        case _:
            if event.type.startswith("sequence."):
                return _sequence(event)
            return _limit(event) if event.type.startswith("limits.") else _other(event)


def _approval(event: Event) -> str:
    data, word = event.data, event.type.rpartition(".")[2].replace("granted", "approved")
    resource = str(data.get("resource") or data.get("tenure.resource") or "call").rpartition("/")[2]
    match word:
        case "claimed":
            return "the approved call goes on"
        case "escalated":
            asked = ", ".join(str(one) for one in data.get("ask") or ())
            return f"{resource} still waits; {asked} asked"
        case "expired":
            return f"{resource} got no answer in time"
        case "answered":
            missing = " and ".join(str(one) for one in data.get("missing") or ())
            return f"{resource} approved by {_by(event)}; it waits for {missing}"
    return _because(f"{resource} {word} by {_by(event)}", data.get("reason"))


def _sequence(event: Event) -> str:
    if event.type == "sequence.asked":
        word = "gives back" if event.data.get("final") is True else "keeps"
        return f"a gateway {word} what {event.data.get('history')} did before"
    return "a call that sequence rules are about begins or has ended"


def _limit(event: Event) -> str:
    data = event.data
    match event.type:
        case "limits.reached":
            return f"{data.get('percent')} % used of {data.get('allowed')} ({data.get('account')})"
        case "limits.asked":
            return f"a gateway asks for {data.get('want')} more of {data.get('account')}"
    word = f"{event.type.rpartition('.')[2]} by {_by(event)}"
    return _because(f"limit {data.get('name')} {word}: {data.get('allowed')}", data.get("reason"))


def _breaker(event: Event) -> str:
    words = {
        "breaker.reset": f"breaker reset by {_by(event)}",
        "breaker.tripped": "breaker tripped, every call is refused",
        "breaker.closed": "breaker closed: its trial calls went well",
        "breaker.trial": "asks to be tried by a half-open breaker",
        "breaker.limited": f"limits of a breaker set by {_by(event)}",
    }
    return _because(words[event.type], event.data.get("reason"))


def _definition(event: Event) -> str:
    data = event.data
    match event.type:
        case "tool.changed":
            what = ", ".join(map(str, data.get("changed") or ())) or "definition"
            return f"{data.get('resource')} is suspended: its {what} changed"
        case "tool.held":
            return f"{data.get('resource')} waits: nobody has accepted its definition"
        case "tool.restored":
            return f"{data.get('resource')} is described as it was accepted again"
        case "tool.rejected":
            return _because(f"definition of {data.get('resource')} rejected by {_by(event)}", data.get("reason"))
        case "tool.seen":
            return f"{data.get('server')}/{data.get('tool')} is described in a way that is new"
        case _:
            return _because(f"definition of {data.get('resource')} accepted", data.get("reason"))


def _other(event: Event) -> str:  # noqa: PLR0911 (as _title)
    data = event.data
    match event.type:
        case "request.refused":
            times = "" if data.get("count") == 1 else f" ({data.get('count')} times)"
            return f"sent what is no call: {data.get('error.type')}{times}"
        case "gateway.dropped":
            records = "1 record was" if data.get("count") == 1 else f"{data.get('count')} records were"
            return f"{records} lost at the gateway; the calls were still decided"
        case "person.created" | "person.changed":
            roles = ", ".join(map(str, data.get("roles") or ())) or "none"
            return (
                f"{data.get('email')} {'may log in' if event.type == 'person.created' else 'changed'}, roles: {roles}"
            )
        case "person.logged_in":
            return "logged in"
        case "instance.ended":
            return "a run stopped answering and is taken for lost" if data.get("end") == "lost" else "ended a run"
        case "otlp.event":
            return f"told of {data.get('otlp.name') or 'a GenAI event'}"
        case "otlp.span" | "import.call" | "import.message":
            return span_name(event)
        case "import.outcome":
            solved = "solved" if data.get("tenure.outcome.success") else "not solved"
            return f"task {data.get('tenure.task')} {solved}"
        case _:
            return _PLAIN.get(event.type) or event.type.replace(".", " ").replace("_", " ")


def _detail(event: Event, title: str) -> str:
    data = event.data
    resource = str(data.get("tenure.resource") or data.get("resource") or "")
    parts = [] if resource in title else [resource]
    tokens = data.get("gen_ai.usage.input_tokens"), data.get("gen_ai.usage.output_tokens")
    if any(count is not None for count in tokens):
        parts.append(f"{tokens[0] or 0} tokens in, {tokens[1] or 0} out")
    if isinstance(data.get("tenure.cost_usd"), str):
        parts.append(f"{data['tenure.cost_usd']} US dollars")
    decision = data.get("tenure.decision")
    policies = decision.get("policies") if isinstance(decision, Mapping) else data.get("policies")
    if policies and event.type != "call.completed":
        parts.append("by " + ", ".join(map(str, policies)))
    return " · ".join(part for part in parts if part)
