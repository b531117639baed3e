"""The vocabularies of what agents do, and what Tenure calls it. Pure; ``docs/conventions.md`` is made of this table.

A span is kept in the words of the OpenTelemetry GenAI conventions at the commit that ``PINNED`` names, whichever it
came in. What says the same thing twice is kept once; what Tenure has no word for, or cannot read, stays as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tenure.kernel.json import Json
from tenure.telemetry.otlp import gemini, readers
from tenure.telemetry.otlp.readers import count, dollars, instructions, messages, name, structured, text

PINNED: Mapping[str, str] = {
    "GenAI": "open-telemetry/semantic-conventions-genai at commit 002c8a6ea1c8a42b14a4527db83b3cabcded610a",
    "GenAI before": "open-telemetry/semantic-conventions up to 1.44.0 (opentelemetry-semantic-conventions 0.66b2)",
    "OpenInference": "openinference-semantic-conventions 0.1.42",
    "OpenLLMetry": "opentelemetry-semantic-conventions-ai 0.5.1",
    "ADK before": "google-adk up to 2.12; 2.13.0 with ADK_TELEMETRY_SCHEMA_VERSION_OPT_IN=1",
}
"""Where each vocabulary's names are taken from."""
NOW, BEFORE, INFERENCE, LLMETRY, ADK = PINNED
KIND = "otlp.step"
"""What kind of step a span says it is; ``tenure.kind`` is what a gateway saw."""
COST = "client.cost_usd"
"""What the client says that a call cost; what Tenure reckons is ``tenure.cost_usd``."""

_TOOL, _AGENT, _RETRIEVAL, _LLM = (frozenset({kind}) for kind in ("tool", "agent", "retrieval", "llm"))


@dataclass(frozen=True, slots=True)
class Source:
    """Where a vocabulary says it. ``read`` makes the value ours, or None; ``flat``: ``attribute`` begins the names of
    many that are one list; ``kinds``: only on spans of these; ``stays``: it says more than this, and is kept as it
    came."""

    vocabulary: str
    attribute: str
    read: Callable[[Json], Json]
    flat: bool = False
    kinds: frozenset[str] = frozenset()
    stays: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that Tenure knows of a span: its ``word``, the attribute it is kept under, and who else says it."""

    word: str
    attribute: str
    sources: tuple[Source, ...]


def _count(word: str, attribute: str, *more: tuple[str, str]) -> Field:
    sources = (Source(NOW, attribute, count), *(Source(who, other, count) for who, other in more))
    return Field(word, attribute, sources)


_LLM_OPERATIONS = ("chat", "generate_content", "text_completion")
_MEMORY_OPERATIONS = (
    *("create_memory", "create_memory_store", "delete_memory", "delete_memory_store"),
    *("search_memory", "update_memory", "upsert_memory"),
)
KINDS: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    (
        INFERENCE,
        "openinference.span.kind",
        {
            "LLM": "llm",
            "TOOL": "tool",
            "AGENT": "agent",
            "RETRIEVER": "retrieval",
            "RERANKER": "retrieval",
            "EMBEDDING": "embedding",
            "GUARDRAIL": "guardrail",
            "EVALUATOR": "evaluator",
        },
    ),
    (
        NOW,
        "gen_ai.operation.name",
        dict.fromkeys(_LLM_OPERATIONS, "llm")
        | dict.fromkeys(("create_agent", "invoke_agent"), "agent")
        | {"execute_tool": "tool", "embeddings": "embedding", "retrieval": "retrieval"}
        | dict.fromkeys(_MEMORY_OPERATIONS, "memory"),
    ),
    (LLMETRY, "traceloop.span.kind", {"tool": "tool", "agent": "agent"}),
    (
        LLMETRY,
        "llm.request.type",
        {"chat": "llm", "completion": "llm", "embedding": "embedding", "rerank": "retrieval"},
    ),
)
"""What tells the kind of a span, first found first: vocabulary, attribute, its values."""

FIELDS: tuple[Field, ...] = (
    Field(
        "model asked for",
        "gen_ai.request.model",
        (
            Source(NOW, "gen_ai.request.model", text),
            Source(INFERENCE, "llm.request.model_name", text),
            Source(INFERENCE, "llm.model_name", text),
            Source(INFERENCE, "embedding.model_name", text),
            Source(INFERENCE, "reranker.model_name", text),
        ),
    ),
    Field(
        "model that answered",
        "gen_ai.response.model",
        (Source(NOW, "gen_ai.response.model", text), Source(INFERENCE, "llm.response.model_name", text)),
    ),
    Field(
        "provider",
        "gen_ai.provider.name",
        (
            Source(NOW, "gen_ai.provider.name", name),
            Source(BEFORE, "gen_ai.system", name),
            Source(INFERENCE, "llm.provider", name),
            Source(INFERENCE, "llm.system", name),
        ),
    ),
    _count(
        "tokens in",
        "gen_ai.usage.input_tokens",
        (BEFORE, "gen_ai.usage.prompt_tokens"),
        (INFERENCE, "llm.token_count.prompt"),
    ),
    _count(
        "tokens out",
        "gen_ai.usage.output_tokens",
        (BEFORE, "gen_ai.usage.completion_tokens"),
        (INFERENCE, "llm.token_count.completion"),
    ),
    _count(
        "of these read from the cache",
        "gen_ai.usage.cache_read.input_tokens",
        (LLMETRY, "gen_ai.usage.cache_read_input_tokens"),
        (INFERENCE, "llm.token_count.prompt_details.cache_read"),
        (INFERENCE, "llm.token_count.prompt_details.cache_input"),
    ),
    _count(
        "of these written to the cache",
        "gen_ai.usage.cache_creation.input_tokens",
        (LLMETRY, "gen_ai.usage.cache_creation_input_tokens"),
        (INFERENCE, "llm.token_count.prompt_details.cache_write"),
    ),
    _count(
        "of those out, for reasoning",
        "gen_ai.usage.reasoning.output_tokens",
        (LLMETRY, "gen_ai.usage.reasoning_tokens"),
        (LLMETRY, "llm.usage.reasoning_tokens"),
        (INFERENCE, "llm.token_count.completion_details.reasoning"),
    ),
    Field("cost, as the client says", COST, (Source(INFERENCE, "llm.cost.total", dollars),)),
    Field(
        "system instructions",
        "gen_ai.system_instructions",
        (
            Source(NOW, "gen_ai.system_instructions", instructions),
            Source(ADK, "gcp.vertex.agent.llm_request", gemini.instructions, stays=True),
        ),
    ),
    Field(
        "input messages",
        "gen_ai.input.messages",
        (
            Source(NOW, "gen_ai.input.messages", messages),
            Source(INFERENCE, "llm.input_messages", readers.openinference_messages, flat=True),
            Source(LLMETRY, "gen_ai.prompt", readers.openllmetry_messages, flat=True),
            Source(ADK, "gcp.vertex.agent.llm_request", gemini.asked, stays=True),
        ),
    ),
    Field(
        "output messages",
        "gen_ai.output.messages",
        (
            Source(NOW, "gen_ai.output.messages", messages),
            Source(INFERENCE, "llm.output_messages", readers.openinference_messages, flat=True),
            Source(LLMETRY, "gen_ai.completion", readers.openllmetry_messages, flat=True),
            Source(INFERENCE, "output.value", readers.openinference_calls, kinds=_LLM),
            Source(ADK, "gcp.vertex.agent.llm_response", gemini.answered, stays=True),
        ),
    ),
    Field(
        "why it stopped",
        "gen_ai.response.finish_reasons",
        (
            Source(NOW, "gen_ai.response.finish_reasons", readers.reasons),
            Source(LLMETRY, "gen_ai.response.finish_reason", readers.reasons),
            Source(LLMETRY, "llm.response.finish_reason", readers.reasons),
            Source(INFERENCE, "llm.finish_reason", readers.reasons),
        ),
    ),
    Field(
        "tool",
        "gen_ai.tool.name",
        (
            Source(NOW, "gen_ai.tool.name", text),
            Source(INFERENCE, "tool.name", text),
            Source(LLMETRY, "traceloop.entity.name", text, kinds=_TOOL),
        ),
    ),
    Field(
        "tool call",
        "gen_ai.tool.call.id",
        (Source(NOW, "gen_ai.tool.call.id", text), Source(INFERENCE, "tool.id", text)),
    ),
    Field(
        "arguments",
        "gen_ai.tool.call.arguments",
        (
            Source(NOW, "gen_ai.tool.call.arguments", readers.input_of_tool),
            Source(INFERENCE, "input.value", structured, kinds=_TOOL),
            Source(LLMETRY, "traceloop.entity.input", readers.input_of_tool, kinds=_TOOL),
            Source(ADK, "gcp.vertex.agent.tool_call_args", structured, kinds=_TOOL),
        ),
    ),
    Field(
        "result",
        "gen_ai.tool.call.result",
        (
            Source(NOW, "gen_ai.tool.call.result", readers.output_of_tool),
            Source(INFERENCE, "output.value", readers.output_of_tool, kinds=_TOOL),
            Source(LLMETRY, "traceloop.entity.output", readers.output_of_tool, kinds=_TOOL),
            Source(ADK, "gcp.vertex.agent.tool_response", structured, kinds=_TOOL),
        ),
    ),
    Field(
        "query",
        "gen_ai.retrieval.query.text",
        (
            Source(NOW, "gen_ai.retrieval.query.text", text),
            Source(INFERENCE, "reranker.query", text),
            Source(INFERENCE, "input.value", text, kinds=_RETRIEVAL),
        ),
    ),
    Field(
        "documents found",
        "gen_ai.retrieval.documents",
        (
            Source(NOW, "gen_ai.retrieval.documents", readers.listed),
            Source(INFERENCE, "retrieval.documents", readers.openinference_documents, flat=True),
            Source(INFERENCE, "reranker.output_documents", readers.openinference_documents, flat=True),
        ),
    ),
    Field("memory store", "gen_ai.memory.store.id", (Source(NOW, "gen_ai.memory.store.id", text),)),
    Field("memory record", "gen_ai.memory.record.id", (Source(NOW, "gen_ai.memory.record.id", text),)),
    _count("memory records", "gen_ai.memory.record.count"),
    Field("query to a memory", "gen_ai.memory.query.text", (Source(NOW, "gen_ai.memory.query.text", text),)),
    Field("what was read or kept", "gen_ai.memory.records", (Source(NOW, "gen_ai.memory.records", readers.listed),)),
    Field(
        "agent that ran",
        "gen_ai.agent.name",
        (
            Source(NOW, "gen_ai.agent.name", text),
            Source(INFERENCE, "agent.name", text),
            Source(INFERENCE, "graph.node.id", text, kinds=_AGENT),
            Source(LLMETRY, "traceloop.entity.name", text, kinds=_AGENT),
        ),
    ),
    Field(
        "session, as the client says",
        "gen_ai.conversation.id",
        (
            Source(NOW, "gen_ai.conversation.id", text),
            Source(INFERENCE, "session.id", text),
            Source(LLMETRY, "traceloop.association.properties.session_id", text),
            Source(LLMETRY, "traceloop.association.properties.thread_id", text),
            Source(ADK, "gcp.vertex.agent.session_id", text),
        ),
    ),
    Field(
        "user, as the client says",
        "user.id",
        (
            Source(INFERENCE, "user.id", text),
            Source(BEFORE, "enduser.id", text),
            Source(LLMETRY, "gen_ai.user", text),
            Source(LLMETRY, "llm.user", text),
            Source(LLMETRY, "traceloop.association.properties.user_id", text),
        ),
    ),
    Field("error", "error.type", (Source(NOW, "error.type", text),)),
)
"""Every field, each with what says it, first found first."""

EVENTS: Mapping[str, tuple[str, str]] = {
    "gen_ai.system.message": ("gen_ai.input.messages", "system"),
    "gen_ai.user.message": ("gen_ai.input.messages", "user"),
    "gen_ai.assistant.message": ("gen_ai.input.messages", "assistant"),
    "gen_ai.tool.message": ("gen_ai.input.messages", "tool"),
    "gen_ai.choice": ("gen_ai.output.messages", "assistant"),
}
"""Events of the conventions before, each of which brings one message in its body: where it is kept, and whose it is."""


def kind_of(attributes: Mapping[str, Json]) -> str | None:
    """What kind of step a span is: llm, tool, agent, retrieval, embedding, guardrail, evaluator or memory."""
    for _vocabulary, attribute, kinds in KINDS:
        value = attributes.get(attribute)
        if isinstance(value, str) and value in kinds:
            return kinds[value]
    return None


def in_our_words(attributes: Mapping[str, Json]) -> dict[str, Json]:
    """A span's attributes in the words of Tenure. Values that say what is said already go; all others stay."""
    left, ours = dict(attributes), dict[str, Json]()
    kind = kind_of(left)
    if kind is not None:
        ours[KIND] = kind
    for field in FIELDS:
        for source in field.sources:
            if source.kinds and kind not in source.kinds:
                continue
            said = _said(left, source)
            value = source.read(said) if said is not None else None
            if value is not None and ours.setdefault(field.attribute, value) == value and not source.stays:
                _drop(left, source)
        if field.attribute in ours and field.attribute in left:  # it could not be read, and another said it
            left[f"client.{field.attribute}"] = left.pop(field.attribute)
    return left | ours


def _said(attributes: Mapping[str, Json], source: Source) -> Json:
    if not source.flat:
        return attributes.get(source.attribute)
    begin = f"{source.attribute}."
    return {key[len(begin) :]: value for key, value in attributes.items() if key.startswith(begin)} or None


def _drop(attributes: dict[str, Json], source: Source) -> None:
    if source.flat:
        begin = f"{source.attribute}."
        for key in [key for key in attributes if key.startswith(begin)]:
            del attributes[key]
    else:
        attributes.pop(source.attribute, None)


def of_event(event: str, body: Json) -> dict[str, Json]:
    """What an event of the conventions before says in its body, in the words of Tenure; empty when it is none."""
    place, role = EVENTS.get(event, ("", ""))
    if not place or not isinstance(body, dict):
        return {}
    inner = body.get("message")
    message = inner if isinstance(inner, dict) else body
    call = {"tool_call_id": body["id"]} if role == "tool" and "id" in body else {}
    found = messages([{"role": role, **call, **{key: value for key, value in message.items() if key != "id"}}])
    if found is None:
        return {}
    reason = body.get("finish_reason")
    return {place: [{**found[0], "finish_reason": reason}] if reason else found}


def page() -> str:
    """The page of the documentation that shows this table."""
    lines = ["# What is understood of what agents send", ""]
    lines += [
        "A span is kept in the words of the GenAI conventions, whichever vocabulary it came in. What says the same"
    ]
    lines += [
        "is kept once; what is not in this table stays as it came. How to send: [telemetry.md](telemetry.md).",
        "",
    ]
    lines += ["| vocabulary | names as of |", "|---|---|"]
    lines += [f"| {who} | {where} |" for who, where in PINNED.items()]
    others = (BEFORE, INFERENCE, LLMETRY, ADK)
    lines += ["", f"| what | kept as | {' | '.join(others)} |", "|---|---|" + "---|" * len(others)]
    for field in FIELDS:
        columns = [_column(field, who) for who in others]
        lines.append(f"| {field.word} | `{field.attribute}` | {' | '.join(columns)} |")
    lines += ["", "The kind of a step (`otlp.step`) is what the first of these says that is there:", ""]
    lines += ["| vocabulary | attribute | kinds |", "|---|---|---|"]
    for who, attribute, kinds in KINDS:
        said = ", ".join(f"`{value}`: {kind}" for value, kind in kinds.items())
        lines.append(f"| {who} | `{attribute}` | {said} |")
    events = ", ".join(f"`{event}`" for event in EVENTS)
    lines += ["", f"Events of the conventions before, one message each: {events}."]
    return "\n".join(lines) + "\n"


def _column(field: Field, vocabulary: str) -> str:
    found = [source for source in field.sources if source.vocabulary == vocabulary]
    said = [
        f"`{source.attribute}{'.*' if source.flat else ''}`"
        + (f" (kind {', '.join(sorted(source.kinds))})" if source.kinds else "")
        for source in found
    ]
    return ", ".join(said)
