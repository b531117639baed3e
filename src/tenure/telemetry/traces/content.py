"""What of an Event is content, kept under the key of whom it is about, and what are facts, kept as they are. Pure.

Facts say that something happened, what it was and what it cost; content is what was said. Of the Events that carry
content, every attribute that is not known to be a fact is content: what nobody thought of is kept under a key.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from tenure.kernel.json import JsonObject
from tenure.kernel.values import Event

CARRIERS = (
    *("call.", "request.", "approval.requested", "approval.edited", "draft.", "fork.", "otlp.", "import.", "blame."),
)
"""How the types of Events begin that carry content. All others are what somebody did to an agent or to Tenure, and are
facts."""
GONE = "tenure.content"
"""The attribute that says, of an Event whose content is gone, why: ``erased``, ``expired`` or ``sampled``;
or ``withheld``, from whoever asks (``base.sight``)."""
FACTS = frozenset(
    {
        "a2a.binding",
        "a2a.method",
        "a2a.task.state",
        "approval_id",
        "call",
        "call_id",
        "claim",
        "client.address",
        "count",
        "digest",
        "draft",
        "error.type",
        "gen_ai.agent.name",
        "gen_ai.conversation.id",
        "gen_ai.embeddings.dimension.count",
        "gen_ai.memory.record.count",
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.encoding_formats",
        "gen_ai.request.model",
        "gen_ai.request.stream",
        "gen_ai.response.finish_reasons",
        "gen_ai.response.model",
        "gen_ai.response.time_to_first_chunk",
        "gen_ai.tool.name",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.reasoning.output_tokens",
        "http.request.body.size",
        "http.request.method",
        "http.response.body.size",
        "http.response.status_code",
        "kind",
        "mcp.client.name",
        "mcp.client.version",
        "mcp.method.name",
        "mcp.protocol.version",
        "mcp.server.name",
        "openai.api.type",
        "otlp.kind",
        "otlp.name",
        "otlp.resource",
        "otlp.scope",
        "otlp.status",
        "otlp.step",
        "policies",
        "resource",
        "server.address",
        "tenure.approval.id",
        "tenure.arguments",
        "tenure.blame.came_to",
        "tenure.blame.of",
        "tenure.blame.prompt",
        "tenure.breaker.epoch",
        "tenure.call.id",
        "tenure.capture.truncated",
        "tenure.chain",
        "tenure.chain.handed_by",
        "tenure.charged",
        "tenure.client.key",
        "tenure.client.title",
        "tenure.confidence",
        "tenure.cost_usd",
        "tenure.counted_tokens",
        "tenure.decide_us",
        "tenure.decided_at",
        "tenure.decision",
        "tenure.duration_us",
        "tenure.facts",
        "tenure.findings",
        "tenure.fork",
        "tenure.fork.answered",
        "tenure.fork.came_to",
        "tenure.fork.changed",
        "tenure.fork.of",
        "tenure.fork.same",
        "tenure.fork.step",
        "tenure.first_use",
        "tenure.gateway",
        "tenure.kind",
        "tenure.mode",
        "tenure.model.served",
        "tenure.origin",
        "tenure.outcome.reward",
        "tenure.outcome.success",
        "tenure.policy",
        "tenure.resource",
        "tenure.result",
        "tenure.returned.decision",
        "tenure.risk",
        "tenure.scope",
        "tenure.scope.more",
        "tenure.source",
        "tenure.spent",
        "tenure.step",
        "tenure.tier",
        "tenure.tool.fingerprint",
        "tenure.trial",
        "tenure.violation",
        "tenure.waited_us",
        "url.path",
        "user_agent.original",
    }
)
"""Attributes that are facts wherever they stand."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def subject_of(event: Event) -> str:
    """Whom the content of an Event is about: the person at the end, the person for whom the agent worked, or else the
    agent; ``workspace`` for what came of none."""
    person = event.data.get("enduser.id") or event.data.get("tenure.on_behalf_of")
    if person:
        return f"person:{person}"
    return f"agent:{event.agent}" if event.agent else "workspace"


def split(event: Event) -> tuple[str, JsonObject]:
    """The facts of an Event as JSON text, and its content, empty for none."""
    if not event.type.startswith(CARRIERS):
        return _encode(event.data).decode(), {}
    said = {name: value for name, value in event.data.items() if name not in FACTS}
    facts = {name: value for name, value in event.data.items() if name in FACTS} if said else event.data
    return _encode(facts).decode(), said


def packed(said: JsonObject) -> bytes:
    """Content as JSON."""
    return _encode(said)


def joined(facts: str, content: bytes) -> str:
    """Both as one JSON text."""
    if not content:
        return facts
    text = content.decode()
    return text if facts == "{}" else f"{facts[:-1]},{text[1:]}"


def has_content(event: Event) -> bool:
    """Whether an Event has anything in it that is content."""
    return event.type.startswith(CARRIERS) and not event.data.keys() <= FACTS


def withheld(event: Event) -> Event:
    """The Event without its content, for somebody who may not see it."""
    if not has_content(event):
        return event
    facts: JsonObject = {name: value for name, value in event.data.items() if name in FACTS}
    return replace(event, data={**facts, GONE: "withheld"})


def attributes(text: str) -> dict[str, Any]:
    """The attributes of an Event, of JSON text."""
    return _decode(text)


def without(facts: str, why: str) -> str:
    """The attributes of an Event whose content is gone, as JSON text."""
    return joined(facts, _encode({GONE: why}))
