"""Agents, tools and policies are found by words, and by meaning where an endpoint gives vectors."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Role
from tenure.policy import service as policy
from tenure.registry import service as registry
from tenure.search import service, store
from tenure.search.model import Document, Kind, fused, nearest, unit
from tenure.search.words import by_words
from tests.sim.manifests import manifest

VIEWER = Actor("default", "person:leo@example.com", frozenset({Role.VIEWER}))
FORBID = """@id("refunds-need-a-manager")
@reason("Money goes back to a customer only when a manager has looked")
forbid (principal, action, resource);
"""
MEANINGS = {"money": ("refund", "reimburs", "pays back"), "files": ("file", "folder"), "talk": ("chat", "greet")}


class _Vectors(BaseHTTPRequestHandler):
    """An embeddings API whose vectors say which of a few meanings a text has."""

    asked: list[dict[str, Any]]
    broken: bool

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).asked.append({"body": body, "key": self.headers.get("authorization")})
        data = [
            {
                "object": "embedding",
                "index": number,
                "embedding": [float(any(word in text.lower() for word in words)) for words in MEANINGS.values()],
            }
            for number, text in enumerate(body["input"])
        ]
        answer = b"{}" if type(self).broken else json.dumps({"object": "list", "data": data[::-1]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's own word)
        """Says nothing."""


@contextmanager
def _endpoint() -> Iterator[tuple[str, type[_Vectors]]]:
    handler = type("Handler", (_Vectors,), {"asked": [], "broken": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def filled(world: World, operator: Actor) -> World:
    """Three agents, their tools, and a policy."""
    for name, purpose, tool in (
        ("invoice-clerk", "Records incoming invoices in the ledger", "ledger/record_invoice"),
        ("goodwill", "Pays back what customers were charged too much", "payments/refundOrder"),
        ("greeter", "Chats with visitors of the site", "site/say"),
    ):
        made = manifest(name, "http://127.0.0.1:9/v1")
        made["spec"] |= {"purpose": purpose, "tools": [{"name": tool}]}
        made["spec"]["servers"] = {tool.partition("/")[0]: {"url": "http://127.0.0.1:9/mcp"}}
        registry.apply(world, operator, made)
    policy.publish(world, operator, [("refunds.cedar", FORBID)], "money is careful")
    return world


def _names(world: World, question: str, **more: Any) -> list[str]:
    return [hit.document.name for hit in service.search(world, VIEWER, question, **more).hits]


@pytest.mark.req("R027")
def test_agents_tools_and_policies_are_found_by_words(filled: World) -> None:
    assert set(_names(filled, "invoices")[:2]) == {"ledger/record_invoice", "invoice-clerk"}
    assert _names(filled, "who may refund?")[0] in ("payments/refundOrder", "refunds-need-a-manager")
    assert "payments/refundOrder" in _names(filled, "refund"), "a name is found by its parts"
    assert _names(filled, "a manager must look")[0] == "refunds-need-a-manager"
    assert _names(filled, "recording") == _names(filled, "records"), "by stems"
    assert _names(filled, "visit")[0] == "greeter", "the last word may be only begun"
    assert _names(filled, "refund", kinds=[Kind.POLICY]) == ["refunds-need-a-manager"]
    assert _names(filled, "zeppelin") == []
    assert _names(filled, 'AND " OR NEAR( * ^') == [], "no word of it is an operator"
    [first] = [hit for hit in service.search(filled, VIEWER, "goodwill").hits if hit.document.kind is Kind.AGENT]
    assert (first.document.path, first.by) == ("/agents/goodwill", ("words",))


def test_what_is_not_ones_own_or_not_to_be_read_is_not_found(filled: World) -> None:
    elsewhere = Actor("heron", "person:eve@x", frozenset({Role.OPERATOR}))
    assert service.search(filled, elsewhere, "invoices").hits == ()
    narrow = Actor("default", "person:leo@example.com", frozenset({Role.VIEWER}), scopes=("agents:read",))
    assert {hit.document.kind for hit in service.search(filled, narrow, "refund invoices goodwill").hits} == {
        Kind.AGENT
    }
    for question in ("  ", "x" * 501):
        with pytest.raises(Refused, match="look for"):
            service.search(filled, VIEWER, question)


@pytest.mark.req("R027")
def test_what_shares_no_word_is_found_by_meaning(filled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECTOR_KEY", "sk-vectors")
    assert "goodwill" not in _names(filled, "reimbursement")
    with _endpoint() as (url, handler):
        config = replace(filled.config, embeddings=url, embeddings_model="small", embeddings_key="VECTOR_KEY")
        world = replace(filled, config=config)
        assert not service.lacks_vectors(filled, "default"), "without an endpoint there is nothing to do"
        assert service.lacks_vectors(world, "default")
        while service.embed(world, "default"):
            pass
        assert not service.lacks_vectors(world, "default")
        asked = len(handler.asked)
        service.embed(world, "default")
        assert len(handler.asked) == asked, "what has a vector is not sent again"
        found = service.search(world, VIEWER, "reimbursement")
        assert found.meaning
        assert {hit.document.name for hit in found.hits} == {
            "goodwill",
            "payments/refundOrder",
            "refunds-need-a-manager",
        }
        assert {hit.by for hit in found.hits} == {("meaning",)}
        assert {request["key"] for request in handler.asked} == {"Bearer sk-vectors"}
        handler.broken = True
        found = service.search(world, VIEWER, "refund")
        assert found.hits
        assert (found.meaning, "otherwise than" in found.problem) == (False, True)
    found = service.search(world, VIEWER, "refund")
    assert found.hits
    assert "cannot be reached" in found.problem
    assert "sk-vectors" not in found.problem


def test_vectors_of_what_is_no_more_are_dropped(filled: World, operator: Actor) -> None:
    with _endpoint() as (url, _):
        world = replace(filled, config=replace(filled.config, embeddings=url, embeddings_model="small"))
        service.embed(world, "default")
        with world.read() as conn:
            before = store.vectors(conn, "default", "small")
        policy.publish(world, operator, [("other.cedar", FORBID.replace("a manager", "somebody"))], "renamed")
        assert service.lacks_vectors(world, "default")
        service.embed(world, "default")
        with world.read() as conn:
            after = store.vectors(conn, "default", "small")
        assert len(before) == len(after)
        assert set(before) != set(after)
        other = replace(world, config=replace(world.config, embeddings_model="large"))
        assert service.lacks_vectors(other, "default")
        service.embed(other, "default")
        with world.read() as conn:
            assert store.vectors(conn, "default", "small") == {}, "another model's are of no use"


def _one(name: str, text: str = "") -> Document:
    return Document(Kind.AGENT, name, "", text, "/")


def test_both_lists_become_one_and_what_is_in_both_comes_first() -> None:
    a, b, c = _one("a"), _one("b"), _one("c")
    hits = fused([a, b], [c, b], 10)
    assert [(hit.document.name, hit.by) for hit in hits] == [
        ("b", ("words", "meaning")),
        ("a", ("words",)),
        ("c", ("meaning",)),
    ]
    assert len(fused([a, b], [c], 2)) == 2


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8))
def test_a_vector_is_nearest_to_itself_and_what_has_no_direction_to_nothing(values: list[float]) -> None:
    document = _one("a")
    made = unit(values)
    assert (made == b"") == (math.sqrt(sum(value * value for value in values)) == 0)
    assert nearest(made, {document.mark: made}, [document]) == ([document] if made else [])


@given(st.text(max_size=60))
def test_no_question_breaks_the_index(question: str) -> None:
    document = _one("refund-bot", "pays back")
    assert by_words((document,), question) in ([], [document])
