"""What holds for A2A's codec: what it reads, and that nothing but the ids changes on the way."""

from __future__ import annotations

from typing import Any

import msgspec

from tenure.gateway.a2a import answers, codec
from tenure.gateway.a2a.wire import METHODS, Ask, error_body, fault_of
from tenure.kernel.errors import Refused
from tests.fuzz.source import Source

_NAMES = (
    *(
        "jsonrpc",
        "2.0",
        "id",
        "method",
        "params",
        "message",
        "taskId",
        "contextId",
        "referenceTaskIds",
        "task",
        "tasks",
    ),
    *(
        "status",
        "history",
        "statusUpdate",
        "artifactUpdate",
        "result",
        "error",
        "configuration",
        "url",
        "token",
        "parts",
    ),
    *("pushNotificationConfig", "taskPushNotificationConfig", "authentication", "task_id", "tenant", "kind", "text"),
)
_PATHS = ("/message:send", "/message:stream", "/tasks/a", "/tasks", "/tasks/a:cancel", "/tasks/a:subscribe")
_PUSHES = ("/tasks/a/pushNotificationConfigs", "/tasks/a/pushNotificationConfigs/b", "/extendedAgentCard", "")


def messages(data: bytes) -> None:
    """A request is refused in its own protocol or passes with its ids exchanged and all else as it was; an answer that
    is none is told from one."""
    source = Source(data)
    mode = source.byte() % 4
    if mode == 3:
        _events(source)
        return
    value = source.json(_NAMES)
    try:
        if mode == 0:
            method = source.pick(tuple(METHODS))
            given = {"jsonrpc": "2.0", "id": source.byte(), "method": method, "params": value}
            for _ in range(source.byte() % 3):
                given[source.pick(("jsonrpc", "id", "method", "params", "x"))] = source.json(_NAMES)
            body = msgspec.json.encode(given) if source.byte() % 8 else source.rest()
            ask = codec.read_rpc(body)
        else:
            path = source.pick((*_PATHS, *_PUSHES)) + source.some(source.byte() % 6).decode("latin-1")
            body = msgspec.json.encode(value) if mode == 1 else b""
            ask = codec.read_rest(source.pick(("GET", "POST", "DELETE")), path, source.some(12).decode("latin-1"), body)
        if ask.problem is not None:
            raise ask.problem
        codec.check_names(ask.params)
        push = codec.push_config(ask)
    except Refused as error:
        rest = mode != 0
        for told in (answers.refused(error, rest=rest).body, error_body(fault_of(error), None, rest=rest)):
            assert isinstance(told, bytes)
            assert "error" in msgspec.json.decode(told)
        return
    _passes(ask)
    assert push is None or isinstance(push, dict)
    raw = msgspec.json.encode(source.json(_NAMES))
    if codec.is_answer(raw, ask):
        answer = codec.answered(raw, ask, lambda _kind, ident: ident, lambda _token: {}, "https://a.test")
        msgspec.json.decode(answer)


def _passes(ask: Ask) -> None:
    seen: list[str] = []

    def change(_kind: str, ident: str) -> str:
        seen.append(ident)
        return ident

    path, body = codec.mapped(ask, change, None)
    if body:
        assert msgspec.json.decode(body) == {"params": {}, **msgspec.json.decode(ask.body)} or ask.rest
        assert not ask.rest or msgspec.json.decode(body) == msgspec.json.decode(ask.body)
    assert set(ask.ids[:1]) <= set(seen)
    assert path.isascii() or not ask.path.isascii()
    assert "/../" not in f"{path}/"


def _events(source: Source) -> None:
    ends = (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n", b"\r", b"")
    body = b"".join(
        source.pick((b"data: ", b"data:", b"event: x\n", b":")) + source.some(source.byte() % 6) + source.pick(ends)
        for _ in range(source.byte() % 16)
    )
    whole = list(codec.Events().feed(body))
    cutter = codec.Events()
    assert [event for piece in source.pieces(body) for event in cutter.feed(piece)] == whole
    for event in whole:
        found: Any = codec.event_data(event)
        if found is not None and b"\n" not in found and b"\r" not in found:
            assert codec.event_data(codec.event_with(event, found).rstrip(b"\n")) == found.rstrip(b"\n")
