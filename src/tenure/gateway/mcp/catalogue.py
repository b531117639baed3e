"""What an upstream server lists as its tools. Of thousands only those that are asked for are read: reading one, with
its schema and its fingerprint, takes a millisecond."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from tenure.gateway.mcp.tools import Tool, read_tool
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject


class Catalogue:
    """Tools by name. ``before`` is the list that this one replaces: what has not changed is not read again. Raises
    Refused when a tool has no name."""

    def __init__(self, definitions: Iterable[JsonObject] = (), before: Catalogue | None = None) -> None:
        self._definitions: dict[str, JsonObject] = {}
        for definition in definitions:
            name = definition.get("name")
            if not isinstance(name, str) or not name:
                raise Refused("bad_tool", "A tool without a name was offered.")
            self._definitions[name] = definition
        known: dict[str, Tool] = before._read if before is not None else {}
        # compared as text: to Python 1, 1.0 and true are equal
        self._read: dict[str, Tool] = {
            name: tool for name, tool in known.items() if _same(self._definitions.get(name), tool.definition)
        }

    def __len__(self) -> int:
        return len(self._definitions)

    def __iter__(self) -> Iterator[str]:
        return iter(self._definitions)

    def __contains__(self, name: object) -> bool:
        return name in self._definitions

    def get(self, name: str) -> Tool | None:
        """One tool, None when it is not listed."""
        tool = self._read.get(name)
        if tool is None and name in self._definitions:
            tool = self._read[name] = read_tool(self._definitions[name])
        return tool


def _same(one: JsonObject | None, other: JsonObject) -> bool:
    return one is not None and msgspec.json.encode(one) == msgspec.json.encode(other)
