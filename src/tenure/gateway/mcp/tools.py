"""Tools as values: the names agents see them by, and what their input schemas say of arguments. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenure.gateway.mcp.codec import decode_header, encode_header
from tenure.gateway.mcp.quick import Quick, quick_check
from tenure.gateway.mcp.schemas import checker, faults
from tenure.kernel.errors import Refused
from tenure.kernel.fingerprint import Fingerprint, fingerprint
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.naming import exposed_name
from tenure.kernel.snapshot import AgentFact, ToolFact

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


def granted(agent: AgentFact) -> dict[str, ToolFact]:
    """An agent's granted tools by the names it sees; those of its own process are not among them."""
    own = {server.name for server in agent.servers if server.in_process}
    prefixes = {server.name: server.prefix for server in agent.servers}
    return {
        exposed_name(tool.server, tool.name, prefixes.get(tool.server)): tool
        for tool in agent.tools
        if tool.server not in own
    }


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its upstream describes it. ``definition`` is passed on whole, except for the name."""

    name: str
    definition: JsonObject
    fingerprint: Fingerprint
    validator: Validator | None
    fault: str = ""
    header_params: tuple[tuple[tuple[str, ...], str], ...] = ()
    quick: Quick | None = None

    def reads(self, fact: ToolFact) -> bool:
        """Whether its calls are known to change nothing: by the manifest, or else by the hint of the definition, which
        counts because a person has accepted it."""
        hints = self.definition.get("annotations")
        hinted = isinstance(hints, Mapping) and hints.get("readOnlyHint") is True and fact.pin is not None
        return hinted if fact.reads is None else fact.reads

    def check(self, arguments: JsonObject) -> str:
        """Empty when ``arguments`` fit the input schema; else up to ten faults: where, what is wrong and what is right.
        Takes seconds for arguments of megabytes."""
        if self.validator is None:
            return f"the input schema that the server gave is not usable: {self.fault}"
        if self.quick is not None and self.quick(arguments):
            return ""
        return faults(self.validator, arguments)


def read_tool(definition: JsonObject) -> Tool:
    """A tool from its definition. Raises Refused when there is no name."""
    name, schema = definition.get("name"), definition.get("inputSchema")
    if not isinstance(name, str) or not name:
        raise Refused("bad_tool", "A tool without a name was offered.")
    mark = fingerprint(definition)
    if not isinstance(schema, dict):
        return Tool(name, definition, mark, None, "it is not an object")
    validator, fault = checker(schema)
    if validator is None:
        return Tool(name, definition, mark, None, fault)
    headers = tuple(_header_params((), schema))
    return Tool(name, definition, mark, validator, header_params=headers, quick=quick_check(schema))


# Parameters that 2026-07-28 repeats in headers


def _header_params(path: tuple[str, ...], schema: Json) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, header) of every property annotated with ``x-mcp-header``, which only plain nesting can reach."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for name, inner in properties.items() if isinstance(properties, dict) else ():
        if not isinstance(inner, dict):
            continue
        token = inner.get("x-mcp-header")
        if isinstance(token, str) and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", token):
            yield (*path, name), f"mcp-param-{token.lower()}"
        yield from _header_params((*path, name), inner)


def param_headers(tool: Tool, arguments: JsonObject) -> dict[str, str]:
    """The ``Mcp-Param-*`` headers that a call of ``tool`` carries, by lower-case name."""
    out: dict[str, str] = {}
    for path, header in tool.header_params:
        value: Any = arguments
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, bool):
            out[header] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            out[header] = encode_header(str(value))
    return out


def check_param_headers(tool: Tool, arguments: JsonObject, headers: Mapping[str, str]) -> None:
    """Raises Refused unless the ``Mcp-Param-*`` headers say what the arguments say."""
    expected = param_headers(tool, arguments)
    for _, header in tool.header_params:
        if decode_header(headers.get(header)) != decode_header(expected.get(header)):
            raise Refused("header_mismatch", f"The {header} header does not say what the arguments say.")
