"""The reading of streams: in any pieces, of any length, in bounded memory."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.gateway.llm.anthropic.codec import MessageStream
from tenure.gateway.llm.codec import CAPTURE_MAX, Stream
from tenure.gateway.llm.gemini.codec import GenerateStream
from tenure.gateway.llm.openai.codec import EMBEDDINGS, ChatStream
from tenure.gateway.llm.responses.codec import ResponseStream
from tenure.gateway.llm.stream import EVENT_MAX, Capture, read

FIXTURES = Path(__file__).parent / "fixtures"
STREAMS: dict[str, Callable[[], Stream]] = {
    "openai_chat": ChatStream,
    "openai_responses": ResponseStream,
    "anthropic": MessageStream,
    "gemini": GenerateStream,
}
RECORDED = {path: next(made for name, made in STREAMS.items() if path.name.startswith(name))
            for path in sorted(FIXTURES.glob("*.sse"))}  # fmt: skip


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_a_stream_says_the_same_in_pieces_of_any_size(path: Path, size: int, newline: bytes) -> None:
    body = path.read_bytes()
    stream = RECORDED[path]()
    sent = body.replace(b"\n", newline)
    for at in range(0, len(sent), size):
        stream.feed(sent[at : at + size])
    assert stream.attributes() == read(RECORDED[path], body)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12), st.sampled_from([", ", ",\r\n", "\n,\n", " , "]))
def test_an_array_that_grows_is_read_element_by_element(cuts: list[int], between: str) -> None:
    pieces = [{"candidates": [{"content": {"parts": [{"text": f'wörd{n} ]}}" '}]}, "index": 0}]} for n in range(4)]
    last = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 3}}
    body = f"[{between.join(json.dumps(one, ensure_ascii=False) for one in [*pieces, last])}]".encode()
    stream = GenerateStream()
    places = sorted({0, *(cut for cut in cuts if cut < len(body)), len(body)})
    for begin, end in itertools.pairwise(places):
        stream.feed(body[begin:end])
    seen = stream.attributes()
    assert seen["gen_ai.output.messages"][0]["parts"][0]["content"].count("wörd") == 4
    assert (seen["gen_ai.usage.input_tokens"], seen["gen_ai.response.finish_reasons"]) == (3, ["STOP"])
    assert "error.type" not in seen


# -- longer than what is kept
WORDS = "x" * (32 << 10)


def sse(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chat(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield sse({"id": "i", "model": "m", "choices": [{"index": 0, "delta": {"content": WORDS}}]})
    call = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    yield sse({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
    yield sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    yield sse({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    yield b"data: [DONE]\n\n"


def messages(count: int) -> Iterator[bytes]:
    yield sse({"type": "message_start", "message": {"id": "i", "model": "m", "usage": {"input_tokens": 3}}})
    yield sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    for _ in range(count):
        yield sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORDS}})
    call = {"type": "tool_use", "id": "c", "name": "weather", "input": {}}
    yield sse({"type": "content_block_start", "index": 1, "content_block": call})
    part = {"type": "input_json_delta", "partial_json": '{"city": "Paris"}'}
    yield sse({"type": "content_block_delta", "index": 1, "delta": part})
    yield sse({"type": "message_delta", "delta": {"stop_reason": "tool_calls"}, "usage": {"output_tokens": 4}})
    yield sse({"type": "message_stop"})


def responses(count: int) -> Iterator[bytes]:
    yield sse({"type": "response.created", "response": {"id": "i", "model": "m"}})
    for _ in range(count):
        yield sse({"type": "response.output_text.delta", "output_index": 0, "delta": WORDS})
    call = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": '{"city": "Paris"}'}
    yield sse({"type": "response.output_item.done", "output_index": 1, "item": call})
    whole = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": WORDS * 200}]}
    usage = {"input_tokens": 3, "output_tokens": 4}
    done = {"id": "i", "model": "m", "status": "tool_calls", "output": [whole, call], "usage": usage}
    yield sse({"type": "response.completed", "response": done})


def _candidate(part: Any, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"index": 0, "content": {"parts": [part]}, **more}], "responseId": "i", "modelVersion": "m"}


def generate(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield sse(_candidate({"text": WORDS}))
    call = {"functionCall": {"id": "c", "name": "weather", "args": {"city": "Paris"}}}
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 4}
    yield sse({**_candidate(call, finishReason="tool_calls"), "usageMetadata": usage})


def array(count: int) -> Iterator[bytes]:
    for number, one in enumerate(generate(count)):
        yield (b"," if number else b"[") + one[6:]
    yield b"]"


LONG: Any = [(ChatStream, chat), (MessageStream, messages), (ResponseStream, responses), (GenerateStream, generate),
             (GenerateStream, array)]  # fmt: skip


@pytest.mark.req("R091")
@pytest.mark.parametrize(("made", "said"), LONG, ids=lambda one: one.__name__)
def test_a_long_stream_tells_all_facts_and_content_up_to_a_bound(made: Any, said: Any) -> None:
    capture = Capture(made())
    tracemalloc.start()
    for chunk in said(300):  # 10 MB
        capture.add(chunk)
    seen = capture.attributes()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert capture.passed > 9_800_000
    assert peak < 40 << 20 if said is responses else peak < 16 << 20  # whose last event alone is 6 MB
    assert (seen["gen_ai.usage.input_tokens"], seen["gen_ai.usage.output_tokens"]) == (3, 4)
    assert (seen["gen_ai.response.id"], seen["gen_ai.response.model"]) == ("i", "m")
    assert seen["gen_ai.response.finish_reasons"] == ["tool_calls"]
    parts = seen["gen_ai.output.messages"][0]["parts"]
    assert [part["type"] for part in parts] == ["text", "tool_call"]
    assert CAPTURE_MAX - len(WORDS) * 2 < len(parts[0]["content"]) <= CAPTURE_MAX
    assert (parts[1]["name"], parts[1]["arguments"]) == ("weather", {"city": "Paris"})
    assert seen["tenure.capture.truncated"] is True
    assert "error.type" not in seen


@pytest.mark.parametrize(("made", "said"), LONG[:4], ids=lambda one: one.__name__)
def test_one_event_without_an_end_is_given_up_and_the_next_is_read(made: Any, said: Any) -> None:
    capture = Capture(made())
    tracemalloc.start()
    capture.add(b"data: ")
    for _ in range(EVENT_MAX // len(WORDS) + 300):
        capture.add(WORDS.encode())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    capture.add(b"\n\n")
    for chunk in said(1):
        capture.add(chunk)
    seen = capture.attributes()
    assert peak < 4 * EVENT_MAX
    assert (seen["gen_ai.usage.output_tokens"], seen["tenure.capture.truncated"]) == (4, True)


def test_an_answer_that_is_too_long_to_be_kept_still_tells_its_tokens() -> None:
    data = [{"object": "embedding", "index": n, "embedding": [0.25] * 3072} for n in range(400)]
    body = {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    seen = EMBEDDINGS.answered(json.dumps(body).encode())
    assert seen == {
        "gen_ai.usage.input_tokens": 8,
        "gen_ai.response.model": "m",
        "tenure.capture.truncated": True,
    }
    assert EMBEDDINGS.answered(b"x" * (5 << 20)) == {"error.type": "garbage", "tenure.capture.truncated": True}
