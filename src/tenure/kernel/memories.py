"""Memory operations: what an agent reads of what is kept for later, or writes into it, told apart from other calls.
Pure.

They are heard of in two ways. Spans with an operation of the GenAI conventions (``search_memory``, ``upsert_memory``;
the commit is in docs/conventions.md). And calls of tools that are known, or named, to keep a memory: those of the
reference MCP server ``memory``, of mem0, Graphiti and Letta, Anthropic's ``memory`` tool, and whatever says "memory"
and what it does. What a tool's name says is a guess about the tool, and is told as one (``told_by``); nothing is
decided on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tenure.kernel.json import Json, JsonObject

READ, WRITE, UPDATE, DELETE = "read", "write", "update", "delete"
OPERATIONS: Mapping[str, str] = {
    "search_memory": READ,
    "create_memory": WRITE,
    "upsert_memory": WRITE,
    "update_memory": UPDATE,
    "delete_memory": DELETE,
    "create_memory_store": "create store",
    "delete_memory_store": "delete store",
}
"""The operations of the conventions, and what each does."""
_MOST = 20  # keys that are told
_DEEP = 3
_TOOLS: Mapping[str, str] = {
    # github.com/modelcontextprotocol/servers, src/memory
    **dict.fromkeys(("read_graph", "search_nodes", "open_nodes"), READ),
    **dict.fromkeys(("create_entities", "create_relations", "add_observations"), WRITE),
    **dict.fromkeys(("delete_entities", "delete_relations", "delete_observations"), DELETE),
    # Letta
    **dict.fromkeys(("archival_memory_search", "conversation_search"), READ),
    **dict.fromkeys(("archival_memory_insert", "core_memory_append"), WRITE),
    **dict.fromkeys(("core_memory_replace", "memory_rethink"), UPDATE),
    # Graphiti
    **dict.fromkeys(("search_memory_facts", "search_memory_nodes"), READ),
}
_COMMANDS: Mapping[str, str] = {
    "view": READ,
    "create": WRITE,
    "insert": UPDATE,
    "str_replace": UPDATE,
    "rename": UPDATE,
    "update": UPDATE,
    "delete": DELETE,
}
"""What ``command`` says in Anthropic's memory tool, and ``action`` in LangMem's."""
_VERBS: Mapping[str, str] = {
    **dict.fromkeys(
        ("search", "find", "query", "recall", "retrieve", "get", "read", "list", "view", "open", "load"), READ
    ),
    **dict.fromkeys(
        ("add", "create", "save", "store", "write", "insert", "append", "remember", "upsert", "put"), WRITE
    ),
    **dict.fromkeys(("update", "replace", "edit", "rename"), UPDATE),
    **dict.fromkeys(("delete", "remove", "clear", "forget"), DELETE),
}
_MEMORY = frozenset({"memory", "memories"})
_KEEPERS = _MEMORY | {"mem0", "openmemory", "graphiti", "letta", "zep"}
_MACHINES = frozenset({"usage", "stats", "limit", "leak", "leaks", "profile", "info", "ram", "heap", "mb", "gb"})
_STORE = ("store_id", "store", "namespace", "collection", "group_id", "group_ids", "bank", "bank_id", "scope")
_WHOSE = ("user_id", "userId", "user", "run_id", "session_id", "agent_id")
_KEYS = (
    "key",
    "keys",
    "memory_id",
    "memoryId",
    "record_id",
    "id",
    "ids",
    "names",
    "name",
    "entityNames",
    "path",
    "label",
)
_INSIDE = ("entities", "observations", "deletions", "relations", "memories")
_FOUND = ("results", "memories", "entities", "nodes", "facts", "records", "items")
_QUERY = ("query", "q", "search_query", "text_query")
_TOKENS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


@dataclass(frozen=True, slots=True)
class Memory:
    """What one call did with a memory.

    ``did``: read, write, update, delete, create store or delete store. ``store``: the store or namespace, ``keys`` the
    records by name, ``query`` what was searched for, ``count`` of the records that were read or written (None: not
    told), ``size`` in bytes of what was (as JSON). ``whose``: for whom it is kept, as the call says. ``told_by``:
    ``conventions`` or ``name``, of the tool.
    """

    did: str
    store: str = ""
    keys: tuple[str, ...] = ()
    query: str = ""
    count: int | None = None
    size: int | None = None
    whose: str = ""
    told_by: str = "conventions"


def memory_of(data: JsonObject) -> Memory | None:
    """What a call did with a memory, by its attributes; None for one that is no memory operation. Where what was said
    is withheld or not kept only what it did is told."""
    operation = str(data.get("gen_ai.operation.name") or "")
    if operation in OPERATIONS:
        return _by_conventions(OPERATIONS[operation], data)
    if operation != "execute_tool" and data.get("otlp.step") != "tool":
        return None
    tool = str(data.get("tenure.resource") or data.get("gen_ai.tool.name") or "")
    if _verb(tool) is None:
        return None
    given = _loaded(data.get("gen_ai.tool.call.arguments"))
    return by_tool(tool, given, _loaded(data.get("gen_ai.tool.call.result")))


def _by_conventions(did: str, data: JsonObject) -> Memory:
    records = _loaded(data.get("gen_ai.memory.records"))
    found = [one for one in records if isinstance(one, Mapping)] if isinstance(records, list | tuple) else []
    count = data.get("gen_ai.memory.record.count")
    named = data.get("gen_ai.memory.record.id")
    keys = [str(named)] if named else [str(one["id"]) for one in found if one.get("id")]
    return Memory(
        did=did,
        store=str(data.get("gen_ai.memory.store.id") or ""),
        keys=tuple(dict.fromkeys(keys))[:_MOST],
        query=str(data.get("gen_ai.memory.query.text") or ""),
        count=count if isinstance(count, int) and not isinstance(count, bool) else len(found) if found else None,
        size=_size(records),
        whose=str(data.get("user.id") or ""),
    )


def by_tool(tool: str, given: Json, result: Json = None) -> Memory | None:
    """What a call of a tool (``server/name``, or its bare name) did with a memory; None for a tool that keeps none."""
    did = _verb(tool)
    if did is None:
        return None
    told = given if isinstance(given, Mapping) else {}
    word = told.get("command") or told.get("action")
    if not did:
        did = _COMMANDS.get(word if isinstance(word, str) else "", "")
        if not did:
            return None
    answer = _answer(result)
    subject = answer if did == READ else told or None
    return Memory(
        did=did,
        store=_text(told, _STORE),
        keys=tuple(dict.fromkeys(_keys(told)))[:_MOST],
        query=_text(told, _QUERY),
        count=_count(answer, _FOUND) if did == READ else _count(told, _INSIDE),
        size=_size(subject),
        whose=_text(told, _WHOSE),
        told_by="name",
    )


@lru_cache(4096)
def _verb(tool: str) -> str | None:
    """What a tool does with a memory by its name: None for nothing, empty for what its arguments say."""
    server, _, name = tool.rpartition("/")
    if name in _TOOLS:
        return _TOOLS[name]
    words = [word.lower() for word in _TOKENS.findall(name)]
    about = _MEMORY.intersection(words) or _KEEPERS.intersection(word.lower() for word in _TOKENS.findall(server))
    if not about or _MACHINES.intersection(words):
        return None
    if words in (["memory"], ["manage", "memory"]):
        return ""
    return next((_VERBS[word] for word in words if word in _VERBS), None)


def _loaded(value: Json) -> Json:
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _answer(result: Json) -> Json:
    """What a tool answered: out of MCP's blocks of text the text, read as JSON where it is some."""
    if not isinstance(result, Mapping):
        return result
    if result.get("structuredContent") is not None:
        return result["structuredContent"]
    content = result.get("content")
    if not isinstance(content, list | tuple):
        return result
    texts = [one.get("text") for one in content if isinstance(one, Mapping) and isinstance(one.get("text"), str)]
    return _loaded("\n".join(map(str, texts))) if texts else result


def _text(given: JsonObject, names: Iterable[str]) -> str:
    for name in names:
        value = given.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
        if isinstance(value, list | tuple) and value and all(isinstance(one, str) for one in value):
            return "/".join(value)
    return ""


def _keys(given: JsonObject, deep: int = _DEEP) -> Iterator[str]:
    for name in _KEYS:
        value = given.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            yield str(value)
        elif isinstance(value, list | tuple):
            yield from (str(one) for one in value if isinstance(one, str | int))
    if given.get("from") and given.get("to") and given.get("relationType"):
        yield f"{given['from']} {given['relationType']} {given['to']}"
    for name in _INSIDE if deep else ():
        inner = given.get(name)
        for one in inner if isinstance(inner, list | tuple) else ():
            if isinstance(one, Mapping):
                yield from _keys(one, deep - 1)


def _count(value: Json, names: Iterable[str]) -> int | None:
    if isinstance(value, list | tuple):
        return len(value)
    if isinstance(value, Mapping):
        lists = [value[name] for name in names if isinstance(value.get(name), list | tuple)]
        return sum(map(len, lists)) if lists else None
    return None


def _size(value: Json) -> int | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return len(text.encode("utf-8", "surrogatepass"))


def in_words(memory: Memory) -> str:
    """It in one line: ``read 2 records from preferences: “tea”, for ann``."""
    if memory.did.endswith("store"):
        word = "creates" if memory.did.startswith("create") else "deletes"
        return f"{word} the store {memory.store}".strip()
    verbs = {READ: ("reads", "from"), WRITE: ("writes", "to"), UPDATE: ("changes", "in"), DELETE: ("deletes", "from")}
    verb, where = verbs[memory.did]
    many = memory.count if memory.count is not None else len(memory.keys) or None
    what = "memory" if many is None else f"{many:,} record{'' if many == 1 else 's'}"
    named = f" ({', '.join(memory.keys[:3])}{', …' if len(memory.keys) > 3 else ''})" if memory.keys else ""
    line = f"{verb} {what}{named}" + (f" {where} {memory.store}" if memory.store else "")
    line += f", searching “{memory.query}”" if memory.query else ""
    return line + (f", for {memory.whose}" if memory.whose else "")
