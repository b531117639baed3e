"""A model server that answers what the recorded model answered, over real HTTP (OpenAI chat completions).

``python -m tenure.evaluation.recorded_model FILE``. A request names its session in ``metadata.tenure_recording``; the
number of its messages says which answer is due. It is answered only when its messages equal the recorded ones, so that
whatever changed on the way is found, not smoothed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tenure.evaluation import recorded
from tenure.evaluation.formats import tau_bench
from tenure.kernel.ids import stable_id
from tenure.kernel.json import Json, canonical


def find(sessions: Mapping[str, tau_bench.Session], key: str, messages: list[Any]) -> tau_bench.Turn | str:
    """The turn that is due after ``messages``, or why there is none."""
    session = sessions.get(key)
    if session is None:
        return f"no session {key!r} is recorded"
    turn = next((turn for turn in session.turns if turn.upto == len(messages)), None)
    for index, (sent, kept) in enumerate(zip(messages, session.messages, strict=False)):
        if canonical(sent) != canonical(kept):
            return f"message {index} of session {key} differs from the record"
    return turn or f"the model did not answer after {len(messages)} messages in session {key}"


def completion(session: str, model: Json, turn: tau_bench.Turn) -> dict[str, Any]:
    """The recorded answer as a chat completion. The record has no time and no token counts, so none are made up."""
    reason = "tool_calls" if turn.tools else "stop"
    return {
        "id": "chatcmpl-" + stable_id("recorded", session, str(turn.step)),
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": turn.message, "finish_reason": reason, "logprobs": None}],
    }


def application(sessions: Mapping[str, tau_bench.Session]) -> Starlette:
    """The server's routes."""

    async def chat(request: Request) -> Response:
        body = msgspec.json.decode(await request.body())
        if body.get("stream"):
            return _error(400, "recorded answers are not streamed")
        key = str((body.get("metadata") or {}).get(recorded.METADATA_KEY, ""))
        turn = find(sessions, key, body["messages"])
        if isinstance(turn, str):
            return _error(409, turn)
        return Response(msgspec.json.encode(completion(key, body.get("model"), turn)), media_type="application/json")

    async def models(_request: Request) -> Response:
        return JSONResponse({"object": "list", "data": []})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models),
        ]
    )


def _error(status: int, message: str) -> Response:
    kind = {"message": message, "type": "invalid_request_error", "param": None, "code": "not_as_recorded"}
    return JSONResponse({"error": kind}, status_code=status)


def main() -> None:
    """Runs the server until its standard input ends."""
    given = recorded.arguments(__doc__)
    recorded.serve(application(recorded.sessions_of(given.file)), given.host, given.port)


if __name__ == "__main__":
    main()
