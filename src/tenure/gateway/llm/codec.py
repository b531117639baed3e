"""What the wires of all model providers have in common: the values a codec makes, and the reading of streams. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from tenure.base.scan.texts import clean
from tenure.gateway.http import decode_json
from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Decision, Effect
from tenure.kernel.wires import provider_at

CAPTURE_MAX = 4 << 20
"""Longest request or answer whose content is captured, in bytes; beyond it only the facts about it are."""
_SHORT = 64 << 10
EVENT_STREAM = frozenset({"text/event-stream"})

_DECLARED = {"google": "gcp.gemini", "gemini": "gcp.gemini", "azure": "azure.ai.openai", "mistral": "mistral_ai"}


_USAGE = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "cached": "gen_ai.usage.cache_read.input_tokens",
    "written": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, read as far as Tenure needs it. ``arguments`` are the facts policy may read: the content itself is not
    among them, but an approval binds the exact bytes. ``body`` is the decoded request, None where it was not read."""

    model: str
    stream: bool
    arguments: JsonObject
    end_user: str | None = None
    body: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """An error that the gateway itself answers with; each wire has its own shape for it. ``more`` are facts for
    programs, such as the policies that denied."""

    status: int
    kind: str
    code: str
    message: str
    more: JsonObject = field(default_factory=dict)


class Stream(Protocol):
    """The reading of one stream. Neither method raises, whatever comes."""

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""

    def attributes(self) -> dict[str, Any]:
        """Those of the Event, once the stream is over or broken off."""


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def renamed(body: bytes, model: str) -> bytes:
    """A JSON object with another text as its ``model``. Every other value keeps its very bytes."""
    return replaced(body, {"model": msgspec.json.encode(model)})


def replaced(body: bytes | msgspec.Raw, values: Mapping[str, bytes]) -> bytes:
    """A JSON object with the values of some members replaced by others, which are JSON already."""
    members = {name: values.get(name, value) for name, value in _members.decode(body).items()}
    return b"{%s}" % b",".join(msgspec.json.encode(name) + b":" + value for name, value in members.items())


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint of a provider's API. ``name`` is ``gen_ai.operation.name``.

    ``read`` makes an Ask of (body, the model that the path names or ``""``) and raises Refused (400). The next three
    make attributes of an Event and never raise: ``asked`` of the request, ``answered`` of a whole answer, ``streamed``
    of a stream, with a new ``Stream`` for each. ``renamed`` is a body that names another model and says the same in
    all else. ``streams``: the content types that are passed on chunk by chunk, None for all.
    """

    name: str
    read: Callable[[bytes, str], Ask]
    asked: Callable[[Ask], dict[str, Any]]
    answered: Callable[[bytes], dict[str, Any]]
    streamed: Callable[[], Stream]
    streams: frozenset[str] | None = EVENT_STREAM
    renamed: Callable[[bytes, str], bytes] = renamed


@dataclass(frozen=True, slots=True)
class Wire:
    """How a provider's API carries what is not an operation. ``provider`` is ``gen_ai.provider.name`` where neither the
    upstream's host nor the manifest tells. The key goes into header ``key_header`` after ``key_prefix``.

    ``error`` is the body of an error answer, ``broken`` what is said in a stream that breaks off (empty: nothing can
    be). ``models`` makes the answer to a list of models, ``model`` that to a question for one. ``keeps_version``: the
    version of the API is the client's choice, in its path, and not that of the upstream's address.
    """

    provider: str
    key_header: str
    key_prefix: str
    error: Callable[[Fault], bytes]
    broken: Callable[[Fault], bytes]
    models: Callable[[Iterable[str]], bytes]
    model: Callable[[str], bytes]
    keeps_version: bool = False


def read_object(body: bytes, what: str) -> dict[str, Any]:
    """The body as a JSON object. Raises Refused (400)."""
    value = decode_json(body)
    if not isinstance(value, dict):
        raise wrong(what, "the body must be a JSON object", "Send a JSON object.")
    if names_models(body, value):
        raise wrong(what, "it has more than one `model`", "Name one model.")
    return value


def names_models(body: bytes, value: JsonObject) -> bool:
    """Whether an object (``value``, read from ``body``) has several members that a reader could take for ``model``:
    readers differ in which of two equal ones counts, and some do not look at the case of letters. What is decided here
    must be what the upstream reads."""
    if any(len(name) == 5 and name != "model" and name.lower() == "model" for name in value):
        return True
    # Searching from both ends takes a fifth of the time of counting, on the way of every call.
    second = body.find(b'"model"') != body.rfind(b'"model"')
    if not second and not (b"\\" in body and b"\\u006" in body):  # nor one spelled with escapes
        return False
    try:
        members = json.loads(body, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return True
    return len([name for name, _ in members if name == "model"]) > 1


def model_of(value: JsonObject, what: str) -> str:
    """The model that a request asks for. Raises Refused (400) when it names none."""
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise wrong(what, "`model` must be a text", "Name one of the models of GET /v1/models.")
    return model


def stream_of(value: JsonObject, what: str) -> bool:
    """Whether a request asks for a stream. Raises Refused (400) when it says neither yes nor no."""
    stream = value.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise wrong(what, "`stream` must be true or false", "Leave it out for an answer in one piece.")
    return bool(stream)


def wrong(what: str, problem: str, fix: str) -> Refused:
    """The refusal of a body that is not a request of that kind."""
    return Refused("bad_request", f"This is not {what}: {problem}.", fix=fix, status=400)


def numbers(value: JsonObject, *names: str) -> dict[str, int]:
    """Those of ``names`` that are whole numbers in ``value``."""
    return {name: value[name] for name in names if whole(value.get(name))}


def whole(value: Json) -> bool:
    """Whether it is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def parsed(body: bytes) -> Json:
    """A body as JSON, None when it is not."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def redacted(body: bytes, what: Collection[str]) -> bytes:
    """A body without what is found in it of the classes and rules ``what``. One of JSON stays JSON."""
    cleaned = clean(body, what)
    return cleaned if isinstance(cleaned, bytes) else body


def table(value: Json) -> JsonObject:
    """``value`` when it is an object, an empty one otherwise."""
    return value if isinstance(value, dict) else {}


def rows(value: Json) -> list[JsonObject]:
    """The objects of an array; none of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def usage(**tokens: Json) -> dict[str, int]:
    """``gen_ai.usage.*`` of those counts that are whole numbers: ``input`` and ``output`` are totals, ``cached`` and
    ``written`` (to the cache) are parts of the input and ``reasoning`` of the output, as the conventions have it."""
    return {_USAGE[name]: count for name, count in tokens.items() if count is not None and whole(count)}


def responded(
    out: dict[str, Any], ident: Json = None, model: Json = None, reasons: Iterable[Json] = ()
) -> dict[str, Any]:
    """Adds the answer's id, its model and why it ended to ``out``, as far as they are texts."""
    if isinstance(ident, str):
        out["gen_ai.response.id"] = ident
    if isinstance(model, str):
        out["gen_ai.response.model"] = model
    words = [reason for reason in reasons if isinstance(reason, str)]
    if words:
        out["gen_ai.response.finish_reasons"] = words
    return out


def answer(body: bytes, attributes: Callable[[JsonObject], dict[str, Any] | None]) -> dict[str, Any]:
    """The attributes of a whole answer; ``error.type`` when it is not what the API promises (``attributes`` says
    None)."""
    short = len(body) <= CAPTURE_MAX
    value = parsed(body) if short else _outline(body)
    found = attributes(value) if isinstance(value, dict) else None
    out = {"error.type": "garbage"} if found is None else found
    return out if short else {**out, "tenure.capture.truncated": True}


def _outline(body: bytes) -> JsonObject | None:
    """An object with its long members left empty: what a long answer cost is told though it is not kept."""
    try:
        members = _members.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return {name: parsed(bytes(value)) if memoryview(value).nbytes <= _SHORT else [] for name, value in members.items()}


def error_attributes(body: bytes) -> dict[str, Any]:
    """What an upstream's error answer says, for the Event. All known wires put it at ``error.message``."""
    return told(parsed(body[:CAPTURE_MAX]))


def told(value: Json) -> dict[str, Any]:
    """``error.message`` of an error object, when it has a text there."""
    if isinstance(value, list) and len(value) == 1:  # Google's streams wrap it
        value = value[0]
    message = table(table(value).get("error")).get("message")
    return {"error.message": message[:1000]} if isinstance(message, str) else {}


@lru_cache(maxsize=256)
def provider(base_url: str, declared: str, default: str) -> tuple[str, str]:
    """(``gen_ai.provider.name``, ``server.address``) of an upstream: by its host where that is well known, else as the
    manifest declares it, else the provider whose API it speaks."""
    host = urlsplit(base_url).hostname or ""
    return provider_at(host) or _DECLARED.get(declared, declared) or default, host


def refusal(decision: Decision, call_id: str, approval_id: str | None) -> Fault:
    """A call that was not allowed: 409 while it waits for a person, 503 without valid facts, 429 when a limit has no
    room for it, 403 otherwise."""
    more: dict[str, Any] = {"policies": decision.policies, "decision_id": call_id}
    if decision.effect is Effect.HOLD:
        text = f"{decision.reason} It waits as approval {approval_id}; send the same request again to pick it up."
        return Fault(409, "approval_pending", "approval_pending", text, {"approval_id": approval_id, **more})
    if approval_id is not None:
        more["approval_id"] = approval_id
    if "system/stale-snapshot" in decision.policies:
        return Fault(503, "service_unavailable", "stale_snapshot", decision.reason, more)
    if "system/limit" in decision.policies:
        return Fault(429, "rate_limit_error", "rate_limit_exceeded", decision.reason, more)
    code = next((rule.removeprefix("system/") for rule in decision.policies if rule.startswith("system/")), "policy")
    text = decision.reason if not decision.policies else f"{decision.reason} [{', '.join(decision.policies)}]"
    return Fault(403, "permission_denied", f"denied_{code}".replace("-", "_"), text, more)
