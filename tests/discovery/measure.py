"""Meets the planted fleet as an installation would: requests through what the gateway notes of them, spans through the
OTLP reader, files on a disk, a container engine on a socket, cards over HTTP; and counts what was found."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any, cast

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tenure.base.room import World
from tenure.discovery import cli, configs, machine, service, source, store
from tenure.discovery.model import Evidence, Sighting
from tenure.evaluation.model import wilson_of_means
from tenure.gateway.clients import Introductions
from tenure.gateway.credentials import Credentials
from tenure.gateway.http import Request
from tenure.gateway.spool import Spool
from tenure.gateway.turned_away import TurnedAway
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import Snapshot
from tenure.kernel.values import Actor, Event, Principal
from tenure.registry import service as registry
from tenure.telemetry import service as telemetry
from tenure.telemetry.otlp import spans as otlp
from tests.discovery.fleet import FLEET, Planted, write
from tests.sim.manifests import manifest
from tests.sim.telemetry import GATEWAY, opened, tool_call

HOST = "desk-7"
_CODES = {"EXPIRED": "token_expired", "WRONG_AUDIENCE": "token_wrong_audience"}
_ONE_SPAN = {"traceId": "5b8aa5a2d2c872e8321cf37308d69df2", "name": "chat", "kind": 3}


class Kept(list[Event]):
    """In the place of a spool: keeps what is noted."""

    @property
    def spool(self) -> Spool:
        return cast("Spool", self)


def principal(agent: str) -> Principal:
    """A registered agent at work."""
    return Principal("default", agent, "sha256:r1", "i1", "s1", 0)


def refused(request: Request) -> str:
    """Why a gateway turns a stranger away."""
    try:
        Credentials(0.0).believe(request, None, Snapshot(1, datetime.fromtimestamp(0, UTC)), "llm", 0.0)
    except Refused as error:
        return error.code
    raise AssertionError("a stranger was let in")


def knock(away: TurnedAway, address: str, what: dict[str, Any]) -> None:
    """Requests of a stranger, as often as it asks."""
    headers = {"user-agent": what.get("user_agent", "")}
    key = what.get("key", "")
    headers |= {"authorization": f"Bearer {key}"} if key else {}
    body = what.get("body", b"")
    request = Request(what.get("method", "POST"), what["path"], headers=headers, body=body, peer=address)
    for _ in range(what.get("times", 1)):
        away.note(request, 401, _CODES.get(key) or refused(request), "not let in")


def initialize(client: str) -> bytes:
    """How an MCP client begins."""
    info = {"name": client, "version": "1.0"}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"clientInfo": info}}).encode()


def spans(number: int, now: datetime, what: dict[str, Any]) -> Sequence[Event]:
    """A span that agent clerk's exporter sends."""
    start = int(now.timestamp() * 1e9)
    attributes = [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}] if what["gen_ai"] else []
    attributes += [{"key": "gen_ai.agent.name", "value": {"stringValue": what["of"]}}] if what["of"] else []
    span = _ONE_SPAN | {"spanId": f"{number + 1:016x}", "startTimeUnixNano": start, "endTimeUnixNano": start + 9}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": what["service"]}}]}
    group = {"resource": resource, "scopeSpans": [{"spans": [{**span, "attributes": attributes}]}]}
    read: ExportTraceServiceRequest = otlp.parse(json.dumps({"resourceSpans": [group]}).encode(), is_json=True)
    return otlp.receive(read, principal("clerk")).events


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class has it so)
        """Nothing."""

    def answer(self, status: int, body: bytes) -> None:
        """One answer."""
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def cards(planted: Sequence[Planted]) -> Iterator[str]:
    """Serves each card under an address of its own."""
    by_name = {one.name: one.what for one in planted}

    class Handler(_Quiet):
        def do_GET(self) -> None:
            name, _, path = self.path.strip("/").partition("/")
            what = by_name[name]
            old = path.endswith("agent.json")
            found = what["card"] if bool(what.get("old")) is old or isinstance(what["card"], str) else None
            body = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            self.answer(404 if found is None else 200, body)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def engine(folder: Path, planted: Sequence[Planted]) -> Iterator[str]:
    """A container engine's API on a socket."""
    whole = {}
    for number, one in enumerate(planted):
        env = [f"{name}=secret-value" for name in one.what["variables"]]
        config = {"Image": one.what["image"], "Cmd": one.what["command"], "Env": env}
        whole[f"{number:012x}ffff"] = {"Id": f"{number:012x}ffff", "Name": f"/{one.name}-1", "Config": config}

    class Handler(_Quiet):
        def address_string(self) -> str:
            return "socket"

        def do_GET(self) -> None:
            ident = self.path.split("/")[2]
            found: Any = whole.get(ident, [{"Id": one} for one in whole])
            self.answer(200, json.dumps(found).encode())

    path = str(folder / "engine.sock")
    with UnixStreamServer(path, Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield path
        server.shutdown()


def on_the_wire(world: World) -> None:
    """What happens at gateways and in telemetry, kept; and the look at it."""
    kept, now = Kept(), world.clock()
    away, met = TurnedAway(kept.spool, now.timestamp), Introductions(kept.spool)
    told: list[Event] = []
    for number, one in enumerate(FLEET):
        what: dict[str, Any] = dict(one.what)
        if one.channel == "gateway":
            knock(away, f"10.0.0.{number}", what)
        elif one.channel == "mcp" and what["stranger"]:
            agent = {"path": "/mcp", "user_agent": what["user_agent"], "body": initialize(what["client"])}
            knock(away, f"10.0.0.{number}", agent)
        elif one.channel == "mcp":
            met.meet({"name": what["client"], "version": "1.0"}, principal("clerk"), None, "python-httpx/0.28")
        elif one.channel == "otlp":
            told += spans(number, now, what)
        elif one.channel == "a2a":
            call = {"tenure.kind": "agent", "tenure.resource": what["peer"]}
            told.append(tool_call(now, what["peer"], type="call.refused", data=call))
    telemetry.keep_spans(world, [event for event in told if event.type == "otlp.span"])
    telemetry.ingest(world, GATEWAY, [*kept, *(event for event in told if event.type != "otlp.span")])
    while telemetry.pump(world):
        pass
    while service.look(world):
        pass


def on_machines(folder: Path, at: datetime) -> Iterator[Sighting | None]:
    """What the commands see on a person's machine."""
    for one in FLEET:
        place = folder / one.name
        place.mkdir(parents=True, exist_ok=True)
        if one.channel == "process":
            command = one.what["command"].split()
            if one.what["script"]:
                write(place, {command[-1]: one.what["script"]})
            running = machine.Running(command[0], tuple(command), frozenset(one.what["variables"]), str(place), "pid 7")
            yield machine.sighting(running, HOST, at)
        elif one.channel == "config":
            content = one.what["content"]
            write(place, {one.what["path"]: content if isinstance(content, str) else json.dumps(content)})
            yield from configs.look([place], HOST, one.name, at, ["http://127.0.0.1:7701/mcp"])
        elif one.channel == "source":
            write(place, one.what["files"])
            yield from source.look(place, HOST, at)


@dataclass
class Measured:
    """Which of the fleet were found."""

    found: set[str] = field(default_factory=set)
    findings: int = 0

    def figures(self) -> JsonObject:
        """Precision and recall with 95 % intervals and n, by channel and in all; and what was missed or wrong."""
        by: dict[str, Any] = {}
        for channel in ("all", *dict.fromkeys(one.channel for one in FLEET)):
            here = [one for one in FLEET if channel in ("all", one.channel)]
            hit = [one.agent for one in here if one.name in self.found]
            there = [one.name in self.found for one in here if one.agent]
            by[channel] = {"recall": _rate(there), "precision": _rate(hit)}
        missed = sorted(one.name for one in FLEET if one.agent and one.name not in self.found)
        wrong = sorted(one.name for one in FLEET if not one.agent and one.name in self.found)
        return {"channels": by, "missed": missed, "wrong": wrong, "findings": self.findings}


def _rate(hits: Sequence[bool]) -> JsonObject | None:
    if not hits:
        return None
    low, high = wilson_of_means([float(hit) for hit in hits])
    return {"rate": sum(hits) / len(hits), "n": len(hits), "interval": [round(low, 3), round(high, 3)]}


def _is_of(one: Planted, number: int, evidence: Evidence) -> bool:
    """Whether this is evidence of that one of the fleet."""
    what, said = one.what, f"{evidence.where} {evidence.what}"
    if one.channel == "gateway" or what.get("stranger"):
        return evidence.where == f"10.0.0.{number}"
    if one.channel in ("process", "config", "source"):
        place, told = f"/{one.name}", said.split(" ", 1)[0]
        return str(evidence.channel) == one.channel and (told.endswith(place) or f"{place}/" in told)
    if one.channel == "otlp":
        told = f"service.name {what['service']}" + (f", gen_ai.agent.name {what['of']}" if what["of"] else "")
        return evidence.what == f"spans with {told}"
    marks = {
        "mcp": f"MCP client {what.get('client')} 1.0",
        "a2a": f"tried to call {what.get('peer')} over A2A",
        "card": f"/{one.name}/",
        "container": f"container {one.name}-1 ",
    }
    return marks[one.channel] in said


def measure(world: World, operator: Actor, folder: Path) -> Measured:
    """Plants the fleet in an installation with agents of its own, and looks."""
    for name in ("clerk", "auditor"):
        registry.apply(world, operator, manifest(name, "http://127.0.0.1:9/v1", framework="openai-agents"))
    with opened(world):
        on_the_wire(world)
        at = world.clock()
        seen = list(on_machines(folder, at))
        planted = [one for one in FLEET if one.channel == "card"]
        with cards(planted) as address:
            seen += [cli._card(f"{address}/{one.name}", at) for one in planted]
        with engine(folder, [one for one in FLEET if one.channel == "container"]) as path:
            seen += map(partial(machine.container_sighting, host=HOST, at=at), machine.containers(path))
        service.report(world, operator, [one for one in seen if one is not None])
    found = Measured()
    with world.read() as conn:
        for finding in store.find(conn, operator.workspace):
            found.findings += 1
            for evidence in store.evidence(conn, finding.id):
                found.found |= {one.name for number, one in enumerate(FLEET) if _is_of(one, number, evidence)}
    return found
