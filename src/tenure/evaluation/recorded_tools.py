"""An MCP server whose tools answer what the recorded tools answered, over real streamable HTTP.

``python -m tenure.evaluation.recorded_tools FILE``, then ``/mcp``. A call names its session, its step and its call id
in ``params._meta["tenure/recording"]``: the model used some call ids twice in one session, so the id alone does not say
which call it is. It is answered only when tool and arguments equal the recorded ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from starlette.applications import Starlette

from tenure.evaluation import recorded
from tenure.evaluation.formats import tau_bench
from tenure.kernel.json import JsonObject, canonical

NAME = "recorded-tools"


def find(
    sessions: Mapping[str, tau_bench.Session], which: JsonObject, name: str, arguments: JsonObject
) -> tau_bench.ToolUse | str:
    """The recorded call that ``which`` names, or why this is not it."""
    session = sessions.get(str(which.get("session")))
    if session is None:
        return f"no session {which.get('session')!r} is recorded"
    uses = [use for turn in session.turns for use in turn.tools if use.step == which.get("step")]
    if not uses or uses[0].id != which.get("call"):
        return f"step {which.get('step')} of session {session.key} is not the call {which.get('call')!r}"
    use = uses[0]
    if use.name != name:
        return f"step {use.step} of session {session.key} calls {use.name}, not {name}"
    if canonical(use.arguments) != canonical(arguments):
        return f"the arguments of step {use.step} of session {session.key} differ from the record"
    return use if use.result is not None else f"no result is recorded for step {use.step} of session {session.key}"


def application(sessions: Mapping[str, tau_bench.Session]) -> Starlette:
    """The server's routes. The record holds no tool schemas, so each tool takes any object."""

    async def list_tools(
        _context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        described = [
            types.Tool(name=name, description=f"{name}, as recorded", input_schema={"type": "object"})
            for name in tau_bench.tool_names(sessions.values())
        ]
        return types.ListToolsResult(tools=described)

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        which = (context.meta or {}).get(recorded.META_KEY)
        use = find(sessions, which if isinstance(which, Mapping) else {}, params.name, params.arguments or {})
        if isinstance(use, str):
            raise MCPError(types.INVALID_PARAMS, use)
        return types.CallToolResult(content=[types.TextContent(type="text", text=use.result or "")])

    server: Server[Any] = Server(NAME, on_list_tools=list_tools, on_call_tool=call_tool)
    return server.streamable_http_app(json_response=True, stateless_http=True)


def main() -> None:
    """Runs the server until its standard input ends."""
    given = recorded.arguments(__doc__)
    recorded.serve(application(recorded.sessions_of(given.file)), given.host, given.port)


if __name__ == "__main__":
    main()
