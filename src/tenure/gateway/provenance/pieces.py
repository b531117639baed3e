"""What was said and what came back, as pieces of which each has one source and is trusted or not. Pure.

One reading for all wires: the codecs of the model APIs give messages of the OpenTelemetry conventions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tenure.gateway.mcp.tools import granted
from tenure.gateway.provenance.overlap import json_in, plain_key
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.snapshot import AgentFact, ServerFact, ToolFact

TRUSTED = "trusted"
_UNREAD = frozenset(
    {"image", "image_url", "input_image", "audio", "input_audio", "video", "input_video", "blob", "file", "input_file"}
    | {"uri", "base64", "url", "unparsed", "container_upload"}
)
"""Types of parts whose content is not read here: pictures, sounds, files, what lies elsewhere."""
_BULK = frozenset({"data", "content", "blob", "url", "encrypted_content"})
_UNREAD_KEYS = frozenset({"blob", "encrypted_content", "encrypted_index", "file_id", "inlineData", "fileData"})
_OWN = frozenset({"reasoning", "refusal", "tool_call", "redacted_thinking", "reasoning_content"})
"""Parts that are the model's own words; they say nothing that it did not make of what it had met."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of content. ``source``: one of ``kernel.values.SOURCES``; ``label``: what it came from, for people.
    ``unread``: there is more in it than can be read here."""

    source: str
    trusted: bool
    label: str
    text: str = ""
    unread: bool = False


@dataclass(frozen=True, slots=True)
class Declared:
    """What a manifest says of what a tool or peer returns."""

    source: str
    trusted: bool
    label: str


_SYSTEM = Declared("system", True, "the system prompt")
_UNKNOWN_TOOL = Declared("tool", False, "a tool that is not granted here")


class Sources:
    """The sources of one agent, as its manifest declares them. What it does not declare is not trusted."""

    def __init__(self, agent: AgentFact) -> None:
        self.agent = agent
        servers = {server.name: server for server in agent.servers}
        self._resources = {f"{tool.server}/{tool.name}": _declared(tool, servers) for tool in agent.tools}
        self._servers = {name: _declared(ToolFact(name, "*"), servers) for name in servers}
        self._names = {name: self._resources[f"{tool.server}/{tool.name}"] for name, tool in granted(agent).items()}
        bare: dict[str, list[Declared]] = {}
        for tool in agent.tools:
            bare.setdefault(tool.name, []).append(self._resources[f"{tool.server}/{tool.name}"])
        for name, found in bare.items():
            if len(found) == 1:
                self._names.setdefault(name, found[0])
        self._peers = {
            peer.name: Declared("agent", peer.trust == TRUSTED, f"agent {peer.name}") for peer in agent.agents
        }

    def of_resource(self, resource: str) -> Declared:
        """Of what a tool, a resource or a prompt of a server returns, by ``server/name``."""
        known = self._resources.get(resource) or self._servers.get(resource.partition("/")[0])
        return known or _UNKNOWN_TOOL

    def of_name(self, name: Json) -> Declared:
        """Of a tool that a model called, by the name that it sees; one that is not the agent's is of a provider, or of
        the agent's own program."""
        if not isinstance(name, str):
            return _UNKNOWN_TOOL
        known = self._names.get(name) or self._resources.get(name)
        if known is not None:
            return known
        return Declared("web" if name.startswith("web_") else "tool", False, f"tool {name[:100]}")

    def of_peer(self, name: str) -> Declared:
        """Of what another agent answers."""
        return self._peers.get(name) or Declared("agent", False, f"agent {name}")


def _declared(tool: ToolFact, servers: Mapping[str, ServerFact]) -> Declared:
    server = servers.get(tool.server)
    trust = tool.trust or (server.trust if server is not None else "")
    source = tool.source or (server.source if server is not None else "") or "tool"
    return Declared(source, trust == TRUSTED, f"{tool.server}/{tool.name}")


def of_value(value: Json, declared: Declared) -> Piece:
    """What a tool or another agent returned, as one piece."""
    text, unread = _read(value)
    return Piece(declared.source, declared.trusted, declared.label, text, unread)


def of_request(asked: JsonObject, sources: Sources, handed: bool) -> Iterator[Piece]:
    """The pieces of a request to a model, in their order. ``asked``: its messages by the conventions. ``handed``: the
    agent works for another one, which then speaks where a person would: it is not trusted."""
    user = (
        Declared("agent", False, "the agent that gave the task") if handed else Declared("person", True, "the person")
    )
    speakers = {"user": user, "system": _SYSTEM, "developer": _SYSTEM}
    called: dict[str, Json] = {}
    for part in _rows(asked.get("gen_ai.system_instructions")):
        yield _said(part, "system", _SYSTEM)
    for message in _rows(asked.get("gen_ai.input.messages")):
        role = str(message.get("role"))
        for part in _rows(message.get("parts")):
            kind = str(part.get("type"))
            if kind == "tool_call":
                called[str(part.get("id"))] = part.get("name")
            elif kind == "tool_call_response":
                declared = sources.of_name(part.get("name") or called.get(str(part.get("id"))))
                yield of_value(part.get("response"), declared)
            elif kind not in _OWN and not (kind == "text" and role == "assistant"):
                yield _said(part, role, speakers.get(role))


def _said(part: JsonObject, role: str, speaker: Declared | None) -> Piece:
    """What somebody says, or what is put beside it: a document, a picture, what a provider's own tool found."""
    kind = str(part.get("type"))
    if kind == "text" and speaker is not None:
        return Piece(speaker.source, speaker.trusted, speaker.label, str(part.get("content") or ""))
    source = "web" if kind.startswith("web") else "tool" if role == "assistant" else "document"
    return Piece(source, False, f"a part of the conversation ({kind[:50]})", _read(part)[0], unread=True)


def _rows(value: Json) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list | tuple) else []


def _read(value: Json) -> tuple[str, bool]:
    """All text in a value, JSON in a text undone, and whether there is more in it than text. Names of fields that a
    program would not have chosen are text."""
    unread = False
    out: list[str] = []
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if str(item.get("type")) in _UNREAD or not _UNREAD_KEYS.isdisjoint(item):
                unread = True
                item = {key: part for key, part in item.items() if key not in _BULK}
            out.extend(key for key in item if not plain_key(key))
            stack.extend(reversed(item.values()))
        elif isinstance(item, list | tuple):
            stack.extend(reversed(item))
        elif isinstance(item, str):
            inner = json_in(item)
            if inner is None:
                out.append(item)
            else:
                stack.append(inner)
        elif isinstance(item, int | float) and not isinstance(item, bool):
            out.append(str(item))
    return "\n".join(out), unread
