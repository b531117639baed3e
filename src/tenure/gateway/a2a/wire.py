"""A2A's operations and errors (specification 1.0, sections 3 and 5.4), in both versions and bindings. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonObject

MEDIA = "application/json"

# -- operations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. ``name`` is what policies and Events call it, in either version of the protocol; ``streams``: its
    answer is a stream of events; ``sends``: it carries a message."""

    name: str
    streams: bool = False
    sends: bool = False


SEND = Operation("message/send", sends=True)
STREAM = Operation("message/stream", streams=True, sends=True)
GET = Operation("tasks/get")
LIST = Operation("tasks/list")
CANCEL = Operation("tasks/cancel")
SUBSCRIBE = Operation("tasks/resubscribe", streams=True)
PUSH_SET = Operation("tasks/pushNotificationConfig/set")
PUSH_GET = Operation("tasks/pushNotificationConfig/get")
PUSH_LIST = Operation("tasks/pushNotificationConfig/list")
PUSH_DELETE = Operation("tasks/pushNotificationConfig/delete")
CARD = Operation("agent/getAuthenticatedExtendedCard")

METHODS_1_0: Mapping[str, Operation] = {
    "SendMessage": SEND,
    "SendStreamingMessage": STREAM,
    "GetTask": GET,
    "ListTasks": LIST,
    "CancelTask": CANCEL,
    "SubscribeToTask": SUBSCRIBE,
    "CreateTaskPushNotificationConfig": PUSH_SET,
    "GetTaskPushNotificationConfig": PUSH_GET,
    "ListTaskPushNotificationConfigs": PUSH_LIST,
    "DeleteTaskPushNotificationConfig": PUSH_DELETE,
    "GetExtendedAgentCard": CARD,
}
METHODS_0_3 = {operation.name: operation for operation in METHODS_1_0.values()}
METHODS = {**METHODS_1_0, **METHODS_0_3}


@dataclass(slots=True)
class Ask:
    """A request as it was read. ``rpc_id`` is the JSON-RPC id, and ``rest`` says that the request came over HTTP+JSON
    instead. ``params`` is decoded, for policy and record; ``body`` is what is sent on, once ``mapped`` has been asked.
    ``path`` and ``query`` are those of HTTP+JSON, below the agent's address."""

    operation: Operation
    method: str
    params: JsonObject
    body: bytes = b""
    rpc_id: Json = None
    rest: bool = False
    verb: str = "POST"
    path: str = ""
    query: str = ""
    ids: tuple[str, ...] = ()
    problem: Refused | None = field(default=None, repr=False)


# -- errors ---------------------------------------------------------------------------------------------------------

_DOMAIN = "tenure"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
# reason -> (JSON-RPC code, HTTP status, google.rpc.Code). The first are A2A's own (section 5.4).
_ERRORS: Mapping[str, tuple[int, int, str]] = {
    "TASK_NOT_FOUND": (-32001, 404, "NOT_FOUND"),
    "PUSH_NOTIFICATION_NOT_SUPPORTED": (-32003, 400, "FAILED_PRECONDITION"),
    "UNSUPPORTED_OPERATION": (-32004, 400, "FAILED_PRECONDITION"),
    "INVALID_AGENT_RESPONSE": (-32006, 502, "INTERNAL"),
    "PARSE_ERROR": (-32700, 400, "INVALID_ARGUMENT"),
    "INVALID_REQUEST": (-32600, 400, "INVALID_ARGUMENT"),
    "METHOD_NOT_FOUND": (-32601, 404, "NOT_FOUND"),
    "INVALID_PARAMS": (-32602, 400, "INVALID_ARGUMENT"),
    "UNAUTHENTICATED": (-32041, 401, "UNAUTHENTICATED"),
    "PERMISSION_DENIED": (-32043, 403, "PERMISSION_DENIED"),
    "UNKNOWN_AGENT": (-32044, 404, "NOT_FOUND"),
    "RATE_LIMITED": (-32046, 429, "RESOURCE_EXHAUSTED"),
    "APPROVAL_PENDING": (-32049, 409, "ABORTED"),
    "UPSTREAM_FAILED": (-32050, 502, "UNAVAILABLE"),
    "UPSTREAM_TIMEOUT": (-32051, 504, "DEADLINE_EXCEEDED"),
    "UNAVAILABLE": (-32053, 503, "UNAVAILABLE"),
}
_A2A_REASONS = frozenset(list(_ERRORS)[:8])


@dataclass(frozen=True, slots=True)
class Fault:
    """An error that the gateway itself answers with. ``reason`` is one of ``_ERRORS``; ``more`` texts for programs."""

    reason: str
    message: str
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """Its HTTP status."""
        return _ERRORS[self.reason][1]


def error_body(fault: Fault, ask: Ask | None, *, rest: bool = False) -> bytes:
    """The body of an error answer, in the binding that the request came by."""
    code, status, word = _ERRORS[fault.reason]
    domain = "a2a-protocol.org" if fault.reason in _A2A_REASONS else _DOMAIN
    info = {"@type": _ERROR_INFO, "reason": fault.reason, "domain": domain, "metadata": dict(fault.more)}
    if rest or (ask is not None and ask.rest):
        error = {"code": status, "status": word, "message": fault.message, "details": [info]}
        return msgspec.json.encode({"error": error})
    error = {"code": code, "message": fault.message, "data": [info]}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": ask.rpc_id if ask is not None else None, "error": error})


def error_event(fault: Fault, ask: Ask) -> bytes:
    """The event that ends a stream with an error."""
    head = b"event: error\ndata: " if ask.rest else b"data: "
    return head + error_body(fault, ask) + b"\n\n"


def wrong(reason: str, message: str, fix: str = "") -> Refused:
    """The refusal of a request; ``reason`` is one of ``_ERRORS``."""
    return Refused(reason, message, fix=fix, status=_ERRORS[reason][1])


def fault_of(error: Refused) -> Fault:
    """A Refused as a Fault."""
    text = f"{error.message} {error.fix}".strip()
    if error.code in _ERRORS:
        return Fault(error.code, text)
    by_status = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "UNKNOWN_AGENT", 503: "UNAVAILABLE"}
    codes = {"bad_json": "PARSE_ERROR", "json_too_deep": "PARSE_ERROR"}
    return Fault(codes.get(error.code) or by_status.get(error.status, "INVALID_REQUEST"), text, {"code": error.code})


def prefer_wait(header: str) -> float | None:
    """Seconds of ``Prefer: wait=N`` (RFC 7240)."""
    for preference in header.split(","):
        name, _, value = preference.strip().partition("=")
        if name.strip().lower() == "wait" and value.strip().isdigit():
            return float(value.strip()[:6])
    return None
