"""A2A's codec: requests read, ids exchanged on the way in and out, streams cut into events. Pure.

Only what has to be looked into is taken apart: every other value of a message passes as the bytes it came as.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec

from tenure.gateway.a2a.wire import (
    CANCEL,
    CARD,
    GET,
    LIST,
    METHODS,
    METHODS_0_3,
    METHODS_1_0,
    PUSH_DELETE,
    PUSH_GET,
    PUSH_LIST,
    PUSH_SET,
    SEND,
    STREAM,
    SUBSCRIBE,
    Ask,
    Operation,
    wrong,
)
from tenure.gateway.http import decode_json
from tenure.kernel.json import Json, JsonObject

MAX_EVENT = 16 << 20
"""Longest event of a stream, in bytes."""

_ID = r"/([^/:]+)"
_ROUTES: tuple[tuple[str, str, Operation], ...] = (
    ("POST", r"/message:send", SEND),
    ("POST", r"/message:stream", STREAM),
    ("GET", rf"/tasks{_ID}", GET),
    ("GET", r"/tasks", LIST),
    ("POST", rf"/tasks{_ID}:cancel", CANCEL),
    ("POST", rf"/tasks{_ID}:subscribe", SUBSCRIBE),
    ("GET", rf"/tasks{_ID}:subscribe", SUBSCRIBE),
    ("POST", rf"/tasks{_ID}/pushNotificationConfigs", PUSH_SET),
    ("GET", rf"/tasks{_ID}/pushNotificationConfigs", PUSH_LIST),
    ("GET", rf"/tasks{_ID}/pushNotificationConfigs/([^/]+)", PUSH_GET),
    ("DELETE", rf"/tasks{_ID}/pushNotificationConfigs/([^/]+)", PUSH_DELETE),
    ("GET", r"/extendedAgentCard", CARD),
)
_COMPILED = tuple((method, re.compile(path), operation) for method, path, operation in _ROUTES)


# -- reading --------------------------------------------------------------------------------------------------------


def read_rpc(body: bytes) -> Ask:
    """A JSON-RPC request. What is wrong with it beyond its id is in ``problem``, so that the answer can carry the id.
    Raises Refused for what is no JSON-RPC request at all."""
    value = decode_json(body)
    if isinstance(value, list):
        raise wrong("INVALID_REQUEST", "Batches are not part of A2A.", "Send one request at a time.")
    if not isinstance(value, dict):
        raise wrong("INVALID_REQUEST", "The body is no JSON-RPC request.", "Send one JSON object.")
    ident, method, params = value.get("id"), value.get("method"), value.get("params", {})
    plain = ident if isinstance(ident, str | int | float) and not isinstance(ident, bool) else None
    operation = METHODS.get(method) if isinstance(method, str) else None
    ask = Ask(operation or SEND, method if isinstance(method, str) else "", {}, body, plain)
    if value.get("jsonrpc") != "2.0":
        ask.problem = wrong("INVALID_REQUEST", 'The request must say "jsonrpc": "2.0".')
    elif plain is None:
        ask.problem = wrong("INVALID_REQUEST", "The request must have an id, a text or a number.")
    elif operation is None:
        shown = repr(method)[:100]
        ask.problem = wrong("METHOD_NOT_FOUND", f"A2A has no method {shown}.", f"Methods: {', '.join(METHODS_1_0)}.")
    elif params is not None and not isinstance(params, dict):
        ask.problem = wrong("INVALID_PARAMS", "`params` must be an object.")
    else:
        ask.params = params or {}
    return ask


def read_rest(verb: str, path: str, query: str, body: bytes) -> Ask:
    """A request over HTTP+JSON, with ``path`` below the agent's address. Raises Refused."""
    routes = ((method, pattern.fullmatch(path), operation) for method, pattern, operation in _COMPILED)
    found = [(method, match, operation) for method, match, operation in routes if match is not None]
    here = next(((match, operation) for method, match, operation in found if method == verb), None)
    if here is None:
        if found:
            raise wrong("METHOD_NOT_FOUND", f"{verb} is not possible at {path[:200]}.")
        raise wrong("METHOD_NOT_FOUND", f"A2A has nothing at {path[:200]}.", "Read the agent's card.")
    operation, ids = here[1], tuple(unquote(part) for part in here[0].groups())
    if any(not part or len(part) > 1_000 or re.search(r"[/\\?#%\x00-\x20\x7f]", part) for part in ids):
        raise wrong("INVALID_REQUEST", "An id in the path is no plain text.")
    params: Json = {}
    if body.strip():
        params = decode_json(body)
        if not isinstance(params, dict):
            raise wrong("INVALID_REQUEST", "The body must be a JSON object.")
    elif operation.sends or operation is PUSH_SET:
        raise wrong("INVALID_REQUEST", "The body must be a JSON object.")
    if verb == "GET":
        params = _query(query)
    return Ask(operation, f"{verb} {path}", params, body, rest=True, verb=verb, path=path, query=query, ids=ids)


def _query(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    found = dict(pairs)
    if len(found) != len(pairs):
        raise wrong("INVALID_PARAMS", "A parameter is given twice.")
    if any(_plain(name) in ("id", "taskid") for name in found):
        raise wrong("INVALID_PARAMS", "The task is named by the path alone.")
    return found


# -- ids ------------------------------------------------------------------------------------------------------------

Change = Callable[[str, str], str]
"""(kind: task or context; id) -> the id on the other side."""

_MESSAGE: Mapping[str, Any] = {"taskId": "task", "contextId": "context", "referenceTaskIds": ["task"]}
_STATUS: Mapping[str, Any] = {"message": _MESSAGE}
_TASK: Mapping[str, Any] = {"id": "task", "contextId": "context", "status": _STATUS, "history": [_MESSAGE]}
_UPDATE: Mapping[str, Any] = {"taskId": "task", "contextId": "context", "status": _STATUS}
# One shape for all answers of both versions: where 1.0 has a member, 0.3 has the thing itself.
_RESULT: Mapping[str, Any] = {
    **_TASK,
    **_MESSAGE,
    "task": _TASK,
    "message": _MESSAGE,
    "statusUpdate": _UPDATE,
    "artifactUpdate": _UPDATE,
    "tasks": [_TASK],
}
_SENT: Mapping[str, Any] = {"message": _MESSAGE}
_OF_TASK: Mapping[str, Any] = {"id": "task"}
_OF_PUSH: Mapping[str, Any] = {"taskId": "task"}


def _shape_asked(ask: Ask) -> Mapping[str, Any]:
    """Where the ids are in what a client sends."""
    operation = ask.operation
    if operation.sends:
        return _SENT
    if operation in (GET, CANCEL, SUBSCRIBE):
        return _OF_TASK
    if operation is LIST:
        return {"contextId": "context"}
    if operation in (PUSH_SET, PUSH_GET, PUSH_LIST, PUSH_DELETE):
        # 1.0 has taskId beside the config's own id; 0.3 has the task as `id`, but for `set`.
        old = ask.method in METHODS_0_3 and operation is not PUSH_SET
        return _OF_TASK if old else _OF_PUSH
    return {}


def changed(raw: bytes | msgspec.Raw, shape: Any, change: Change) -> Any:
    """The JSON value ``raw`` with the ids that ``shape`` names exchanged. What does not have the shape stays as it is.
    Raises msgspec.DecodeError for what is not JSON."""
    if isinstance(shape, str):
        value = msgspec.json.decode(raw)
        return change(shape, value) if isinstance(value, str) and value else msgspec.Raw(raw)
    start = bytes(raw).lstrip()[:1]
    if isinstance(shape, list):
        if start != b"[":
            return msgspec.Raw(raw)
        return [changed(item, shape[0], change) for item in msgspec.json.decode(raw, type=list[msgspec.Raw])]
    if start != b"{":
        return msgspec.Raw(raw)
    fields: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    for name, inner in shape.items():
        if name in fields:
            fields[name] = changed(fields[name], inner, change)
    return fields


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


_REFUSED_NAMES = {
    _plain(name): name
    for name in ("taskId", "contextId", "referenceTaskIds", "id", "message", "configuration", "tenant", "url")
}
_REFUSED_NAMES |= {
    _plain(name): name for name in ("taskPushNotificationConfig", "pushNotificationConfig", "token", "authentication")
}


def check_names(params: JsonObject) -> None:
    """Refuses a second spelling of a name that the gateway looks at: a peer might take ``task_id`` for ``taskId``, as
    ProtoJSON lets it, and so be told of another agent's task. Raises Refused."""
    places = [params]
    for name in ("message", "configuration", "pushNotificationConfig"):
        inner = params.get(name)
        if isinstance(inner, Mapping):
            places.append(inner)
    for place in places:
        for name in place:
            right = _REFUSED_NAMES.get(_plain(name))
            if right is not None and right != name:
                raise wrong("INVALID_PARAMS", f"`{name[:100]}` must be spelled `{right}`.")
    if params.get("tenant"):
        raise wrong("INVALID_PARAMS", "There are no tenants behind a gateway.", "Leave `tenant` out.")


def push_config(ask: Ask) -> JsonObject | None:
    """The address for notifications that a request wants to set, with token and authentication; None for none."""
    if ask.operation is PUSH_SET:
        inner = ask.params.get("pushNotificationConfig")
        return inner if isinstance(inner, Mapping) else ask.params
    configuration = ask.params.get("configuration")
    if not ask.operation.sends or not isinstance(configuration, Mapping):
        return None
    for name in _CONFIG_NAMES:
        if configuration.get(name) is not None:
            found = configuration[name]
            if not isinstance(found, Mapping):
                raise wrong("INVALID_PARAMS", f"`{name}` must be an object.")
            return found
    return None


def check(ask: Ask) -> None:
    """What no peer is asked: a request in a spelling that could be read in two ways, or for tasks of anybody. Raises
    Refused."""
    check_names(ask.params)
    message = ask.params.get("message")
    if ask.operation.sends and not (isinstance(message, Mapping) and isinstance(message.get("parts"), list)):
        raise wrong("INVALID_PARAMS", "`message` must be an object with a list of `parts`.")
    if ask.operation is LIST and not ask.params.get("contextId"):
        text = "Tasks are listed for one context at a time."
        raise wrong("INVALID_PARAMS", text, "Give the `contextId` of an answer that you were given.")
    push_config(ask)


_CONFIG_NAMES = ("taskPushNotificationConfig", "pushNotificationConfig")
_PUSH_FIELDS = ("url", "token", "authentication")


def mapped(ask: Ask, change: Change, push: JsonObject | None) -> tuple[str, bytes]:
    """(path and query, body) as the peer is to get them: ids exchanged, and the address for notifications replaced by
    ``push`` (``url`` and ``token``). Raises what ``change`` raises."""
    shape = _shape_asked(ask)
    if not ask.rest:
        outer: dict[str, Any] = msgspec.json.decode(ask.body, type=dict[str, msgspec.Raw])
        outer["params"] = _with_push(changed(outer.get("params", b"{}"), shape, change), ask, push)
        return "", msgspec.json.encode(outer)
    path = ask.path
    if ask.ids:
        first = quote(change("task", ask.ids[0]), safe="")
        path = path.replace(_first_id(path), f"/tasks/{first}", 1)
    if ask.verb == "GET":
        values = {key: change("context", value) if key == "contextId" else value for key, value in ask.params.items()}
        return f"{path}?{urlencode(values)}" if values else path, b""
    body = ask.body if ask.body.strip() else b""
    if body:
        body = msgspec.json.encode(_with_push(changed(body, shape, change), ask, push))
    return path, body


def _first_id(path: str) -> str:
    match = re.match(r"/tasks/[^/:]+", path)
    return match[0] if match else ""


def _with_push(params: Any, ask: Ask, push: JsonObject | None) -> Any:
    if push is None or not isinstance(params, dict):
        return params
    if ask.operation is PUSH_SET and "pushNotificationConfig" not in params:
        return _replaced(params, push)
    holder: dict[str, Any] = params
    if ask.operation is not PUSH_SET:
        holder = params["configuration"] = msgspec.json.decode(params["configuration"], type=dict[str, msgspec.Raw])
    for name in _CONFIG_NAMES:
        if name in holder:
            config: dict[str, Any] = msgspec.json.decode(holder[name], type=dict[str, msgspec.Raw])
            holder[name] = _replaced(config, push)
    return params


def _replaced(config: dict[str, Any], push: JsonObject) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key not in _PUSH_FIELDS}
    return {**kept, **push}


# -- answers --------------------------------------------------------------------------------------------------------

Opened = Callable[[str], JsonObject]
"""The address for notifications that a peer tells -> what the client had set: url, token and authentication."""


def answered(raw: bytes, ask: Ask, change: Change, opened: Opened, address: str) -> bytes:
    """A whole answer as the client is to get it. ``address`` is the peer's at the gateway. Raises msgspec.DecodeError
    for what is not JSON."""
    if ask.rest:
        return msgspec.json.encode(_result(raw, ask, change, opened, address))
    outer: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    if "result" in outer:
        outer["result"] = _result(outer["result"], ask, change, opened, address)
    return msgspec.json.encode(outer)


def _result(raw: bytes | msgspec.Raw, ask: Ask, change: Change, opened: Opened, address: str) -> Any:
    operation = ask.operation
    if operation in (PUSH_SET, PUSH_GET):
        return _config(raw, change, opened)
    if operation is PUSH_LIST:
        start = bytes(raw).lstrip()[:1]
        if start == b"[":
            return [_config(item, change, opened) for item in msgspec.json.decode(raw, type=list[msgspec.Raw])]
        fields: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]) if start == b"{" else {}
        if "configs" in fields and bytes(fields["configs"]).lstrip()[:1] == b"[":
            items = msgspec.json.decode(fields["configs"], type=list[msgspec.Raw])
            fields["configs"] = [_config(item, change, opened) for item in items]
        return fields or msgspec.Raw(raw)
    if operation is CARD:
        return _card(raw, address)
    return changed(raw, _RESULT, change)


def _config(raw: bytes | msgspec.Raw, change: Change, opened: Opened) -> Any:
    if bytes(raw).lstrip()[:1] != b"{":
        return msgspec.Raw(raw)
    fields: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    if "taskId" in fields:
        fields["taskId"] = changed(fields["taskId"], "task", change)
    if "pushNotificationConfig" in fields:
        fields["pushNotificationConfig"] = _config(fields["pushNotificationConfig"], change, opened)
    if "url" in fields:
        url = msgspec.json.decode(fields["url"])
        fields = _replaced(fields, opened(url if isinstance(url, str) else ""))
    return fields


def _card(raw: bytes | msgspec.Raw, address: str) -> Any:
    """A longer card with the gateway as its only address; its signature was about another."""
    card = msgspec.json.decode(raw)
    if not isinstance(card, dict):
        return card
    gone = ("signatures", "additionalInterfaces")
    kept = {key: value for key, value in card.items() if key not in gone}
    rows = kept.get("supportedInterfaces")
    if isinstance(rows, list):
        kept["supportedInterfaces"] = [
            {**row, "url": address}
            for row in rows
            if isinstance(row, Mapping) and row.get("protocolBinding") in ("JSONRPC", "HTTP+JSON")
        ]
    if "url" in kept:
        kept["url"] = address
    return kept


def is_answer(raw: bytes, ask: Ask) -> bool:
    """Whether a body is what the operation promises: a JSON object (or nothing, after a deletion), and for JSON-RPC one
    that answers this very request."""
    if ask.rest and not raw.strip():
        return ask.operation is PUSH_DELETE
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if not isinstance(value, dict):
        return ask.rest and ask.operation is PUSH_LIST and isinstance(value, list)
    if ask.rest:
        return True
    return value.get("id") in (ask.rpc_id, None) and ("result" in value) != (value.get("error") is not None)


# -- streams --------------------------------------------------------------------------------------------------------

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class Events:
    """Cuts a stream of server-sent events (WHATWG HTML section 9.2) into its events."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._from = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The events that are complete now, each without the empty line that ends it. Raises ValueError for one longer
        than MAX_EVENT."""
        self._rest += chunk
        while (end := _END.search(self._rest, self._from)) is not None:
            event = bytes(self._rest[: end.start()])
            del self._rest[: end.end()]
            self._from = 0
            yield event
        self._from = max(0, len(self._rest) - 3)
        if len(self._rest) > MAX_EVENT:
            raise ValueError(f"an event is longer than {MAX_EVENT} bytes")


def event_data(event: bytes) -> bytes | None:
    """The data of one event; None for one without, which is a comment."""
    lines = [line[5:].removeprefix(b" ") for line in re.split(rb"\r\n|\n|\r", event) if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def event_with(event: bytes, data: bytes) -> bytes:
    """The event with other data."""
    kept = [line for line in re.split(rb"\r\n|\n|\r", event) if line and not line.startswith(b"data:")]
    return b"\n".join([*kept, b"data: " + data]) + b"\n\n"
