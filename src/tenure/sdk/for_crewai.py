"""CrewAI: ``with governing(door, "local"): crew.kickoff()``."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from crewai.hooks import (
    HookAborted,
    ToolCallHookContext,
    register_after_tool_call_hook,
    register_before_tool_call_hook,
    unregister_after_tool_call_hook,
    unregister_before_tool_call_hook,
)

from tenure.sdk.door import Denied, Door, Ruling, Sure, Why, said

_STOPPED = "Tool execution blocked by hook"
_FAILED = "Error executing tool: "  # what CrewAI tells the model of what a tool raised


@contextmanager
def governing(
    door: Door,
    server: str,
    *,
    only: Collection[str] | None = None,
    wait_s: float | None = None,
    reason: Why = "",
    confidence: Sure = None,
) -> Iterator[None]:
    """Until it ends, each tool call of every crew and agent of this process is decided as ``<server>/<name>`` first.
    The model is told of a denial in the tool's place.

    ``only``: names of the tools that are asked about, as CrewAI spells them (``refund_invoice`` for *Refund invoice*);
    others, such as those of an MCP server behind the gateway, are left alone. ``wait_s``, ``reason`` and ``confidence``
    as of ``Door.governed``. CrewAI calls hooks in the order of their registration: one that is registered later could
    still change the arguments."""
    hooks = _Hooks(door, server, only, wait_s, reason, confidence)
    register_before_tool_call_hook(hooks.before)
    register_after_tool_call_hook(hooks.after)
    try:
        yield
    finally:
        unregister_before_tool_call_hook(hooks.before)
        unregister_after_tool_call_hook(hooks.after)


@dataclass
class _Hooks:
    """``open``: by the identity of its arguments, which both hooks are handed, the ruling of each call that runs, and
    when it began; or what to tell the model in its place."""

    door: Door
    server: str
    only: Collection[str] | None
    wait_s: float | None
    reason: Why
    confidence: Sure
    open: dict[int, tuple[dict[str, Any], Ruling | str, float]] = field(default_factory=dict)

    def before(self, context: ToolCallHookContext) -> None:
        """Raises HookAborted for what may not be called, and for whatever goes wrong: CrewAI would go on after anything
        else that a hook raises."""
        if self.only is not None and context.tool_name not in self.only:
            return
        tool, given = f"{self.server}/{context.tool_name}", context.tool_input
        try:
            words = said(tool, given, self.reason, self.confidence)
            ruling = self.door.decide(tool, given, self.wait_s, **words)
        except Denied as denied:
            why = denied.ruling.reason
        except Exception as error:  # noqa: BLE001 (what cannot be decided may not be called)
            why = f"it could not be decided: {error!r}"
        else:
            self.open[id(given)] = (given, ruling, time.perf_counter())
            if ruling.arguments != given:  # CrewAI calls the tool with this very object
                given.clear()
                given.update(ruling.arguments)
            return
        self.open[id(given)] = (given, f"{context.tool_name} was not called: {why}", 0.0)
        raise HookAborted(why, source="tenure")

    def after(self, context: ToolCallHookContext) -> str | None:
        """Tells what came of a call. CrewAI comes here after a call that was not made, too."""
        _given, ruling, begun = self.open.pop(id(context.tool_input), (None, None, 0.0))
        if ruling is None or isinstance(ruling, str):
            return ruling
        result, shown = context.raw_tool_result, str(context.tool_result)
        failed = result == context.tool_result and shown.startswith((_STOPPED, _FAILED))
        took = int((time.perf_counter() - begun) * 1e6)
        self.door.record(ruling, result=None if failed else result, error=shown if failed else None, duration_us=took)
        return None
