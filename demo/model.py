"""A scripted model over real HTTP, for a demonstration without a model provider: ``python -m demo.model PORT``.

It speaks OpenAI's chat completions. What it answers is worked out from the conversation it is sent (the tool results in
it), by the two small scripts below; it knows nothing of the agents' processes, of the ledger, or of Tenure.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

Message = Mapping[str, Any]
Call = tuple[str, dict[str, Any]]
Step = str | list[Call]


def _calls(messages: Sequence[Message]) -> list[tuple[str, dict[str, Any], str]]:
    """(tool, arguments, result) of every call made so far, in order."""
    results = {message["tool_call_id"]: str(message["content"]) for message in messages if message["role"] == "tool"}
    return [
        (call["function"]["name"], json.loads(call["function"]["arguments"]), results.get(call["id"], ""))
        for message in messages
        for call in message.get("tool_calls") or []
    ]


def _invoice(text: str) -> dict[str, Any]:
    number = re.search(r"Invoice number:\s*(\S+)", text)
    vendor = re.search(r"From:\s*(.+)", text)
    total = re.search(r"Total due:\s*([\d,]+)\.(\d\d)", text)
    if not (number and vendor and total):
        return {}
    cents = int(total[1].replace(",", "")) * 100 + int(total[2])
    return {"number": number[1], "vendor": vendor[1].strip(), "amount_cents": cents}


def clerk(messages: Sequence[Message]) -> Step:
    """List, read, record, delete (which policy forbids), pay the largest (which a person must approve), report."""
    done = _calls(messages)
    by_tool: dict[str, list[tuple[dict[str, Any], str]]] = {}
    for tool, arguments, result in done:
        by_tool.setdefault(tool, []).append((arguments, result))
    if "files__list_files" not in by_tool:
        return [("files__list_files", {})]
    if "files__read_file" not in by_tool:
        names = re.findall(r"[\w.-]+\.txt", by_tool["files__list_files"][0][1])
        return [("files__read_file", {"name": name}) for name in dict.fromkeys(names)]
    read = by_tool["files__read_file"]
    invoices = [invoice for _, text in read if (invoice := _invoice(text))]
    if "ledger__record_invoice" not in by_tool:
        return [("ledger__record_invoice", invoice) for invoice in invoices]
    if "files__delete_file" not in by_tool:
        return [("files__delete_file", {"name": read[0][0]["name"]})]
    largest = max(invoices, key=lambda invoice: int(invoice["amount_cents"]))
    if "ledger__pay_invoice" not in by_tool:
        return [("ledger__pay_invoice", {"number": largest["number"], "amount_cents": largest["amount_cents"]})]
    return (
        f"{len(invoices)} invoices recorded. Deleting: {by_tool['files__delete_file'][0][1]} "
        f"Paying: {by_tool['ledger__pay_invoice'][0][1]}"
    )


def reconciler(messages: Sequence[Message]) -> Step:
    """Reads the invoices and reports; asked for salaries, it keeps trying what it may not."""
    done = _calls(messages)
    if "salaries" in json.dumps([message for message in messages if message["role"] == "user"]):
        return [("ledger__query", {"table": "payroll"})]
    if not done:
        return [("ledger__query", {"table": "invoice"})]
    amounts = [int(found) for found in re.findall(r'"amount_cents":\s*(\d+)', done[0][2])]
    unpaid = [int(found) for found in re.findall(r'"amount_cents":\s*(\d+),\s*"paid":\s*0', done[0][2])]
    return (
        f"{len(amounts)} invoices over {sum(amounts) / 100:.2f}; still to pay: {len(unpaid)}, {sum(unpaid) / 100:.2f}."
    )


def either(messages: Sequence[Message]) -> Step:
    """One model for both agents, as a real one is: what it is told to be decides."""
    told = " ".join(str(message["content"]) for message in messages if message["role"] in ("system", "developer"))
    return clerk(messages) if "invoice clerk" in told else reconciler(messages)


SCRIPTS: dict[str, Callable[[Sequence[Message]], Step]] = {
    "scripted-clerk": clerk,
    "scripted-reconciler": reconciler,
    "scripted": either,
}
KEY = os.environ.get("DEMO_MODEL_KEY")


async def completions(request: Request) -> JSONResponse:
    """POST /v1/chat/completions. With DEMO_MODEL_KEY set it wants that key, as a provider would."""
    if KEY and request.headers.get("authorization") != f"Bearer {KEY}":
        return JSONResponse({"error": {"message": "wrong key", "type": "authentication_error"}}, 401)
    body = await request.json()
    script = SCRIPTS.get(body["model"])
    if script is None:
        return JSONResponse({"error": {"message": f"no model {body['model']}", "type": "invalid_request_error"}}, 404)
    messages = body["messages"]
    step = script(messages)
    message: dict[str, Any] = {"role": "assistant", "content": step if isinstance(step, str) else None}
    if not isinstance(step, str):
        turn = sum(message["role"] == "assistant" for message in messages)
        message["tool_calls"] = [
            {
                "id": f"call_{turn}_{n}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for n, (name, arguments) in enumerate(step)
        ]
    words = len(json.dumps(messages)) // 4, len(json.dumps(message)) // 4  # about four characters a token
    return JSONResponse(
        {
            "id": f"chatcmpl-{time.time_ns():x}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body["model"],
            "choices": [
                {"index": 0, "message": message, "finish_reason": "stop" if isinstance(step, str) else "tool_calls"}
            ],
            "usage": {"prompt_tokens": words[0], "completion_tokens": words[1], "total_tokens": sum(words)},
        }
    )


if __name__ == "__main__":
    app = Starlette(routes=[Route("/v1/chat/completions", completions, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
