"""The tools of the everything-server that ask the client, as the revision that it speaks wants it."""

# The suite gives the names of fields, and each part below is a list of small tools.
# ruff: noqa: N815, C901

from __future__ import annotations

import json
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.types import (
    CallToolResult,
    CreateMessageRequest,
    ElicitRequest,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel, Field

MODERN = "2026-07-28"


class Answer(BaseModel):
    """What a user is asked for."""

    response: str = Field(description="User's response")


class Defaults(BaseModel):
    """A default of every primitive type."""

    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Annotated[str, Field(json_schema_extra={"enum": ["active", "inactive", "pending"]})] = "active"
    verified: bool = True


def _titled(*words: str) -> list[Any]:
    return [{"const": f"value{index + 1}", "title": word} for index, word in enumerate(words)]


class Enums(BaseModel):
    """Every form that a choice can take."""

    untitledSingle: Annotated[str, Field(json_schema_extra={"enum": ["option1", "option2", "option3"]})]
    titledSingle: Annotated[str, Field(json_schema_extra={"oneOf": _titled("First", "Second", "Third")})]
    legacyEnum: Annotated[
        str, Field(json_schema_extra={"enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]})
    ]
    untitledMulti: Annotated[
        list[str], Field(json_schema_extra={"items": {"type": "string", "enum": ["option1", "option2", "option3"]}})
    ]
    titledMulti: Annotated[
        list[str], Field(json_schema_extra={"items": {"anyOf": _titled("First", "Second", "Third")}})
    ]


def form(message: str, name: str, kind: str) -> ElicitRequest:
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    params = {"mode": "form", "message": message, "requestedSchema": schema}
    return ElicitRequest.model_validate({"method": "elicitation/create", "params": params})


def _question(text: str) -> CreateMessageRequest:
    params = {"messages": [{"role": "user", "content": {"type": "text", "text": text}}], "maxTokens": 100}
    return CreateMessageRequest.model_validate({"method": "sampling/createMessage", "params": params})


def given(ctx: Context, key: str) -> Any:
    """What the client answered to the input request ``key``; None when it did not."""
    return (ctx.input_responses or {}).get(key)


def _text(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)])


def asking_tools(server: MCPServer) -> None:
    """Tools that ask the client, as the revision that it speaks wants it: by a request or by a result."""

    async def elicited(ctx: Context, message: str, schema: type[BaseModel]) -> CallToolResult | InputRequiredResult:
        content: Any
        if ctx.protocol_version == MODERN:
            answer = given(ctx, "form")
            if answer is None:
                params = {"mode": "form", "message": message, "requestedSchema": schema.model_json_schema()}
                wanted = ElicitRequest.model_validate({"method": "elicitation/create", "params": params})
                return InputRequiredResult(input_requests={"form": wanted})
            action, content = answer.action, answer.content or {}
        else:
            result = await ctx.elicit(message, schema)
            action = result.action
            content = result.data.model_dump(mode="json") if result.action == "accept" else {}
        return _text(f"Elicitation completed: action={action}, content={json.dumps(content)}")

    @server.tool()
    async def test_elicitation(message: str, ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks the user."""
        return await elicited(ctx, message, Answer)

    @server.tool()
    async def test_elicitation_sep1034_defaults(ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks the user, with defaults."""
        return await elicited(ctx, "Please review the defaults", Defaults)

    @server.tool()
    async def test_elicitation_sep1330_enums(ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks the user to choose."""
        return await elicited(ctx, "Please choose", Enums)

    @server.tool()
    async def test_streaming_elicitation(ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks the user."""
        return await elicited(ctx, "Streaming?", Answer)

    @server.tool()
    async def test_sampling(prompt: str, ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks the client's model."""
        if ctx.protocol_version == MODERN:
            answer = given(ctx, "sample")
            if answer is None:
                return InputRequiredResult(input_requests={"sample": _question(prompt)})
        else:
            message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
            answer = await ctx.session.create_message(
                messages=[message], max_tokens=100, related_request_id=ctx.request_id
            )
        return _text(f"LLM response: {getattr(answer.content, 'text', '')}")


def input_tools(server: MCPServer) -> None:
    """Tools of 2026-07-28 that answer with what they need to know first."""
    name = form("What is your name?", "name", "string")

    @server.tool()
    def test_input_required_result_elicitation(ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks for a name."""
        answer = given(ctx, "user_name")
        if answer is None:
            return InputRequiredResult(input_requests={"user_name": name})
        return _text(f"Hello, {(answer.content or {}).get('name')}!")

    @server.tool()
    def test_input_required_result_sampling(ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks a model."""
        answer = given(ctx, "capital")
        if answer is None:
            return InputRequiredResult(input_requests={"capital": _question("What is the capital of France?")})
        return _text(f"It said: {answer.content.text}")

    @server.tool()
    def test_input_required_result_list_roots(ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks for folders."""
        answer = given(ctx, "client_roots")
        if answer is None:
            return InputRequiredResult(input_requests={"client_roots": ListRootsRequest(method="roots/list")})
        return _text(f"{len(answer.roots)} folders")

    def confirmed(ctx: Context) -> CallToolResult | InputRequiredResult:
        if given(ctx, "confirm") is None or ctx.request_state != "asked":
            wanted = form("Please confirm", "ok", "boolean")
            return InputRequiredResult(input_requests={"confirm": wanted}, request_state="asked")
        return _text("state-ok: confirmed")

    @server.tool()
    def test_input_required_result_request_state(ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks, and finds its state again."""
        return confirmed(ctx)

    @server.tool()
    def test_input_required_result_tampered_state(ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks, and knows its own state."""
        return confirmed(ctx)

    @server.tool()
    def test_input_required_result_multiple_inputs(ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks everything at once."""
        wanted = {
            "user_name": name,
            "greeting": _question("Generate a greeting"),
            "client_roots": ListRootsRequest(method="roots/list"),
        }
        if any(given(ctx, key) is None for key in wanted):
            return InputRequiredResult(input_requests=wanted, request_state="all")
        return _text("all three are known")

    @server.tool()
    def test_input_required_result_multi_round(ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks twice."""
        if ctx.request_state == "round-2" and given(ctx, "step2") is not None:
            return _text("both are known")
        if ctx.request_state == "round-1" and given(ctx, "step1") is not None:
            color = form("Step 2: What is your favorite color?", "color", "string")
            return InputRequiredResult(input_requests={"step2": color}, request_state="round-2")
        first = form("Step 1: What is your name?", "name", "string")
        return InputRequiredResult(input_requests={"step1": first}, request_state="round-1")

    @server.tool()
    def test_input_required_result_capabilities(ctx: Context) -> CallToolResult | InputRequiredResult:
        """Asks what the client is able to answer."""
        can = ctx.client_capabilities
        wanted: dict[str, Any] = {}
        if can is not None and can.sampling is not None:
            wanted["sample"] = _question("Anything?")
        if can is not None and can.elicitation is not None:
            wanted["form"] = name
        return InputRequiredResult(input_requests=wanted) if wanted else _text("nothing can be asked")
