"""What real frameworks send by their real exporters to a running control plane, over gRPC and over HTTP: one tree with
models, tokens and tool calls, whichever vocabulary they speak."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Queue
from typing import Any

import openai
import pytest
from agents import Agent as OpenAIAgent
from agents import OpenAIChatCompletionsModel, Runner, function_tool
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from openinference.instrumentation.langchain import LangChainInstrumentor
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.instrumentation.langchain import LangchainInstrumentor as OpenLLMetryInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pydantic_ai import Agent
from pydantic_ai.capabilities.instrumentation import Instrumentation
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from demo.processes import free_port, until
from tests.sim.console import Console, running
from tests.sim.model_provider import Provider

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the frameworks' own, among themselves

_CALL = {"id": "call-1", "name": "refund", "arguments": {"cents": 5}}
_USED = ({"prompt_tokens": 10, "completion_tokens": 3}, {"prompt_tokens": 20, "completion_tokens": 2})
_RULES: list[dict[str, Any]] = [
    {"after_tool": "refund", "content": "Done.", "usage": {**_USED[1], "total_tokens": 22}},
    {"content": None, "tool_calls": [_CALL], "usage": {**_USED[0], "total_tokens": 13}},
]


@dataclass
class Place:
    """A control plane and a model provider, and one agent's token."""

    console: Console
    grpc: str
    model: str
    token: str
    tracers: TracerProvider = field(default_factory=TracerProvider)
    loggers: LoggerProvider = field(default_factory=LoggerProvider)

    def exporting(self, transport: str) -> None:
        """Providers whose spans and logs go to the control plane."""
        sent = {"authorization": f"Bearer {self.token}"}
        self.tracers, self.loggers = TracerProvider(), LoggerProvider()
        if transport == "grpc":
            spans: Any = GrpcSpans(endpoint=self.grpc, insecure=True, headers=sent)
            logs: Any = GrpcLogs(endpoint=self.grpc, insecure=True, headers=sent)
        else:
            spans = HttpSpans(endpoint=f"{self.console.url}/otlp/v1/traces", headers=sent)
            logs = HttpLogs(endpoint=f"{self.console.url}/otlp/v1/logs", headers=sent)
        self.tracers.add_span_processor(BatchSpanProcessor(spans))
        self.loggers.add_log_record_processor(BatchLogRecordProcessor(logs))

    def told(self) -> list[dict[str, Any]]:
        """The spans of the newest trace, once all that was exported has been answered."""
        self.tracers.shutdown()
        self.loggers.shutdown()
        newest = self.console.client.get("/v1/traces", dict[str, Any], limit=1)["traces"][0]
        found: list[dict[str, Any]] = self.console.client.get(f"/v1/traces/{newest['trace_id']}", dict[str, Any])[
            "spans"
        ]
        assert {span["agent"] for span in found} == {"clerk"}
        return found


@contextmanager
def _provider() -> Iterator[str]:
    """The address of a scripted model provider, on a loop of its own."""
    told: Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Queue()

    async def serve() -> None:
        over = asyncio.Event()
        async with await asyncio.start_server(Provider(_RULES).serve, "127.0.0.1", 0) as server:
            told.put((asyncio.get_running_loop(), over, server.sockets[0].getsockname()[1]))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    loop, over, port = told.get(timeout=60)
    yield f"http://127.0.0.1:{port}/v1"
    loop.call_soon_threadsafe(over.set)
    thread.join(10)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, port = tmp_path_factory.mktemp("frameworks"), free_port(0)
    with _provider() as model, running(folder, otlp_port=port) as console:
        console.register("clerk", "approved")
        until(lambda: console.client.get("/v1/agents/clerk", dict)["state"] == "provisioned", "clerk to be provisioned")
        console.client.post("/v1/agents/clerk/transitions", dict, {"to": "staging", "reason": "a test asks"})
        token = console.client.post("/v1/agents/clerk/instances", dict[str, Any], {})["token"]
        yield Place(console, f"127.0.0.1:{port}", model, token)


def _refund(cents: int) -> str:
    """Pays money back."""
    return f"refunded {cents}"


class _Model(BaseChatModel):
    """A chat model as LangChain's packages write them, on the real client."""

    url: str
    model_name: str = "gpt-4o"

    @property
    def _llm_type(self) -> str:
        return "openai-chat"

    def _generate(self, messages: list[BaseMessage], *_args: Any, **_more: Any) -> ChatResult:
        with openai.OpenAI(base_url=self.url, api_key="none") as client:
            sent: Any = convert_to_openai_messages(messages)
            reply = client.chat.completions.create(model=self.model_name, messages=sent)
        said, used = reply.choices[0].message, reply.usage
        assert used is not None
        calls = [{"id": call.id, "name": "refund", "args": {"cents": 5}} for call in said.tool_calls or ()]
        count = {"input_tokens": used.prompt_tokens, "output_tokens": used.completion_tokens}
        facts: Any = {"usage_metadata": {**count, "total_tokens": used.total_tokens}, "tool_calls": calls}
        message = AIMessage(said.content or "", response_metadata={"model_name": reply.model}, **facts)
        told = {"model_name": self.model_name, "token_usage": used.model_dump()}
        return ChatResult(generations=[ChatGeneration(message=message)], llm_output=told)


def _graph(url: str) -> Callable[[], Any]:
    model = _Model(url=url)
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([tool("refund")(_refund)]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return lambda: graph.compile().invoke({"messages": [HumanMessage("Refund it.")]})


def _steps(spans: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [span["attributes"] for span in spans if span["attributes"].get("otlp.step") in kinds]


def _holds(spans: list[dict[str, Any]]) -> None:
    """One tree; a model that asked for a tool, the tool, the model again: with tokens, arguments, result and words."""
    assert [span["name"] for span in spans if span["depth"] == 0] == [spans[0]["name"]], "one root"
    run = [
        step
        for step in _steps(spans, "llm", "tool")
        if "gen_ai.usage.input_tokens" in step or step["otlp.step"] == "tool"
    ]
    assert [step["otlp.step"] for step in run] == ["llm", "tool", "llm"]
    first, called, last = run
    assert (first["gen_ai.request.model"], last["gen_ai.request.model"]) == ("gpt-4o", "gpt-4o")
    used = [(s["gen_ai.usage.input_tokens"], s["gen_ai.usage.output_tokens"]) for s in (first, last)]
    assert used == [(10, 3), (20, 2)]
    assert called["gen_ai.tool.name"] == "refund"
    assert called["gen_ai.tool.call.arguments"] == {"cents": 5}
    assert called["gen_ai.tool.call.result"] == "refunded 5"
    parts = first["gen_ai.output.messages"][0]["parts"]
    assert [(p["name"], p["arguments"]) for p in parts if p["type"] == "tool_call"] == [("refund", {"cents": 5})]
    assert first["gen_ai.input.messages"][-1]["parts"][0]["content"] == "Refund it."
    assert last["gen_ai.output.messages"][-1]["parts"][0]["content"] == "Done."


@pytest.mark.req("R080", "R081", "R086")
@pytest.mark.parametrize(
    ("instrumentor", "transport"),
    [(LangChainInstrumentor, "http"), (OpenLLMetryInstrumentor, "grpc")],  # each keeps its first tracer for good
)
def test_langgraph(place: Place, instrumentor: Any, transport: str) -> None:
    place.exporting(transport)
    run = _graph(place.model)
    instrumentor().instrument(tracer_provider=place.tracers)
    try:
        run()
    finally:
        instrumentor().uninstrument()
    _holds(place.told())


@pytest.mark.req("R080", "R081", "R086")
@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_openai_agents(place: Place, transport: str) -> None:
    place.exporting(transport)

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=place.model, api_key="none") as client:
            model = OpenAIChatCompletionsModel(model="gpt-4o", openai_client=client)
            agent = OpenAIAgent(name="clerk", model=model, tools=[function_tool(_refund, name_override="refund")])
            await Runner.run(agent, "Refund it.")

    OpenAIAgentsInstrumentor().instrument(tracer_provider=place.tracers)
    try:
        asyncio.run(run())
    finally:
        OpenAIAgentsInstrumentor().uninstrument()
    _holds(place.told())


@pytest.mark.req("R080", "R081", "R086")
@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_pydantic_ai(place: Place, transport: str) -> None:
    place.exporting(transport)

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=place.model, api_key="none") as client:
            model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=client))
            settings = InstrumentationSettings(tracer_provider=place.tracers)
            agent = Agent(model, capabilities=[Instrumentation(settings=settings)])
            agent.tool_plain(name="refund")(_refund)
            await agent.run("Refund it.")

    asyncio.run(run())
    _holds(place.told())
