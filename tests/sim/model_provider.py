"""A model provider that answers by script: ``python -m tests.sim.model_provider``. It speaks OpenAI's chat completions
and, by ``model_wires``, the other wires that the gateway knows.

Without rules it answers by the name of the model:

    echo            the last message's text back               slow         the same, one chunk every 50 ms
    tool...         a call of the first tool offered            hang         never
    error-NNN       that HTTP status with the wire's own error   reset        the connection breaks before the answer
    garbage         something that is not HTTP                  half         breaks in the middle of the answer
    junk            200 with a body that is not JSON            redirect     307 to elsewhere
    stall           the answer begins and does not go on        endless      it goes on and on
    drip            the same, slowly
    judge           the last step of the run in the last message as the one to blame, in JSON
    wait-MS         echo after MS milliseconds                  flaky        error 500 and echo by turns

An endpoint that it does not speak is answered with what was sent, octet for octet.

``--rules FILE`` takes a JSON array of {"model"?, "contains"?, "after_tool"?, "content"?, "tool_calls"?, "usage"?}; the
first that fits answers: ``contains`` is looked for in the last message's text, ``after_tool`` in the name of the tool
whose result is the last message. ``GET /_seen`` tells what arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.sim import model_wires

_WORDS = 4


class Provider:
    """``rules``: see the module."""

    def __init__(self, rules: list[dict[str, Any]] | None = None) -> None:
        self._rules = rules or []
        self.requests = 0
        self.broken_off = 0
        self.connections = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.path = self.method = ""
        self.models: dict[str, int] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                method, path, _ = first.split(" ", 2)
                headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if path == "/_seen":
                    _send(writer, 200, json.dumps(self._seen()).encode())
                    continue
                self.requests += 1
                self.headers, self.body, self.path, self.method = headers, body, path, method
                answer = asyncio.create_task(self._answer(path, body, writer))
                gone = asyncio.create_task(reader.read(1))  # agents do not pipeline: a byte or an end is a hang-up
                done, _ = await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
                if answer not in done:
                    self.broken_off += 1
                    answer.cancel()
                    break
                gone.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await gone
                if not answer.result():
                    break
        writer.close()

    def _seen(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "broken_off": self.broken_off,
            "connections": self.connections,
            "headers": self.headers,
            "method": self.method,
            "path": self.path,
            "body": self.body.decode("utf-8", "replace"),
            "models": self.models,
        }

    async def _answer(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; False breaks the connection."""
        request = json.loads(body) if body[:1] == b"{" else {}
        model = model_wires.model_of(path, request)
        self.models[model] = self.models.get(model, 0) + 1
        if model.startswith("error-") or (model == "flaky" and self.models[model] % 2):
            status = int(model[6:] or 0) if model != "flaky" else 500
            again = [("retry-after-ms", "5")] if status != 502 else []
            _send(writer, status, json.dumps(model_wires.error(path, status)).encode(), again)
        elif model == "junk":
            _send(writer, 200, b"<html>busy</html>")
        elif model == "redirect":
            _send(writer, 307, b"", [("location", "http://127.0.0.1:1/elsewhere")])
        elif model == "garbage":
            writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            return False
        elif model == "reset":
            writer.transport.abort()
            return False
        elif model == "stall":
            kind = "text/event-stream" if model_wires.wants_stream(path, request) else "application/json"
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: 100000\r\n\r\n{{".encode())
            await asyncio.sleep(3600)
        elif model in ("endless", "drip"):
            await _endless(path, request, writer, 0.02 if model == "drip" else 0.0)
            return False
        elif model == "hang":
            await asyncio.sleep(3600)
        else:
            if model.startswith("wait-"):
                await asyncio.sleep(int(model[5:]) / 1000)
            if path.endswith("/chat/completions"):
                return await self._complete(request, model, writer)
            said = model_wires.answer(path, request, model)
            if said is not None:
                return await self._other(said, model_wires.wants_stream(path, request), model, path, writer)
            _send(writer, 200, body, kind=self.headers.get("content-type", "application/json"))
        return True

    async def _other(self, said: model_wires.Said, stream: bool, model: str, path: str, writer: Any) -> bool:
        """An answer on another wire than chat completions."""
        if not stream:
            _send(writer, 200, json.dumps(said.whole).encode(), [("request-id", "req-1")])
            return True
        array = ":streamGenerateContent" in path and "alt=sse" not in path
        kind = "application/json" if array else "text/event-stream"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        for number, (name, event) in enumerate(said.events):
            data = f"data: {json.dumps(event)}\n\n".encode()
            if name:
                data = f"event: {name}\n".encode() + data
            if array:
                data = (b"[" if number == 0 else b",\n") + json.dumps(event).encode()
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await writer.drain()
            if model == "half" and number == len(said.events) // 2:
                await asyncio.sleep(0.05)
                return False
            if model == "slow":
                await asyncio.sleep(0.05)
        writer.write(b"1\r\n]\r\n0\r\n\r\n" if array else b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _complete(self, request: dict[str, Any], model: str, writer: asyncio.StreamWriter) -> bool:
        message, usage = self._say(request, model)
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        base = {"id": f"chatcmpl-{self.requests}", "created": 1767225600, "model": f"{model}-2026-01-01"}
        if not request.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
            whole = {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
            data = json.dumps(whole).encode()
            if model == "half":
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n" + data
                )
                await writer.drain()
                return False
            _send(writer, 200, data, [("x-request-id", "req-1")])
            return True
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        include_usage = bool((request.get("stream_options") or {}).get("include_usage"))
        for number, delta in enumerate(_deltas(message)):
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            _chunk(writer, {**base, "object": "chat.completion.chunk", "choices": [choice]})
            await writer.drain()
            if model == "half" and number == 1:
                return False
            if model == "slow":
                await asyncio.sleep(0.05)
        last = {"index": 0, "delta": {}, "finish_reason": reason}
        _chunk(writer, {**base, "object": "chat.completion.chunk", "choices": [last]})
        if include_usage:
            _chunk(writer, {**base, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await writer.drain()
        return True

    def _say(self, request: dict[str, Any], model: str) -> tuple[dict[str, Any], dict[str, Any]]:
        messages = request.get("messages") or [{}]
        text = _text(messages[-1])
        for rule in self._rules:
            if rule.get("model", model) == model and rule.get("contains", "") in text and _after(rule, messages):
                message = {"role": "assistant", "content": rule.get("content"), "refusal": None}
                if rule.get("tool_calls"):
                    message["tool_calls"] = [
                        {
                            "id": call.get("id", f"call_{self.requests}_{index}"),
                            "type": "function",
                            "function": {"name": call["name"], "arguments": json.dumps(call.get("arguments", {}))},
                        }
                        for index, call in enumerate(rule["tool_calls"])
                    ]
                return message, rule.get("usage") or _usage(request, message)
        message = {"role": "assistant", "content": f"You said: {text}", "refusal": None}
        if model == "judge":
            step = json.loads(text)["steps"][-1]
            named = {"step": step["number"], "agent": step["agent"], "reason": f"It said: {step['said'][:60]}"}
            message["content"] = f"```json\n{json.dumps(named)}\n```"
        tools = request.get("tools") or []
        if model.startswith("tool") and tools and messages[-1].get("role") != "tool":
            function = {"name": tools[0]["function"]["name"], "arguments": '{"city": "Paris"}'}
            message["content"] = None
            message["tool_calls"] = [{"id": f"call_{self.requests}", "type": "function", "function": function}]
        return message, _usage(request, message)


def _usage(request: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    prompt, said = len(json.dumps(request.get("messages"))) // 4, len(json.dumps(message)) // 4
    details = {
        "prompt_tokens_details": {"cached_tokens": prompt // 2},
        "completion_tokens_details": {"reasoning_tokens": said // 3},
    }
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said, **details}


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content)
    return str(content or "")


def _after(rule: dict[str, Any], messages: list[dict[str, Any]]) -> bool:
    wanted = rule.get("after_tool")
    if wanted is None:
        return True
    if messages[-1].get("role") != "tool":
        return False
    ident = messages[-1].get("tool_call_id")
    calls = [call for message in messages for call in message.get("tool_calls") or []]
    return any(call["id"] == ident and call["function"]["name"] == wanted for call in calls)


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    words = (message.get("content") or "").split(" ")
    for at in range(0, len(words), _WORDS):
        text = " ".join(words[at : at + _WORDS])
        yield {"content": text + (" " if at + _WORDS < len(words) else "")}
    for index, call in enumerate(message.get("tool_calls") or []):
        text = call["function"]["arguments"]
        function = {"name": call["function"]["name"], "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": function}]}
        for part in (text[: len(text) // 2], text[len(text) // 2 :]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}


async def _endless(path: str, request: dict[str, Any], writer: asyncio.StreamWriter, pause: float) -> None:
    """An answer without an end: events of 16 KiB, or white space before a body that never comes."""
    stream = model_wires.wants_stream(path, request)
    kind = "text/event-stream" if stream else "application/json"
    writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
    data = b'data: {"a": "%s"}\n\n' % (b"x" * 16384) if stream else b" " * 16384
    while True:
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await writer.drain()
        await asyncio.sleep(pause)


def _chunk(writer: asyncio.StreamWriter, value: dict[str, Any]) -> None:
    data = b"data: " + json.dumps(value).encode() + b"\n\n"
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


def _send(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes,
    headers: list[tuple[str, str]] | None = None,
    kind: str = "application/json",
) -> None:
    more = "".join(f"{name}: {value}\r\n" for name, value in headers or [])
    head = f"HTTP/1.1 {status} Scripted\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    writer.write(head.encode() + body)


async def main(host: str, port: int, rules: list[dict[str, Any]]) -> None:
    """Serves until the process is ended."""
    server = await asyncio.start_server(Provider(rules).serve, host, port, limit=32 << 20)
    print(f"model provider ready http://{host}:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A scripted model provider.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rules", type=Path)
    given = parser.parse_args()
    script = json.loads(given.rules.read_text()) if given.rules else []
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(given.host, given.port, script))
    sys.exit(0)
