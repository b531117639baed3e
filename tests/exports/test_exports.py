"""Traces on their way to tools of others: what goes along, what does not, and nothing lost in between."""

from __future__ import annotations

import base64
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tenure.base.room import World
from tenure.exports import service, store
from tenure.exports.model import Destination, Kind, checked, headers_of, pause, resource_of
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor
from tenure.secrets import service as secrets
from tenure.secrets.room import ROOM as SECRETS
from tenure.telemetry import service as telemetry
from tests.sim.clock import FakeClock
from tests.sim.telemetry import GATEWAY, chat, opened, tool_call

SAID = [{"role": "user", "parts": [{"type": "text", "content": "Refund it to DE89370400440532013000"}]}]
KEY = "default/there"


@dataclass
class Receiver:
    """An OTLP/HTTP receiver that answers as it is told."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def spans(self, at: int = -1) -> list[Span]:
        """The spans of a request."""
        return [
            span for group in self.requests[at].resource_spans for scope in group.scope_spans for span in scope.spans
        ]

    def said(self, name: str, at: int = -1) -> dict[str, Any]:
        """The attributes of the span of that name, as text or number."""
        span = next(span for span in self.spans(at) if span.name == name)
        return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


@contextmanager
def _receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
            receiver.requests.append(ExportTraceServiceRequest.FromString(body))
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
            status, more = receiver.answers.pop(0) if receiver.answers else (200, {})
            self.send_response(status)
            for name, value in {**more, "content-length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield receiver
        server.shutdown()
        thread.join(10)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with _receiving() as found:
        yield found


@pytest.fixture
def here(world: World) -> Iterator[World]:
    world = replace(world, config=replace(world.config, export_private="127.0.0.1"))
    assert SECRETS.start is not None
    SECRETS.start(world)
    with opened(world):
        yield world


def _put(world: World, actor: Actor, url: str, **more: Any) -> Destination:
    return service.put(world, actor, Destination("", "there", **{"kind": Kind.PHOENIX, "url": url, **more}))


def _happens(world: World) -> None:
    now = world.clock()
    call = tool_call(now, data={"gen_ai.tool.call.arguments": {"cents": 5}})
    told = [chat(now, data={"gen_ai.input.messages": SAID, "gen_ai.provider.name": "openai"}), call]
    before = replace(world, config=replace(world.config, redact=""))  # it was kept when less was taken out
    telemetry.ingest(before, GATEWAY, told)


@pytest.mark.req("R086", "R094")
def test_what_happened_goes_along_and_what_was_said_only_when_it_is_wanted(
    here: World, operator: Actor, receiver: Receiver
) -> None:
    secrets.put(here, operator, "phoenix-key", "k-1", hosts=[receiver.url.removeprefix("http://")])
    _put(here, operator, receiver.url, secret="phoenix-key", project="clerks")
    _happens(here)
    assert service.send(here, KEY)
    sent = receiver.headers[0]
    assert (sent["path"], sent["authorization"]) == ("/v1/traces", "Bearer k-1")
    facts = {pair.key: pair.value.string_value for pair in receiver.requests[0].resource_spans[0].resource.attributes}
    assert facts["openinference.project.name"] == "clerks"
    asked = receiver.said("chat gpt-4o")
    assert (asked["openinference.span.kind"], asked["llm.model_name"], asked["gen_ai.request.model"]) == (
        "LLM",
        "gpt-4o",
        "gpt-4o",
    )
    assert (asked["llm.token_count.prompt"], asked["gen_ai.usage.input_tokens"], asked["session.id"]) == (
        100,
        100,
        "s1",
    )
    assert receiver.said("execute_tool files/read")["openinference.span.kind"] == "TOOL"
    assert receiver.said("decide allow")["openinference.span.kind"] == "GUARDRAIL"
    assert b"Refund it" not in receiver.requests[0].SerializeToString()
    assert b"cents" not in receiver.requests[0].SerializeToString()

    _put(here, operator, receiver.url, content=True)
    _happens(here)
    assert service.send(here, KEY)
    asked = receiver.said("chat gpt-4o")
    assert asked["llm.input_messages.0.message.content"].startswith("Refund it")
    assert "DE8937" not in str(receiver.requests[-1]), "redacted as the settings are now"
    assert receiver.said("execute_tool files/read")["input.value"] == '{"cents": 5}'
    standing = service.find(here, operator)[0]
    assert (standing.destination.problem, standing.waiting) == ("", 0)


@pytest.mark.req("R086")
def test_a_receiver_that_is_behind_is_asked_again_and_nothing_is_lost_or_doubled(
    here: World, operator: Actor, clock: FakeClock, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(here, operator, receiver.url)
    _happens(here)
    receiver.answers = [(503, {"retry-after": "30"}), (401, {}), (200, {})]
    assert not service.send(here, KEY)
    with here.read() as conn:
        assert service.due(conn, clock()) == []
    found = service.find(here, operator)[0]
    assert (found.destination.problem, found.destination.sent) == ("it answers 503", 0)
    assert found.waiting > 0
    clock.advance(31)
    with here.read() as conn:
        assert service.due(conn, clock()) == [KEY]
    assert not service.send(here, KEY), "a wrong key can be mended: it waits"
    with monkeypatch.context() as killed:
        killed.setattr(store, "change", lambda *_a, **_k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            service.send(here, KEY)  # the receiver has them, and that is not noted
    assert service.send(here, KEY)
    ids = [sorted(span.span_id for span in receiver.spans(at)) for at in range(4)]
    assert ids[0] == ids[1] == ids[2] == ids[3], "sent again under the same ids"
    assert service.find(here, operator)[0].destination.sent == len(ids[0])
    with here.read() as conn:
        assert service.due(conn, clock()) == []


def test_what_is_never_taken_holds_up_nothing_that_comes_after(
    here: World, operator: Actor, receiver: Receiver
) -> None:
    _put(here, operator, receiver.url)
    _happens(here)
    receiver.answers = [(400, {})]
    assert service.send(here, KEY)
    _happens(here)
    assert service.send(here, KEY)
    found = service.find(here, operator)[0].destination
    assert (found.dropped, found.sent) == (len(receiver.spans(0)), len(receiver.spans(1)))


def test_a_host_of_ones_own_network_must_be_named(here: World, operator: Actor, receiver: Receiver) -> None:
    strict = replace(here, config=replace(here.config, export_private=""))
    _put(strict, operator, receiver.url)
    _happens(strict)
    assert not service.send(strict, KEY)
    assert "TENURE_EXPORT_PRIVATE" in service.find(strict, operator)[0].destination.problem
    assert receiver.requests == []


def test_each_tool_gets_its_key_and_its_project_where_it_looks_for_them() -> None:
    def of(kind: Kind, project: str, key: str) -> tuple[str, dict[str, str], dict[str, str]]:
        one = checked(Destination("default", "there", kind, "", project=project))
        return one.url, headers_of(one, key), resource_of(one)

    url, headers, _ = of(Kind.LANGSMITH, "clerks", "ls-key")
    assert url == "https://api.smith.langchain.com/otel/v1/traces"
    assert (headers["x-api-key"], headers["langsmith-project"]) == ("ls-key", "clerks")
    url, headers, _ = of(Kind.LANGFUSE, "", "pk-lf-1:sk-lf-2")
    assert url == "https://cloud.langfuse.com/api/public/otel/v1/traces"
    assert headers["authorization"] == "Basic " + base64.b64encode(b"pk-lf-1:sk-lf-2").decode()
    assert headers["x-langfuse-ingestion-version"] == "4"
    url, headers, project = of(Kind.WEAVE, "acme/clerks", "wb-key")
    assert (url, headers["wandb-api-key"]) == ("https://trace.wandb.ai/otel/v1/traces", "wb-key")
    assert project == {"wandb.entity": "acme", "wandb.project": "clerks"}


@pytest.mark.parametrize(
    "url", ["", "ftp://a.example", "https://user:key@a.example", "https://a.example/?key=1", "http://[x"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        checked(Destination("default", "there", Kind.OTLP, url))


def test_pauses_grow_to_ten_minutes_and_heed_the_peer() -> None:
    assert [pause(tries, 0).total_seconds() for tries in (0, 1, 5, 50)] == [2, 4, 64, 600]
    assert pause(0, 45).total_seconds() == 45
    assert pause(0, 1e9).total_seconds() == 600
