"""The client of ``POST /v1/decide`` and ``/v1/record``, and the decorator for tools of one's own process."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from tenure.sdk.spool import Spool

F = TypeVar("F", bound=Callable[..., Any])
Why = str | Callable[[str, Mapping[str, Any]], str]
"""What calls are for: the same for each, or made out of a tool and its arguments; empty for nothing said."""
Sure = float | Callable[[str, Mapping[str, Any]], float | None] | None
"""How sure the agent is, from 0 to 1: the same for each call, or made out of a tool and its arguments; None for
nothing said."""
_GRACE_S = 15.0  # on top of what a person is waited for


class Denied(PermissionError):  # noqa: N818 (a decision, not a malfunction)
    """The call may not be made. ``ruling`` says why."""

    def __init__(self, ruling: Ruling) -> None:
        super().__init__(ruling.reason)
        self.ruling = ruling


class Held(Denied):
    """A person has not decided yet: the same call, asked for again, waits for the same approval."""


class Drafted(Denied):
    """The call was not made, and is no failure: it was drafted or simulated, or people were handed it. ``ruling.mode``
    says which."""


class Unreachable(Denied):
    """No gateway answered, and the workspace did not declare that this tool may go on without one."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """A decision. ``arguments``: what to call the tool with, which is what was asked but for what policy takes out.
    ``alone``: no gateway answered, and the declared fail mode let it pass. ``mode``:
    draft, simulate or offer for a call that is not made (``Drafted``)."""

    call: str
    effect: str
    reason: str
    tool: str
    arguments: Mapping[str, Any]
    policies: tuple[str, ...] = ()
    approval: str | None = None
    alone: bool = False
    mode: str = ""


class Door:
    """Asks a gateway. ``url`` is its address, ``token`` the agent's; ``folder`` keeps what was decided alone."""

    def __init__(self, url: str, token: str, *, session: str = "", folder: Path | None = None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        if session:
            self._headers["x-tenure-session"] = session
        self._spool = Spool(folder or Path.home() / ".tenure-agent")
        # Straight to the gateway: a proxy of the environment is for other addresses.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Door:
        """As ``tenure run`` wires a process: TENURE_MCP_URL, TENURE_AGENT_TOKEN, TENURE_SESSION; TENURE_SPOOL names
        the folder. Raises RuntimeError without the first two."""
        url, token = environ.get("TENURE_MCP_URL", ""), environ.get("TENURE_AGENT_TOKEN", "")
        if not url or not token:
            raise RuntimeError("TENURE_MCP_URL and TENURE_AGENT_TOKEN are not set: start this with `tenure run`.")
        folder = environ.get("TENURE_SPOOL")
        session = environ.get("TENURE_SESSION", "")
        return cls(url.removesuffix("/mcp"), token, session=session, folder=Path(folder) if folder else None)

    def decide(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        wait_s: float | None = None,
        *,
        reason: str = "",
        confidence: float | None = None,
    ) -> Ruling:
        """The ruling on one call. ``wait_s``: how long to wait for a person (None: as the agent's manifest says).
        ``reason``: what it is for, where policy wants to be told. ``confidence``: how sure the agent is, from 0 to 1,
        which only ever makes the ruling stricter. Raises Denied, Held, Drafted or Unreachable; returns only what may be
        called, once."""
        asked: dict[str, Any] = {"tool": tool, "arguments": dict(arguments)}
        if confidence is not None:
            asked["confidence"] = confidence
        if wait_s is not None:
            asked["wait_s"] = wait_s
        if reason:
            asked["reason"] = reason
        try:
            found = self._post("/v1/decide", asked, 600.0 if wait_s is None else wait_s)
        except OSError as error:
            return self._alone(tool, arguments, str(error))
        self._spool.learn(tool, str(found.get("fail_mode", "closed")))
        self._hand_in()
        ruling = Ruling(
            call=str(found.get("call", "")),
            effect=str(found.get("effect", "deny")),
            reason=str(found.get("reason", "")),
            tool=tool,
            arguments=found.get("arguments", arguments),
            policies=tuple(found.get("policies", ())),
            approval=found.get("approval"),
            mode=str(found.get("mode", "")),
        )
        if ruling.effect == "allow":
            return ruling
        if ruling.mode:
            raise Drafted(ruling)
        raise Held(ruling) if ruling.effect == "hold" else Denied(ruling)

    def _alone(self, tool: str, arguments: Mapping[str, Any], problem: str) -> Ruling:
        ident, opened = uuid.uuid4().hex, self._spool.may_go_on(tool)
        effect = "allow" if opened else "deny"
        told = {"call": ident, "tool": tool, "arguments": dict(arguments), "effect": effect, "at": time.time()}
        kept = self._spool.add(told | {"alone": True})
        reason = f"No gateway answered ({problem}), and {tool} may not go on without one."
        if opened and kept:
            return Ruling(ident, "allow", "No gateway answered; fail_mode: open.", tool, arguments, alone=True)
        if opened:
            reason = f"No gateway answered ({problem}), and there is no room to record what would be done alone."
        raise Unreachable(Ruling(ident, "deny", reason, tool, arguments, alone=True))

    def record(self, ruling: Ruling, *, result: Any = None, error: str | None = None, duration_us: int = 0) -> None:
        """Tells what came of a call. Never raises: what cannot be told now is kept and handed in later."""
        told: dict[str, Any] = {"call": ruling.call, "tool": ruling.tool, "arguments": dict(ruling.arguments)}
        told |= {"duration_us": duration_us, "at": time.time() - duration_us / 1e6}
        told |= {"error": error} if error is not None else {"result": _plain(result)}
        if ruling.alone:
            return  # that it was decided alone is kept already, with its arguments
        try:
            self._post("/v1/record", told, 0.0)
        except (OSError, ValueError):
            self._spool.add(told)

    def _hand_in(self) -> None:
        def send(record: dict[str, Any]) -> bool:
            try:
                self._post("/v1/record", record, 0.0)
            except urllib.error.HTTPError as error:
                return 400 <= error.code < 500 and error.code not in (401, 403, 429)  # it will never be taken
            except OSError:
                return False
            return True

        try:
            self._spool.hand_in(send)
        except OSError:
            return  # the next call tries again

    def governed(
        self, tool: str, wait_s: float | None = None, *, reason: Why = "", confidence: Sure = None
    ) -> Callable[[F], F]:
        """Decorates a function, plain or async: it runs only when the call of ``tool`` may be made, with what policy
        left of its arguments, and what came of it is told. ``reason`` and ``confidence`` as of ``decide``, the same for
        every call or made out of each. Raises as ``decide``."""

        def decorate(function: F) -> F:
            signature = inspect.signature(function)
            said: dict[str, Any] = {"reason": reason, "confidence": confidence}
            named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
            if any(parameter.kind not in named for parameter in signature.parameters.values()):
                raise TypeError(
                    f"{tool}: every argument of a governed function has a name, or policy could not read it"
                )

            def asked(args: Any, kwargs: Any) -> tuple[inspect.BoundArguments, dict[str, Any]]:
                bound = signature.bind(*args, **kwargs)
                return bound, {name: _plain(value) for name, value in bound.arguments.items()}

            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def later(*args: Any, **kwargs: Any) -> Any:
                    bound, arguments = asked(args, kwargs)
                    return await self.arun(tool, arguments, lambda to: function(**_merge(bound, to)), wait_s, **said)

                return cast("F", later)

            @functools.wraps(function)
            def now(*args: Any, **kwargs: Any) -> Any:
                bound, arguments = asked(args, kwargs)
                return self.run(tool, arguments, lambda to: function(**_merge(bound, to)), wait_s, **said)

            return cast("F", now)

        return decorate

    def run(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        call: Callable[[Mapping[str, Any]], Any],
        wait_s: float | None = None,
        *,
        reason: Why = "",
        confidence: Sure = None,
    ) -> Any:
        """Decides, calls ``call`` with the arguments, records. Raises as ``decide``, and what ``call`` raises."""
        ruling = self.decide(tool, arguments, wait_s, **said(tool, arguments, reason, confidence))
        begun = time.perf_counter()
        try:
            result = call(ruling.arguments)
        except BaseException as error:
            self.record(ruling, error=repr(error), duration_us=_since(begun))
            raise
        self.record(ruling, result=result, duration_us=_since(begun))
        return result

    async def arun(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        call: Callable[[Mapping[str, Any]], Any],
        wait_s: float | None = None,
        *,
        reason: Why = "",
        confidence: Sure = None,
    ) -> Any:
        """As ``run``, for a ``call`` that is awaited; other work of the loop goes on while a person is waited for."""
        words = said(tool, arguments, reason, confidence)
        ruling = await asyncio.to_thread(functools.partial(self.decide, tool, arguments, wait_s, **words))
        begun = time.perf_counter()
        try:
            result = await call(ruling.arguments)
        except BaseException as error:
            self.record(ruling, error=repr(error), duration_us=_since(begun))
            raise
        await asyncio.to_thread(functools.partial(self.record, ruling, result=result, duration_us=_since(begun)))
        return result

    def _post(self, path: str, body: Mapping[str, Any], wait_s: float) -> dict[str, Any]:
        """The answer. Raises OSError when no gateway gave one; a refusal of the request itself is a denial."""
        data = json.dumps(body, default=str).encode()
        request = urllib.request.Request(self._url + path, data, self._headers, method="POST")  # noqa: S310 (the gateway's own address)
        try:
            with self._open(request, timeout=wait_s + _GRACE_S) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            with error:
                if path == "/v1/record" or error.code >= 500:
                    raise
                text = error.read().decode("utf-8", "replace")
            reason = f"The gateway refused to decide ({error.code}): {text[:500]}"
            return {"effect": "deny", "reason": reason, "fail_mode": "closed"}
        except ValueError as error:
            raise OSError(f"what answered is no gateway: {error}") from None


def said(tool: str, arguments: Mapping[str, Any], reason: Why, confidence: Sure) -> dict[str, Any]:
    """``reason`` and ``confidence`` of one call, as ``decide`` takes them."""
    return {
        "reason": reason(tool, arguments) if callable(reason) else reason,
        "confidence": confidence(tool, arguments) if callable(confidence) else confidence,
    }


def _since(begun: float) -> int:
    return int((time.perf_counter() - begun) * 1e6)


def _plain(value: Any) -> Any:
    """What JSON can carry of a value: all of it, or its text."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return str(value)


def _merge(bound: inspect.BoundArguments, to: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as they were given, but for those that policy changed."""
    return {
        name: to[name] if name in to and to[name] != _plain(value) else value for name, value in bound.arguments.items()
    }
