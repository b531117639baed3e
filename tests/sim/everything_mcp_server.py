"""An MCP server with everything that the official conformance suite asks of one, by the SDK, in both lives of MCP.

    python tests/sim/everything_mcp_server.py PORT          streamable HTTP, every revision
    python tests/sim/everything_mcp_server.py PORT old      revisions with sessions only

Names, URIs and texts are the suite's own (SERVER_REQUIREMENTS.md and the scenarios' descriptions in
https://github.com/modelcontextprotocol/conformance).
"""

# Each part below is a list of small tools.
# ruff: noqa: C901

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPError
from mcp.types import (
    AudioContent,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequiredResult,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.sim.everything_mcp_asks import MODERN, asking_tools, form, given, input_tools
from tests.sim.mcp_servers import wait_for_port

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="

PROMPTS = (
    "test_simple_prompt",
    "test_prompt_with_arguments",
    "test_prompt_with_embedded_resource",
    "test_prompt_with_image",
    "test_input_required_result_prompt",
)
"""Every prompt."""
RESOURCES = ("test://*",)


@contextmanager
def everything_server(port: int, *, old: bool = False) -> Iterator[str]:
    """Runs the server; yields its URL."""
    root = Path(__file__).resolve().parents[2]
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.sim.everything_mcp_server",
        str(port),
        *(["old"] if old else []),
    ]
    process = subprocess.Popen(command, cwd=root)
    try:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


def content_tools(server: MCPServer) -> None:
    """Tools whose results are of every kind, and what is told on the way."""

    @server.tool()
    def test_simple_text() -> str:
        """Text."""
        return "This is a simple text response for testing."

    @server.tool()
    def test_image_content() -> list[ImageContent]:
        """An image."""
        return [ImageContent(type="image", data=PNG, mime_type="image/png")]

    @server.tool()
    def test_audio_content() -> list[AudioContent]:
        """A sound."""
        return [AudioContent(type="audio", data=WAV, mime_type="audio/wav")]

    def embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
        return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))

    @server.tool()
    def test_embedded_resource() -> list[EmbeddedResource]:
        """A resource."""
        return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]

    @server.tool()
    def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
        """Text, an image and a resource."""
        return [
            TextContent(type="text", text="Multiple content types test:"),
            ImageContent(type="image", data=PNG, mime_type="image/png"),
            embedded("test://mixed-content-resource", "application/json", '{"test": "data", "value": 123}'),
        ]

    @server.tool()
    async def test_tool_with_logging(ctx: Context) -> str:
        """Three log messages."""
        for step in ("started", "processing data", "completed"):
            await ctx.log("info", f"Tool execution {step}")
            await asyncio.sleep(0.05)
        return "Tool with logging executed successfully"

    @server.tool()
    async def test_logging_tool(ctx: Context) -> str:
        """A log message, for those who want any."""
        await ctx.log("info", "logged")
        return "done"

    @server.tool()
    async def test_tool_with_progress(ctx: Context) -> str:
        """Three steps."""
        for progress in (0, 50, 100):
            await ctx.report_progress(progress, 100, f"Completed step {progress} of 100")
            await asyncio.sleep(0.05)
        return "done"

    @server.tool()
    def test_error_handling() -> str:
        """Fails."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool()
    def test_missing_capability(ctx: Context) -> str:
        """Needs a client that samples."""
        capabilities = ctx.client_capabilities
        if capabilities is None or capabilities.sampling is None:
            raise MCPError(
                code=-32021,
                message="Missing required client capability",
                data={"requiredCapabilities": {"sampling": {}}},
            )
        return "the client samples"


def resources_and_prompts(server: MCPServer) -> None:
    """Resources, one of which changes; prompts; and tools that change what there is."""
    watched = {"text": "Watched resource content", "times": "0"}
    watchers: dict[str, set[Any]] = {}

    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        """Text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """An image."""
        return base64.b64decode(PNG)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:  # noqa: A002 (the suite's name)
        """One of many."""
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.resource("test://watched-resource", mime_type="text/plain")
    def watched_resource() -> str:
        """It changes."""
        return watched["text"]

    @server.tool()
    async def test_touch_watched(ctx: Context) -> str:
        """Changes the watched resource."""
        watched["text"] += "."
        uri = "test://watched-resource"
        await ctx.notify_resource_updated(uri)
        for session in list(watchers.get(uri, ())):
            await session.send_resource_updated(uri)
        return "touched"

    @server.tool()
    async def test_trigger_tool_change(ctx: Context) -> str:
        """Tells that there are other tools."""
        await ctx.notify_tools_changed()
        await ctx.session.send_tool_list_changed()  # to the session; at 2026-07-28 it is dropped
        return "told"

    @server.tool()
    async def test_trigger_prompt_change(ctx: Context) -> str:
        """Tells that there are other prompts."""
        await ctx.notify_prompts_changed()
        await ctx.session.send_prompt_list_changed()
        return "told"

    @server.prompt()
    def test_simple_prompt() -> list[UserMessage]:
        """No arguments."""
        return [UserMessage(TextContent(type="text", text="This is a simple prompt for testing."))]

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
        """Two arguments."""
        return [UserMessage(TextContent(type="text", text=f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803 (the suite's name)
        """A resource in it."""
        text = TextResourceContents(
            uri=resourceUri, mime_type="text/plain", text="Embedded resource content for testing."
        )
        return [
            UserMessage(EmbeddedResource(type="resource", resource=text)),
            UserMessage(TextContent(type="text", text="Please process the embedded resource above.")),
        ]

    @server.prompt()
    def test_prompt_with_image() -> list[UserMessage]:
        """An image in it."""
        return [
            UserMessage(ImageContent(type="image", data=PNG, mime_type="image/png")),
            UserMessage(TextContent(type="text", text="Please analyze the image above.")),
        ]

    @server.prompt()
    def test_input_required_result_prompt(ctx: Context) -> Any:
        """Asks first."""
        answer = given(ctx, "user_context")
        if answer is None:
            wanted = form("What context should the prompt use?", "context", "string")
            return InputRequiredResult(input_requests={"user_context": wanted})
        return [
            UserMessage(TextContent(type="text", text=f"In the context of {(answer.content or {}).get('context')}"))
        ]

    async def complete(_: Any, params: CompleteRequestParams) -> CompleteResult:
        words = ("paris", "park", "party", "berlin")
        values = [word for word in words if word.startswith(params.argument.value)]
        return CompleteResult(completion=Completion(values=values, total=len(values), has_more=False))

    async def subscribe(ctx: Any, params: SubscribeRequestParams) -> EmptyResult:
        watchers.setdefault(str(params.uri), set()).add(ctx.session)
        return EmptyResult()

    async def unsubscribe(ctx: Any, params: UnsubscribeRequestParams) -> EmptyResult:
        watchers.get(str(params.uri), set()).discard(ctx.session)
        return EmptyResult()

    async def set_level(_: Any, __: SetLevelRequestParams) -> EmptyResult:
        return EmptyResult()

    low = server._lowlevel_server  # the SDK offers these only at its lower level
    low.add_request_handler("completion/complete", CompleteRequestParams, complete)
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)
    low.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)


class _Old:
    """Knows nothing of 2026-07-28."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and Request(scope).headers.get("mcp-protocol-version") == MODERN:
            await PlainTextResponse("unknown version", status_code=400)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def build() -> MCPServer:
    """The whole server."""
    server = MCPServer("mcp-conformance-test-server", version="1.0.0", instructions="Everything.", log_level="ERROR")
    for part in (content_tools, asking_tools, input_tools, resources_and_prompts):
        part(server)
    return server


def tool_names() -> list[str]:
    """Every tool."""
    return [tool.name for tool in asyncio.run(build().list_tools())]


def main() -> None:
    """See the module's docstring."""
    app = build().streamable_http_app()
    uvicorn.run(
        _Old(app) if "old" in sys.argv[2:] else app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning"
    )


if __name__ == "__main__":
    main()
