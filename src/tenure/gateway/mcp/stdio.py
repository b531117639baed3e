"""A connection to an MCP server that is a child process of the gateway: newline-delimited JSON-RPC over its pipes."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec

from tenure.base import log
from tenure.base.scan.kept import ALWAYS
from tenure.base.scan.texts import clean
from tenure.gateway.mcp import codec
from tenure.gateway.mcp.connection import (
    Limits,
    News,
    acknowledged,
    answer_to,
    is_answer,
    is_change,
    listen_params,
    subscribe_each,
    with_token,
)
from tenure.gateway.mcp.line import Line
from tenure.gateway.mcp.sandbox import Sandbox
from tenure.gateway.mcp.standing import ACKNOWLEDGED
from tenure.kernel.errors import Failed
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.snapshot import ServerFact

_log = log.get("gateway.mcp")
_INHERITED = ("PATH", "HOME", "LANG")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_WRITE_HIGH = 1 << 20
_SIGNALLED = 128  # the sandbox ends with this and the signal's number when a signal ended the server


def environment(fact: ServerFact, given: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """What a child process is started with: three variables of ``environ`` that everybody needs, what it was ``given``
    of variables and secrets, and the settings of its manifest. Nothing else of the gateway's environment, which holds
    credentials of others."""
    return {name: environ[name] for name in _INHERITED if name in environ} | dict(given) | dict(fact.env)


def _die_with(parent: int) -> Callable[[], None]:
    """Runs in the child before its program: it is to be killed with the gateway, however the gateway ends."""

    def bind() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # the gateway died in between: nobody would send the signal any more
                os._exit(1)

    return bind


def _is_program(fact: ServerFact, env: Mapping[str, str]) -> bool:
    """Whether the first word of its command can be run: what starts it would only say that it has ended."""
    word = fact.command[0]
    if "/" in word:
        return os.access(Path(fact.cwd or "", word), os.X_OK)
    return shutil.which(word, path=env.get("PATH")) is not None


def _ended(code: int, *, boxed: bool) -> str:
    if boxed and code > _SIGNALLED:
        code = _SIGNALLED - code
    return f"ended with {'signal' if code < 0 else 'exit code'} {abs(code)}"


class StdioConnection:
    """One child process and the requests that run in it. Every failure ends all of them with the same Failed."""

    def __init__(
        self, fact: ServerFact, limits: Limits, news: News, sandbox: Sandbox, given: Mapping[str, str] | None = None
    ) -> None:
        """``given``: the variables and secrets that it is started with."""
        self.version = ""
        self._given = dict(given or {})
        self._fact = fact
        self._limits = limits
        self._sandbox = sandbox
        self._news = news
        self._watched: dict[str, str] = {}
        self._listening = 0  # the id of the request that subscribes, at 2026-07-28
        self._acknowledged: asyncio.Future[Json] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._lines: dict[int, Line] = {}
        self._last = 0
        self._noise = 0
        self._secrets: tuple[str, ...] = ()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._dead: Failed | None = None
        self._kept_by = "nothing"

    @property
    def alive(self) -> bool:
        """Whether another request can be sent."""
        return self._process is not None and self._dead is None

    async def open(self) -> None:
        """Starts the process. Raises Failed (upstream_unavailable) when it cannot be started."""
        env = environment(self._fact, self._given, os.environ)
        self._secrets = tuple(sorted({env[name] for name in (*self._given, *self._fact.env) if len(env[name]) >= 6}))
        if not _is_program(self._fact, env):
            raise Failed("upstream_unavailable", f"{self._fact.command[0]} could not be started: no such program.")
        self._kept_by, command = await asyncio.to_thread(self._sandbox.command, self._fact)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=env,
                cwd=self._fact.cwd,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # calls libc only, which is loaded before the fork
            )
        except (OSError, ValueError) as error:
            text = f"{self._fact.command[0]} could not be started: {error}"
            raise Failed("upstream_unavailable", text, retry=True) from error
        stdout = cast("asyncio.StreamReader", self._process.stdout)
        stderr = cast("asyncio.StreamReader", self._process.stderr)
        self._tasks = [
            asyncio.create_task(self._read(self._process, stdout)),
            asyncio.create_task(self._read_errors(stderr)),
        ]

    async def request(
        self,
        method: str,
        params: JsonObject,
        *,
        timeout_s: float,
        admit: Callable[[], None] | None = None,
        line: Line | None = None,
        headers: JsonObject | None = None,  # noqa: ARG002 (pipes have none)
    ) -> dict[str, Any]:
        """See Connection."""
        if admit is not None:
            admit()  # nothing is awaited between here and the pipe
        self._last += 1
        identity = self._last
        params = with_token(params, identity)
        if line is not None:
            self._lines[identity] = line
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[identity] = future
        self._quiet.clear()
        timer = asyncio.get_running_loop().call_later(timeout_s, self._timed_out, identity, method, timeout_s)
        try:
            await self._send(codec.request_message(identity, method, params))
            return await future
        except asyncio.CancelledError:
            self._cancel(identity, "the caller cancelled")
            raise
        finally:
            timer.cancel()
            self._waiting.pop(identity, None)
            self._lines.pop(identity, None)
            if not self._waiting:
                self._quiet.set()

    def _timed_out(self, identity: int, method: str, timeout_s: float) -> None:
        future = self._waiting[identity]
        if not future.done():
            self._cancel(identity, "timeout")
            noise = f" It wrote {self._noise} lines that are no JSON-RPC." if self._noise else ""
            future.set_exception(Failed("upstream_timeout", f"No answer to {method} within {timeout_s:g} s.{noise}"))

    async def retire(self) -> None:
        """Ends the process when the requests that run in it have been answered."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.call_s):
                await self._quiet.wait()
        await self.close()

    async def notify(self, method: str, params: JsonObject) -> None:
        """See Connection."""
        await self._send(codec.notification(method, params))

    async def watch(self, uris: frozenset[str]) -> dict[str, str]:
        """See Connection."""
        if self.version in codec.MODERN_VERSIONS:
            return await self._listen(uris)
        return await subscribe_each(self, self._watched, uris, self._limits)

    async def _listen(self, uris: frozenset[str]) -> dict[str, str]:
        """Subscribes anew, then ends the subscription before it. The request is answered when the server ends it."""
        before, self._last = self._listening, self._last + 1
        self._listening = self._last
        self._acknowledged = asyncio.get_running_loop().create_future()
        params = listen_params(uris, self.version)
        await self._send(codec.request_message(self._listening, "subscriptions/listen", params))
        try:
            async with asyncio.timeout(self._limits.start_s):
                told = await self._acknowledged
        except TimeoutError:
            raise Failed("upstream_timeout", "The server does not acknowledge a subscription.") from None
        if before:
            self._cancel(before, "subscribed anew")
        return acknowledged(told, uris)

    def _told_of_subscription(self, params: JsonObject, answer: JsonObject | None = None) -> None:
        """The acknowledgement of our subscription, or an ``answer``: it was refused, or has ended."""
        waiting = self._acknowledged
        if waiting is None or waiting.done():
            if answer is not None:
                self._news.lost()
        elif answer is None:
            meta = params.get("_meta")
            if isinstance(meta, dict) and meta.get(codec.META_SUBSCRIPTION) == self._listening:
                waiting.set_result(params)
        else:
            told = answer.get("error")
            text = str(told.get("message"))[:300] if isinstance(told, dict) else "it ended the subscription at once"
            waiting.set_exception(Failed("upstream_refused", f"The server takes no subscriptions: {text}"))

    def _cancel(self, identity: int, reason: str) -> None:
        process = self._process
        if self._dead is None and process is not None and process.stdin is not None:
            message = codec.notification("notifications/cancelled", {"requestId": identity, "reason": reason})
            process.stdin.write(message + b"\n")

    async def _send(self, message: bytes) -> None:
        if self._dead is not None or self._process is None or self._process.stdin is None:
            raise self._dead or Failed("upstream_died", "The process is not running.", retry=True)
        pipe = self._process.stdin
        try:
            pipe.write(message + b"\n")
            if pipe.transport.get_write_buffer_size() > _WRITE_HIGH:
                async with asyncio.timeout(self._limits.call_s):
                    await pipe.drain()
        except (OSError, RuntimeError, TimeoutError) as error:
            code = await self._exit_code(self._process)
            how = "does not read its input any more" if code is None else _ended(code, boxed=self._kept_by == "sandbox")
            raise self._end("upstream_died", f"The process {how}.") from error

    async def _exit_code(self, process: asyncio.subprocess.Process) -> int | None:
        """The exit code of a process whose pipe is closed, None when it lives on without it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await process.wait()
        return process.returncode

    async def _read(self, process: asyncio.subprocess.Process, stdout: asyncio.StreamReader) -> None:
        """Takes the process's messages until it ends."""
        parts: list[bytes] = []
        size = 0
        while chunk := await stdout.read(1 << 16):
            first, *more = chunk.split(b"\n")
            parts.append(first)
            size += len(first)
            for line in more:
                self._take(b"".join(parts))
                parts, size = [line], len(line)
            if size > self._limits.message_bytes:
                self._end("upstream_garbage", f"It wrote a line of more than {self._limits.message_bytes} bytes.")
                self._kill()
                while await stdout.read(1 << 16):
                    pass
                return
        code = await self._exit_code(process)
        how = "closed its output" if code is None else _ended(code, boxed=self._kept_by == "sandbox")
        self._end("upstream_died", f"The process {how}.")
        self._kill()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            message = None
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            self._noise += 1
            return
        identity, method, params = message.get("id"), message.get("method"), message.get("params")
        params = params if isinstance(params, dict) else {}
        if method is None and identity is not None and identity == self._listening:
            self._told_of_subscription({}, message)
        elif method is None:
            future = self._waiting.get(identity) if type(identity) is int else None
            if future is None or future.done():
                return  # the answer to a request that was cancelled meanwhile
            if is_answer(message):
                future.set_result(message)
            else:
                future.set_exception(Failed("upstream_garbage", "The answer has neither a result nor an error."))
        elif identity is not None:
            self._reply(answer_to(message))
        elif method == "notifications/progress":
            self._tell_progress(params)
        elif is_change(method):
            self._news.heard(method, params)
        elif method == ACKNOWLEDGED:
            self._told_of_subscription(params)

    def _tell_progress(self, params: dict[str, Any]) -> None:
        if type(params.get("progressToken")) is int:
            line = self._lines.get(params["progressToken"])
            if line is not None:
                line.tell("notifications/progress", params)

    def _reply(self, message: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            pipe = self._process.stdin
            if pipe.transport.get_write_buffer_size() < _WRITE_HIGH:  # a server that only asks gets no memory of ours
                pipe.write(message + b"\n")

    async def _read_errors(self, stderr: asyncio.StreamReader) -> None:
        """Logs what the process says on standard error, without secrets: its own and those that are found."""
        rest = b""
        while chunk := await stderr.read(1 << 14):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-(1 << 14) :]
            for line in lines:
                _log.info("mcp_server_says", server=self._fact.name, text=clean(without(line, self._secrets), ALWAYS))

    def _end(self, code: str, problem: str) -> Failed:
        """The connection is over; so is every request in it."""
        if self._dead is None:
            self._dead = Failed(code, problem, retry=True)
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(Failed(code, problem, retry=True))
            if self._acknowledged is not None and not self._acknowledged.done():
                self._acknowledged.set_exception(Failed(code, problem, retry=True))
            self._news.lost()
        return self._dead

    def _signal(self, number: int) -> None:
        """To the whole process group: a launcher's children as well."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _kill(self) -> None:
        """At once. A leash kills all that has left the group as well, so it is asked to."""
        if self._kept_by == "leash" and self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._process.send_signal(signal.SIGINT)
        else:
            self._signal(signal.SIGKILL)

    async def close(self) -> None:
        """Closes the process's input, asks it to end, then makes it end."""
        self._end("upstream_died", "The gateway stopped this server.")
        process = self._process
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            for end in (partial(self._signal, signal.SIGTERM), self._kill, partial(self._signal, signal.SIGKILL)):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.stop_s / 2):
                        await process.wait()
                    break
                end()
            with contextlib.suppress(TimeoutError):  # a descendant that left the group can hold the pipes open
                async with asyncio.timeout(self._limits.stop_s):
                    await process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def without(line: bytes, secrets: Iterable[str]) -> str:
    """A line of a log, cut at 500 characters, with every secret blanked."""
    text = line.decode("utf-8", "replace")
    for secret in secrets:
        text = text.replace(secret, "***")
    return text[:500]
