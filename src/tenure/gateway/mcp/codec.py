"""The wire of MCP as values: requests told from noise, answers built, streams cut into events. No I/O.

Two lives of the protocol are spoken. Revisions up to 2025-11-25 open a session with ``initialize``; 2026-07-28 has no
sessions, and every request carries its version and its client's capabilities in ``params._meta`` and repeats what
routers need in headers (https://modelcontextprotocol.io/specification/2026-07-28/basic/transports).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any
from urllib.parse import urlencode

import msgspec

from tenure import __version__
from tenure.gateway.http import decode_json
from tenure.gateway.justification import META as META_REASON
from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonArray, JsonObject
from tenure.kernel.values import Decision

HANDSHAKE_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions with sessions, oldest first."""
MODERN_VERSIONS = ("2026-07-28",)
"""Revisions without sessions."""

META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META_CLIENT = "io.modelcontextprotocol/clientInfo"
META_LOG_LEVEL = "io.modelcontextprotocol/logLevel"
META_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
META_SERVER = "io.modelcontextprotocol/serverInfo"
META_DECISION = "tenure/decision"
META_APPROVAL = "tenure/approval"
META_UNAVAILABLE = "tenure/unavailable"
META_ERROR = "tenure/error"

RPC_CODES: Mapping[str, int] = {
    "bad_json": -32700,
    "json_too_deep": -32700,
    "invalid_request": -32600,
    "method_not_found": -32601,
    "invalid_params": -32602,
    "internal_error": -32603,
    "header_mismatch": -32020,
    "unsupported_protocol_version": -32022,
}
"""The JSON-RPC number of each code that a Refused of this room carries."""
NOT_DONE = -32000
"""The JSON-RPC number of a refusal by policy and of a failure, where the method's result has no place for either."""
_MODERN_STATUS = {-32700: 400, -32600: 400, -32602: 400, -32020: 400, -32021: 400, -32022: 400, -32601: 404}

SERVER_INFO: JsonObject = {"name": "tenure", "title": "Tenure gateway", "version": __version__}
_OF_ONE_REQUEST = frozenset(
    {META_REASON, META_VERSION, META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, "progressToken", "gen_ai.tool.call.id"}
    | {"traceparent", "tracestate", "baggage", "tenure/confidence"}
)
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_SENTINEL = re.compile(r"=\?base64\?(.*)\?=")
_PLAIN = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a client. ``id`` is None for a notification. A response (``method`` is empty) has the id of our
    request and is kept whole in ``answer``."""

    method: str
    id: str | int | None = None
    params: JsonObject = field(default_factory=dict)
    modern: bool = False
    version: str = HANDSHAKE_VERSIONS[-1]
    answer: JsonObject | None = None

    @property
    def meta(self) -> JsonObject:
        """``params._meta``, empty where there is none."""
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}


def read_message(body: bytes, headers: Mapping[str, str]) -> Message:
    """The message in a POST's body. ``headers`` have lower-case names.

    Raises Refused with a code of RPC_CODES; ``details["id"]`` is the request's id where one could be read."""
    raw = decode_json(body)
    if isinstance(raw, list):
        raise Refused("invalid_request", "Batches are not taken.", fix="Send one JSON-RPC message per POST.")
    if not isinstance(raw, dict) or raw.get("jsonrpc") != "2.0":
        raise Refused("invalid_request", "The body is not a JSON-RPC 2.0 message.", fix='Send "jsonrpc": "2.0".')
    version = headers.get("mcp-protocol-version", "")
    identity = raw.get("id")
    if isinstance(identity, bool) or not isinstance(identity, str | int):
        identity = None  # no refusal may carry it back: JSON-RPC knows no such id
    if "method" not in raw and ("result" in raw or "error" in raw):
        if version in MODERN_VERSIONS:
            raise Refused("invalid_request", "Clients send no responses at this revision.")
        return Message("", identity, version=version or "2025-03-26", answer=raw)
    method, params = raw.get("method"), raw.get("params", {})
    if not isinstance(method, str) or not isinstance(params, dict):
        raise Refused("invalid_request", "`method` must be a string and `params` an object.", details={"id": identity})
    if "id" in raw and identity is None:
        raise Refused("invalid_request", "`id` must be a string or an integer.")
    meta = params.get("_meta")
    declares = isinstance(meta, dict) and META_VERSION in meta
    # a client that opens a session may name any revision in the header; the params say which one it wants
    if declares or (method != "initialize" and version not in ("", *HANDSHAKE_VERSIONS)):
        if "id" in raw:
            _check_envelope(method, params, headers, identity)
        elif version not in MODERN_VERSIONS:
            raise _unsupported(version, identity)
        return Message(method, identity, params, modern=True, version=version)
    return Message(method, identity, params, version=version or "2025-03-26")


def _unsupported(version: Json, identity: Json) -> Refused:
    supported = [*HANDSHAKE_VERSIONS, *MODERN_VERSIONS]
    details = {"id": identity, "data": {"supported": supported, "requested": str(version)}}
    return Refused("unsupported_protocol_version", f"Protocol version {version} is not spoken here.", details=details)


def _check_envelope(method: str, params: JsonObject, headers: Mapping[str, str], identity: Json) -> None:
    """Holds a 2026-07-28 request to its envelope: the version and the capabilities in ``_meta``, and headers that say
    what the body says, so that a router in front decided about the message that is acted on."""
    meta = params.get("_meta")
    missing = [key for key in (META_VERSION, META_CAPABILITIES) if not isinstance(meta, dict) or key not in meta]
    if missing or not isinstance(meta, dict):
        text = f"params._meta lacks {' and '.join(missing)}."
        raise Refused("invalid_params", text, details={"id": identity})
    expected = {"mcp-protocol-version": meta[META_VERSION], "mcp-method": method}
    name = params.get(_NAMED.get(method, ""))
    if name is not None:
        expected["mcp-name"] = name
    for header, value in expected.items():
        if decode_header(headers.get(header)) != value:
            text = f"The {header} header must say {value!r}, as the body does."
            raise Refused("header_mismatch", text, details={"id": identity})
    if meta[META_VERSION] not in MODERN_VERSIONS:
        raise _unsupported(meta[META_VERSION], identity)


def decode_header(value: str | None) -> str | None:
    """A header's value with the ``=?base64?...?=`` wrapping of 2026-07-28 undone; None for a broken one."""
    value = value.strip(" \t") if value is not None else None
    wrapped = _SENTINEL.fullmatch(value) if value is not None else None
    if wrapped is None:
        return value
    try:
        return base64.b64decode(wrapped[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def encode_header(value: str) -> str:
    """``value`` as a header can carry it: as it is when printable ASCII, else wrapped as ``=?base64?...?=``."""
    if _PLAIN.fullmatch(value) and value == value.strip() and not _SENTINEL.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


# Answers


def result_message(identity: Json, result: JsonObject) -> bytes:
    """A JSON-RPC response that succeeded."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": identity, "result": result})


def error_message(identity: Json, error: JsonObject) -> bytes:
    """A JSON-RPC response that failed; ``error`` has ``code`` and ``message``."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": identity, "error": error})


def connect_error(connector: str, server: str, person: str | None, console: str) -> JsonObject:
    """What is told where a person has to let agents in first: an address to open, as clients of 2025-11-25 read it."""
    if person is None:
        text = f"{server} is reached for a person only, and this agent works for nobody now (on_behalf_of)."
        return {"code": -32042, "message": text, "data": {"elicitations": []}}
    url = f"{console}/connectors?{urlencode({'name': connector})}"
    text = f"{person} has not let agents in at {server} yet: open {url} and connect."
    asked = {"mode": "url", "elicitationId": f"connect-{connector}", "url": url, "message": text}
    return {"code": -32042, "message": text, "data": {"elicitations": [asked]}}


def notification(method: str, params: JsonObject) -> bytes:
    """A JSON-RPC notification."""
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params})


def request_message(identity: str | int, method: str, params: JsonObject) -> bytes:
    """A JSON-RPC request of our own."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": identity, "method": method, "params": params})


def refusal_error(refused: Refused) -> dict[str, Any]:
    """A Refused as the error object of a JSON-RPC response."""
    text = f"{refused.message} {refused.fix}".strip()
    error: dict[str, Any] = {"code": RPC_CODES.get(refused.code, -32600), "message": text}
    if "data" in refused.details:
        error["data"] = refused.details["data"]
    return error


def error_status(code: int, *, modern: bool) -> int:
    """The HTTP status that carries an error. Older revisions answer 200 to whatever could be read as a request."""
    return _MODERN_STATUS.get(code, 200) if modern else (400 if code in (-32700, -32600) else 200)


def error_of(message: bytes) -> int | None:
    """The code of the error that a response of ours carries; None for a result."""
    error = msgspec.json.decode(message).get("error")
    return int(error["code"]) if error is not None else None


WORKING = b": working\r\n\r\n"
"""What a silent event stream says so that it is known to live."""


def sse(message: bytes, identity: str = "") -> bytes:
    """One message as one server-sent event. An empty one with an id says only where a client can go on from."""
    head = b"id: %s\r\n" % identity.encode() if identity else b""
    return head + b"event: message\r\ndata: " + message + b"\r\n\r\n"


def initialize_result(params: JsonObject, capabilities: JsonObject, instructions: str) -> dict[str, Any]:
    """Answers ``initialize``: the version asked for where it is spoken, else the newest that has sessions."""
    asked = params.get("protocolVersion")
    version = asked if asked in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[-1]
    return {
        "protocolVersion": version,
        "capabilities": {**capabilities, "logging": {}},
        "serverInfo": SERVER_INFO,
        "instructions": instructions,
    }


def discover_result(capabilities: JsonObject, instructions: str) -> dict[str, Any]:
    """Answers ``server/discover``."""
    return modern_result(
        {
            "supportedVersions": [*HANDSHAKE_VERSIONS, *MODERN_VERSIONS],
            "capabilities": capabilities,
            "instructions": instructions,
        },
        cacheable=True,
    )


def modern_result(result: JsonObject, *, cacheable: bool = False) -> dict[str, Any]:
    """``result`` with what 2026-07-28 requires of every result. What an agent sees is its own (``private``), and can
    change with the next Snapshot (a lifetime of 0)."""
    out = {"resultType": "complete", **result}
    meta = out.get("_meta")
    out["_meta"] = {META_SERVER: SERVER_INFO, **(meta if isinstance(meta, dict) else {})}
    if cacheable:
        out |= {"ttlMs": 0, "cacheScope": "private"}
    return out


def list_result(key: str, items: JsonArray, unavailable: Mapping[str, str]) -> dict[str, Any]:
    """Answers ``tools/list`` and its like. ``unavailable`` tells, by server, why what it offers is missing."""
    out: dict[str, Any] = {key: items}
    if unavailable:
        out["_meta"] = {META_UNAVAILABLE: dict(unavailable)}
    return out


def error_result(text: str, meta: JsonObject) -> dict[str, Any]:
    """The result of a tool call that failed, told to the model in words and to programs in ``_meta``."""
    return {"content": [{"type": "text", "text": text}], "isError": True, "_meta": dict(meta)}


def denied_result(resource: str, decision: Decision, retry_s: float = 0.0) -> dict[str, Any]:
    """The result of a denied call: the reason and the policies that determined it, and in how many seconds to try again
    where that may help."""
    by = f" (policy {', '.join(decision.policies)})" if decision.policies else ""
    text = f"Denied: {resource} was not called. {decision.reason}{by}"
    return error_result(text, {META_DECISION: decision_meta(decision, retry_s)})


def decision_meta(decision: Decision, retry_s: float = 0.0) -> dict[str, Any]:
    """A decision as programs are told it."""
    return {
        "effect": str(decision.effect),
        "reason": decision.reason,
        "policies": list(decision.policies),
        "policy_version": decision.policy_version,
        **({"retry_after_s": ceil(retry_s)} if retry_s else {}),
    }


def pending_result(resource: str, approval: str, reason: str) -> dict[str, Any]:
    """The result of a call that waits for a person: the approval's id, and what a retry must be."""
    text = (
        f"Waiting for a person: {resource} was not called yet. {reason} Approval {approval} is pending. "
        "Make the same call with the same arguments again later; it goes through once a person has approved it."
    )
    return error_result(text, {META_APPROVAL: approval})


# Upstream


def upstream_meta(meta: JsonObject, *, version: str, traceparent: str = "") -> dict[str, Any]:
    """The ``_meta`` that goes on to an upstream that speaks ``version``. All passes through, except the envelope of
    2026-07-28, which belongs to one connection, the trace's parent, which is now the gateway, and what the agent says
    that the call is for."""
    out = {key: value for key, value in meta.items() if key not in (META_VERSION, META_REASON)}
    if version in MODERN_VERSIONS:
        out = {META_CAPABILITIES: {}, META_CLIENT: SERVER_INFO, **out, META_VERSION: version}
    else:
        for key in (META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL):
            out.pop(key, None)
    if traceparent:
        out["traceparent"] = traceparent
    return out


def modern_headers(version: str, method: str, params: JsonObject) -> dict[str, str]:
    """The routing headers of a 2026-07-28 request."""
    headers = {"mcp-protocol-version": version, "mcp-method": method}
    name = params.get(_NAMED.get(method, ""))
    if isinstance(name, str):
        headers["mcp-name"] = encode_header(name)
    return headers


def lasting_meta(meta: JsonObject) -> dict[str, Any]:
    """What of a call's ``_meta`` its tool may act on, and an approval covers: all but what belongs to the one request,
    which differs when the same call is sent again."""
    return {key: value for key, value in meta.items() if key not in _OF_ONE_REQUEST}


class EventCutter:
    """Cuts a ``text/event-stream`` body into the data of its events, however the bytes arrive. Raises Refused
    (``too_large``) for an event of more than ``limit`` bytes."""

    __slots__ = ("_buffer", "_data", "_limit", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that ``chunk`` completed, as their data."""
        lines = (self._buffer + chunk).replace(b"\r\n", b"\n").split(b"\n")
        self._buffer = lines.pop()
        out: list[bytes] = []
        for line in lines:
            if not line:
                if self._data:
                    out.append(b"\n".join(self._data))
                self._data, self._size = [], 0
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._size += len(line)
        if self._size + len(self._buffer) > self._limit:
            raise Refused("too_large", f"An event is larger than {self._limit} bytes.")
        return out
