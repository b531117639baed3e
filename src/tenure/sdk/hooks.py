"""Hooks of coding agents: their JSON in, a decision out. Pure but for the Door that is asked.

Claude Code and Codex send the same fields for PreToolUse and PostToolUse. Neither is told *allow*: silence leaves the
person's own permissions as they are, and Codex takes nothing else. A denial is said as JSON with status 0, which both
take; whatever goes wrong here blocks with status 2, because either goes on after any other failure of a hook.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenure.sdk.door import Denied, Door, Ruling

AGENTS = ("claude-code", "codex")
_MARKED = 150  # characters of a tool's name


@dataclass(frozen=True, slots=True)
class Said:
    """What the hook prints on standard output and on standard error, and its status."""

    out: str = ""
    err: str = ""
    status: int = 0


def hook(agent: str, text: str, door: Callable[[], Door]) -> Said:
    """The answer to one hook of ``agent`` (of ``AGENTS``). ``door`` is made only when something is to be asked."""
    try:
        event = json.loads(text)
        kind, tool, given = event["hook_event_name"], event.get("tool_name"), event.get("tool_input")
        if kind == "PostToolUse":
            _after(agent, event, door())
            return Said()
        if kind != "PreToolUse":
            return Said()
        arguments = given if isinstance(given, dict) else {"input": given}
        door().decide(_resource(agent, str(tool)), arguments, wait_s=event.get("tenure_wait_s", 0))
    except Denied as denied:
        return Said(out=json.dumps(_denial(denied)))
    except Exception as error:  # noqa: BLE001 (whatever goes wrong while deciding is a denial)
        return Said(err=f"tenure: this call cannot be decided, so it is refused: {error!r}\n", status=2)
    return Said()


def _resource(agent: str, tool: str) -> str:
    """``mcp__server__tool`` is ``server/tool``; a tool of the coding agent's own is ``claude-code/Bash``."""
    parts = tool.split("__", 2)
    if len(parts) == 3 and parts[0] == "mcp" and all(parts):
        return f"{parts[1]}/{parts[2]}"
    return f"{agent}/{tool[:_MARKED]}"


def _denial(denied: Denied) -> dict[str, Any]:
    ruling = denied.ruling
    by = f" (policy {', '.join(ruling.policies)})" if ruling.policies else ""
    wait = f" It waits for approval {ruling.approval}; try again later." if ruling.effect == "hold" else ""
    return {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": f"{ruling.reason}{by}{wait}",
        }
    }


def _after(agent: str, event: dict[str, Any], door: Door) -> None:
    """Tells what came of a call. The two hooks are two processes: the call is told under the coding agent's own id."""
    given, ident = event.get("tool_input"), str(event.get("tool_use_id") or "")
    arguments = given if isinstance(given, dict) else {"input": given}
    if ident:
        ruling = Ruling(ident[:64], "allow", "", _resource(agent, str(event.get("tool_name"))), arguments)
        door.record(ruling, result=event.get("tool_response"))
