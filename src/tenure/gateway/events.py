"""The event types that a gateway sends upward, each with one line that says what it means (``docs/events.md``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tenure.kernel.json import Json
from tenure.kernel.values import Event

EVENTS: Mapping[str, str] = {
    "call.completed": "A call was allowed and acted on, whatever the upstream answered.",
    "call.refused": "A call was denied, or nobody approved it in time, or it was drafted, simulated or left to people "
    "(`tenure.mode`); nothing was sent upstream.",
    "fork.called": "As call.completed, of a recorded run that is played again (`tenure.fork`): no work of the agent's.",
    "fork.refused": "As call.refused, of a recorded run that is played again; no violation of the agent's.",
    "request.refused": "Requests (`count`) that were no call: unreadable, too large, or without a valid credential.",
    "approval.requested": "A call is held until a person decides on exactly it.",
    "approval.claimed": "A call asks to be the one that uses a granted approval.",
    "draft.claimed": "A gateway asks to be the one that makes a prepared call; data: draft, claim, resource",
    "tool.seen": "A server describes a granted tool otherwise than is accepted or known; data: resource, fingerprint, "
    "definition (JSON as text)",
    "secret.used": "A secret of the workspace, or a person's token (`connector/address`), was sent since this was told "
    "last; data: secret",
    "limits.asked": "A gateway says what it used under a lease and how much more it wants; data: lease, account, "
    "limit, serial, used, ceiling, need, want, final",
    "sequence.asked": "A gateway asks for what a session did before, keeps it, or gives it back; data: history, lease, "
    "serial, gateway, run, has, final",
    "sequence.step": "A call that sequence rules are about begins, or has ended; data: steps (history, lease, step)",
    "sequence.late": "As sequence.step, of a history that another gateway keeps by now",
    "client.seen": "An MCP client introduced itself with an agent's credential; told once for each by a gateway. Data: "
    "mcp.client.name, mcp.client.version, user_agent.original",
    "gateway.dropped": "So many Events (`count`) could not be kept between its time and its end, and why (`reasons`).",
}

_TEXT = 1000  # characters
_ITEMS = 50


def pared(event: Event) -> Event:
    """A call's Event without its content: who, what, the decision and the figures. What an agent or an upstream puts
    into a call may be too long or too deep to be kept; that the call happened is kept all the same."""
    data = {name: _pared(value, 2 if name.startswith("tenure.") else 0) for name, value in event.data.items()}
    kept = {name: value for name, value in data.items() if value is not None}
    return replace(event, data={**kept, "tenure.capture.truncated": True})


def _pared(value: Json, depth: int) -> Json:
    if isinstance(value, str):
        return value[:_TEXT]
    if isinstance(value, Mapping):
        return {name: _pared(item, depth - 1) for name, item in value.items()} if depth else None
    if isinstance(value, list | tuple):
        return [_pared(item, depth - 1) for item in value[:_ITEMS]] if depth else None
    return value
