"""What was said between agents, for policies (arguments of a call) and for the record (attributes of its Event). Pure.

Parts have the shape of the OpenTelemetry GenAI conventions; bytes are told by their digest and size.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tenure.base.scan.texts import clean
from tenure.gateway.a2a.codec import push_config
from tenure.gateway.a2a.wire import Ask
from tenure.kernel.json import Json, JsonObject

CAPTURE_MAX = 4 << 20
"""Longest request or answer whose content is captured, in bytes."""
_SKILL_NAMES = ("skill", "skillId", "skill_id")


def parsed(body: bytes) -> Json:
    """A body as JSON, None when it is not."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def redact(ask: Ask, what: frozenset[str]) -> None:
    """Takes findings of those classes or rules out of what a request says: its parts and its metadata."""
    if not ask.operation.sends:
        return
    message = {**ask.params["message"], "parts": clean(ask.params["message"]["parts"], what)}
    if "metadata" in message:
        message["metadata"] = clean(message["metadata"], what)
    params = {**ask.params, "message": message}
    if "metadata" in params:
        params["metadata"] = clean(params["metadata"], what)
    outer = msgspec.json.decode(ask.body)
    ask.params = params
    ask.body = msgspec.json.encode(params if ask.rest else {**outer, "params": params})


def _table(value: Json) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _rows(value: Json) -> list[JsonObject]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def parts_of(message: JsonObject) -> list[JsonObject]:
    """The parts of a message or an artifact, of either version."""
    return [_part(part) for part in _rows(message.get("parts"))]


def _part(part: JsonObject) -> JsonObject:
    file = _table(part.get("file"))
    name = part.get("filename", file.get("name"))
    media = part.get("mediaType", file.get("mimeType"))
    more = {key: value for key, value in (("name", name), ("mime_type", media)) if isinstance(value, str)}
    if isinstance(part.get("text"), str):
        return {"type": "text", "content": part["text"]}
    if "data" in part:
        return {"type": "data", "content": part["data"]}
    raw = part.get("raw", file.get("bytes"))
    if isinstance(raw, str):
        try:
            content = base64.b64decode(raw, validate=False)
        except (binascii.Error, ValueError):
            content = raw.encode("utf-8", "replace")
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        return {"type": "blob", **more, "size": len(content), "digest": digest}
    address = part.get("url", file.get("uri"))
    if isinstance(address, str):
        return {"type": "uri", **more, "uri": address}
    return {"type": "unparsed", "content": dict(part)}


def _text(parts: Iterable[JsonObject]) -> str:
    return "\n".join(part["content"] for part in parts if part["type"] == "text")


# -- what is asked --------------------------------------------------------------------------------------------------


def arguments(ask: Ask) -> dict[str, Any]:
    """What policies and approvers see of a request: the method, whether it streams, and of a message its text, its
    data, its files, the skill that its metadata names, the task it goes on with, and where notifications shall go."""
    params = ask.params
    out: dict[str, Any] = {"method": ask.operation.name, "stream": ask.operation.streams}
    if ask.operation.sends:
        message = _table(params.get("message"))
        parts = parts_of(message)
        out["text"] = _text(parts)
        out["data"] = [part["content"] for part in parts if part["type"] == "data"]
        out["files"] = [part for part in parts if part["type"] in ("blob", "uri", "unparsed")]
        skill = _skill(params, message)
        if skill:
            out["skill"] = skill
        task, context = message.get("taskId"), message.get("contextId")
    else:
        task, context = task_of(ask), params.get("contextId")
    if isinstance(task, str) and task:
        out["task"] = task
    if isinstance(context, str) and context:
        out["context"] = context
    push = push_config(ask)
    if push is not None:
        out["notify"] = push.get("url")
    return out


def _skill(params: JsonObject, message: JsonObject) -> str:
    for holder in (message, params):
        metadata = _table(holder.get("metadata"))
        for name in _SKILL_NAMES:
            if isinstance(metadata.get(name), str):
                return str(metadata[name])
    return ""


def task_of(ask: Ask) -> str:
    """The task that a request is about, as the client names it; empty for none."""
    if ask.ids:
        return ask.ids[0]
    name = "taskId" if "taskId" in ask.params else "id"
    found = ask.params.get(name)
    return found if isinstance(found, str) else ""


def bound(ask: Ask) -> bytes:
    """What an approval of a request is about besides its arguments: all of it, but for what is new in every attempt."""
    message = ask.params.get("message")
    same = (
        {key: value for key, value in message.items() if key != "messageId"} if isinstance(message, Mapping) else None
    )
    params = {**ask.params, "message": same} if same is not None else ask.params
    return msgspec.json.encode([ask.operation.name, ask.ids, params], order="sorted")


def asked(ask: Ask) -> dict[str, Any]:
    """The attributes of a request."""
    out: dict[str, Any] = {"gen_ai.operation.name": "invoke_agent", "a2a.method": ask.operation.name}
    out["a2a.binding"] = "HTTP+JSON" if ask.rest else "JSONRPC"
    if ask.operation.sends and len(ask.body) <= CAPTURE_MAX:
        out["gen_ai.input.messages"] = [{"role": "user", "parts": parts_of(_table(ask.params.get("message")))}]
    elif ask.operation.sends:
        out["tenure.capture.truncated"] = True
    if task := task_of(ask):
        out["a2a.task.id"] = task
    if ask.rpc_id is not None:
        out["jsonrpc.request.id"] = str(ask.rpc_id)[:200]
    return out


# -- what is answered -----------------------------------------------------------------------------------------------


class Told:
    """What a peer says, put together from one answer or from all events of a stream."""

    def __init__(self) -> None:
        self._messages: list[JsonObject] = []
        self._artifacts: dict[str, list[JsonObject]] = {}
        self._facts: dict[str, Any] = {}
        self._size = 0
        self._said: set[str] = set()

    def hear(self, raw: bytes, ask: Ask) -> None:
        """One answer, or the data of one event, as the client gets it. Never raises."""
        self._size += len(raw)
        if self._size > CAPTURE_MAX:
            self._facts["tenure.capture.truncated"] = True
            return
        try:
            value = msgspec.json.decode(raw) if raw.strip() else {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        outer = _table(value)
        error = _table(outer.get("error"))
        if error:
            self._facts["error.type"] = str(error.get("code", "error"))[:100]
            if isinstance(error.get("message"), str):
                self._facts["error.message"] = error["message"][:1000]
            return
        self._take(_table(outer if ask.rest else outer.get("result")))

    def _take(self, result: JsonObject) -> None:
        kind = result.get("kind")
        for name, old in (("task", "task"), ("message", "message"), ("statusUpdate", "status-update")):
            inner = result.get(name)
            if kind == old:
                inner = result
            if isinstance(inner, Mapping) and (kind is None or kind == old):
                self._message(inner) if old == "message" else self._task(inner)
        update = result if kind == "artifact-update" else _table(result.get("artifactUpdate"))
        if isinstance(update.get("artifact"), Mapping):
            self._ids(update)
            self._artifact(update["artifact"], append=update.get("append") is True)
        if kind is None and isinstance(result.get("id"), str) and isinstance(result.get("status"), Mapping):
            self._task(result)

    def _ids(self, holder: JsonObject) -> None:
        task = holder.get("taskId", holder.get("id") if "status" in holder else None)
        for name, value in (("a2a.task.id", task), ("gen_ai.conversation.id", holder.get("contextId"))):
            if isinstance(value, str) and value:
                self._facts[name] = value[:1000]

    def _task(self, task: JsonObject) -> None:
        self._ids(task)
        status = _table(task.get("status"))
        if isinstance(status.get("state"), str):
            word = status["state"].lower().removeprefix("task_state_").replace("_", "-")
            self._facts["a2a.task.state"] = word[:50]
        if isinstance(status.get("message"), Mapping):
            self._message(status["message"])
        for artifact in _rows(task.get("artifacts")):
            self._artifact(artifact, append=False)

    def _message(self, message: JsonObject) -> None:
        self._ids(message)
        ident = message.get("messageId")
        if isinstance(ident, str) and ident in self._said:
            return
        self._said.add(str(ident))
        self._messages.append({"role": "assistant", "parts": parts_of(message)})

    def _artifact(self, artifact: JsonObject, *, append: bool) -> None:
        known = self._artifacts.setdefault(str(artifact.get("artifactId", "")), [])
        if not append:
            known.clear()
        known.extend(parts_of(artifact))

    def attributes(self) -> dict[str, Any]:
        """The attributes of all that was heard."""
        messages = [*self._messages]
        messages += [{"role": "assistant", "parts": parts} for parts in self._artifacts.values() if parts]
        out = dict(self._facts)
        if messages:
            state = self._facts.get("a2a.task.state", "")
            done = {"completed": "stop", "failed": "error"}.get(state, state)
            out["gen_ai.output.messages"] = [
                {**message, "finish_reason": done} if done else message for message in messages
            ]
        return out
