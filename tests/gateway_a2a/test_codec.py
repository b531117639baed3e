"""The codec by itself: ids exchanged and nothing else, streams cut at any byte, and no input that it trips over."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.gateway.a2a import codec, messages
from tenure.gateway.a2a.ownership import Callback, Ownership, opened, seal
from tenure.gateway.a2a.wire import SEND, Ask
from tenure.gateway.keyring import Keyring
from tenure.kernel.errors import Refused
from tenure.kernel.scopes import within
from tenure.kernel.snapshot import PeerGrant
from tenure.kernel.values import CallKind, Principal

RING = Keyring({"01": "k" * 43})
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


def principal(agent: str = "asker") -> Principal:
    return Principal("default", agent, "r", "i", "s", 1)


def marked(kind: str, ident: str) -> str:
    return f"<{kind}:{ident}>"


def unset(_: str) -> dict[str, Any]:
    return {}


def test_only_ids_are_exchanged_and_all_else_keeps_its_bytes() -> None:
    metadata = b'{"big":123456789012345678901234567890,"float":1.10,"exp":1E2,"taskId":"not this"}'
    raw = (
        b'{"jsonrpc":"2.0","id":7,"result":{"task":{"id":"t","contextId":"c","metadata":' + metadata + b',"status":'
        b'{"message":{"taskId":"t","parts":[{"text":"t"}]}},"history":[{"taskId":"t"}]}}}'
    )
    ask = codec.read_rpc(b'{"jsonrpc":"2.0","id":7,"method":"GetTask","params":{"id":"t"}}')
    got = codec.answered(raw, ask, marked, unset, "")
    assert metadata in got
    task = json.loads(got)["result"]["task"]
    assert (task["id"], task["contextId"]) == ("<task:t>", "<context:c>")
    assert task["status"]["message"] == {"taskId": "<task:t>", "parts": [{"text": "t"}]}
    assert task["history"] == [{"taskId": "<task:t>"}]


def test_a_member_that_is_given_twice_reaches_the_peer_once() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"theirs","id":"mine"}}'
    _, sent = codec.mapped(codec.read_rpc(body), marked, None)
    assert json.loads(sent)["params"] == {"id": "<task:mine>"}
    assert b"theirs" not in sent


@given(st.lists(st.binary(max_size=40).map(lambda data: data.hex().encode()), max_size=6), st.integers(1, 30))
def test_a_stream_is_cut_into_the_same_events_wherever_it_breaks(datas: list[bytes], size: int) -> None:
    stream = b"".join(b"id: 1\r\ndata: " + data + b"\r\n\r\n" for data in datas)
    events = codec.Events()
    found = [e for at in range(0, len(stream), size) for e in events.feed(stream[at : at + size])]
    assert [codec.event_data(event) for event in found] == datas
    for event in found:
        assert codec.event_data(codec.event_with(event, b"new").removesuffix(b"\n\n")) == b"new"


@given(JSON)
def test_no_json_makes_the_codec_fail(value: Any) -> None:
    raw = msgspec.json.encode(value)
    for method in ("SendMessage", "GetTask", "ListTasks", "CreateTaskPushNotificationConfig", "message/send"):
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": value})
        ask = codec.read_rpc(body)
        if ask.problem is None:
            try:
                codec.check_names(ask.params)
                codec.push_config(ask)
            except Refused:
                continue
            messages.arguments(ask)
            messages.bound(ask)
            codec.mapped(ask, marked, None)
        answer = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "result": value})
        told = messages.Told()
        told.hear(codec.answered(answer, ask, marked, unset, "http://x"), ask)
        told.attributes()
    ask = Ask(SEND, "POST /message:send", {}, rest=True)
    if codec.is_answer(raw, ask):
        codec.answered(raw, ask, marked, unset, "http://x")


@given(st.text(max_size=60), st.sampled_from(["task", "context"]))
def test_an_id_comes_back_as_it_went_and_for_nobody_else(ident: str, kind: str) -> None:
    mine, other = Ownership(RING, principal(), "helper"), Ownership(RING, principal("third"), "helper")
    elsewhere = Ownership(RING, principal(), "third")
    seen = mine.outward(kind, ident)
    if not ident:
        return
    assert mine.inward(kind, seen) == ident
    for stranger in (other, elsewhere):
        if kind == "task":
            with pytest.raises(Refused):
                stranger.inward(kind, seen)
        else:
            assert stranger.inward(kind, seen) != ident
    if kind == "context":
        named = mine.inward(kind, ident)
        assert mine.outward(kind, named) == ident
        assert other.inward(kind, ident) != named


def test_keys_overlap_and_purposes_do_not() -> None:
    later = Keyring({"01": "k" * 43, "02": "n" * 43})
    mark = RING.mark("a2a-task", "x")
    assert later.is_mark(mark, "a2a-task", "x")
    assert later.mark("a2a-task", "x") != mark
    assert not later.is_mark(mark, "a2a-context", "x")
    assert later.signed("delegation", RING.sign("delegation", b"{}")) == b"{}"
    assert later.signed("delegation", RING.sign("other", b"{}")) is None
    callback = Callback("w", "a", 1, "r", "i", "s", "helper", "http://x/", "tp", token="t")
    sealed = seal(RING, callback, "http://gateway/a2a/helper")
    name = str(sealed["url"]).rpartition("/")[2]
    assert opened(later, name, str(sealed["token"])) == callback
    assert opened(later, name, "guess") is None
    assert opened(Keyring({"02": "n" * 43}), name, None) is None
    with pytest.raises(Refused, match="no keys"):
        Keyring({}).mark("a2a-task", "x")


@pytest.mark.req("R035")
@pytest.mark.parametrize(
    ("grant", "kind", "resource", "covered"),
    [
        (PeerGrant("b"), CallKind.TOOL, "crm/write", True),
        (PeerGrant("b", tools=("crm/read",)), CallKind.TOOL, "crm/read", True),
        (PeerGrant("b", tools=("crm/read",)), CallKind.TOOL, "crm/readme", False),
        (PeerGrant("b", tools=("crm/*",)), CallKind.TOOL, "files/read", False),
        (PeerGrant("b", tools=("-",)), CallKind.TOOL, "crm/read", False),
        (PeerGrant("b", tools=("-",)), CallKind.AGENT, "third", True),
        (PeerGrant("b", tools=("-",)), CallKind.LLM, "gpt", True),
        (PeerGrant("b", agents=("-",)), CallKind.AGENT, "third", False),
        (PeerGrant("b", agents=("th*",)), CallKind.AGENT, "third", True),
    ],
)
def test_what_a_bound_covers(grant: PeerGrant, kind: CallKind, resource: str, covered: bool) -> None:
    assert within(grant.bounds, kind, resource) is covered
