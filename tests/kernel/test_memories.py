"""Memory operations, told apart from other calls and read out of what each says."""

from __future__ import annotations

from typing import Any

import pytest

from tenure.kernel.json import Json
from tenure.kernel.memories import OPERATIONS, Memory, by_tool, in_words, memory_of

ANN = {"entities": [{"name": "Ann", "entityType": "person", "observations": ["likes tea"]}]}


def blocks(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


@pytest.mark.req("R085")
def test_an_operation_of_the_conventions_says_what_it_did() -> None:
    records = [{"id": "m1", "content": "tea", "score": 0.9}, {"content": {"diet": "none"}}]
    data: dict[str, Any] = {
        "gen_ai.operation.name": "search_memory",
        "gen_ai.memory.store.id": "preferences",
        "gen_ai.memory.query.text": "drinks",
        "gen_ai.memory.records": records,
        "user.id": "ann",
    }
    found = memory_of(data)
    assert found is not None
    assert (found.did, found.store, found.keys, found.count, found.whose) == ("read", "preferences", ("m1",), 2, "ann")
    assert found.size == len('[{"id": "m1", "content": "tea", "score": 0.9}, {"content": {"diet": "none"}}]')
    assert in_words(found) == "reads 2 records (m1) from preferences, searching “drinks”, for ann"
    told = memory_of({**data, "gen_ai.memory.record.count": 7, "gen_ai.memory.record.id": "m9"})
    assert told is not None
    assert (told.count, told.keys) == (7, ("m9",))
    for operation, did in OPERATIONS.items():
        bare = memory_of({"gen_ai.operation.name": operation})
        assert bare is not None
        assert (bare.did, bare.told_by, bare.count, bare.size) == (did, "conventions", None, None)
        assert in_words(bare)


@pytest.mark.req("R085")
@pytest.mark.parametrize(
    ("tool", "given", "result", "did", "words"),
    [
        ("memory/create_entities", ANN, None, "write", "writes 1 record (Ann)"),
        (
            "notes/search_nodes",
            {"query": "Ann"},
            blocks('{"entities": [{"name": "Ann"}], "relations": []}'),
            "read",
            "reads 1 record, searching “Ann”",
        ),
        (
            "memory/create_relations",
            {"relations": [{"from": "Ann", "to": "Bonn", "relationType": "lives in"}]},
            None,
            "write",
            "writes 1 record (Ann lives in Bonn)",
        ),
        ("mem0/add_memories", {"text": "likes tea", "user_id": "ann"}, None, "write", "writes memory, for ann"),
        ("mem0/delete_all_memories", {"user_id": "ann"}, None, "delete", "deletes memory, for ann"),
        ("graphiti/search_facts", {"query": "x", "group_ids": ["main"]}, None, "read",
         "reads memory from main, searching “x”"),
        ("agent/memory", {"command": "view", "path": "/memories/a.md"}, "likes tea", "read",
         "reads 1 record (/memories/a.md)"),
        ("agent/memory", {"command": "str_replace", "path": "/memories/a.md"}, None, "update",
         "changes 1 record (/memories/a.md)"),
        ("manage_memory", {"action": "delete", "id": "m1"}, None, "delete", "deletes 1 record (m1)"),
        ("core_memory_append", {"label": "human", "content": "x"}, None, "write", "writes 1 record (human)"),
    ],
)  # fmt: skip
def test_a_tool_that_keeps_a_memory_is_known_by_its_name(
    tool: str, given: Json, result: Json, did: str, words: str
) -> None:
    data = {"gen_ai.operation.name": "execute_tool", "tenure.resource": tool, "gen_ai.tool.call.arguments": given}
    found = memory_of({**data, "gen_ai.tool.call.result": result} if result is not None else data)
    assert isinstance(found, Memory)
    assert (found.did, found.told_by, in_words(found)) == (did, "name", words)


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("files/read_file", {"path": "memory.md"}),
        ("host/get_memory_usage", {}),
        ("host/memory_profile", {}),
        ("agent/memory", {"command": "unheard"}),
        ("agent/memory", {"command": ["view"]}),
        ("memory/ping", {}),
    ],
)
def test_what_is_no_memory_is_not_told_as_one(tool: str, given: Json) -> None:
    assert by_tool(tool, given) is None
    assert memory_of({"gen_ai.operation.name": "chat", "tenure.resource": "memory/search_nodes"}) is None


@pytest.mark.parametrize("odd", [None, 7, "text", [], {"entities": 3, "query": [], "key": {}}, {"entities": [None, 1]}])
def test_whatever_a_tool_is_given_it_is_told(odd: Json) -> None:
    for result in (None, odd, {"content": odd}, {"content": [odd]}, {"structuredContent": odd}):
        for tool in ("memory/search_nodes", "memory/create_entities", "memory/delete_entities"):
            found = by_tool(tool, odd, result)
            assert found is not None
            assert in_words(found)


def test_where_what_was_said_is_withheld_only_what_it_did_is_told() -> None:
    found = memory_of({"gen_ai.operation.name": "execute_tool", "tenure.resource": "memory/search_nodes"})
    assert found == Memory("read", told_by="name")
    assert in_words(found) == "reads memory"
