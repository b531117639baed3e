"""The real clients of OpenAI, Anthropic and Google, each told to do the same things."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import errors, types

SAID = "You said: hello there, how are you today"
HELLO = "hello there, how are you today"
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class OpenAI:
    """Responses through OpenAI's own client."""

    key, operation, provider = "authorization", "chat", "openai"
    failed: tuple[type[Exception], ...] = (openai.APIError,)
    hangs_up = True

    def __init__(self, url: str, token: str, retries: int = 0) -> None:
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=retries, timeout=20)

    def ask(self, model: str, **more: Any) -> str:
        return str(self.client.responses.create(model=model, input=HELLO, **more).output_text)

    def stream(self, model: str, text: str = HELLO) -> Iterator[str]:
        with self.client.responses.create(model=model, input=text, stream=True) as events:
            for event in events:
                if event.type == "error":
                    raise RuntimeError(event.message)
                if event.type == "response.output_text.delta":
                    yield event.delta

    def use_tool(self, model: str = "tool") -> tuple[Any, str]:
        tools: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
        asked: Any = [{"role": "user", "content": HELLO}]
        first = self.client.responses.create(model=model, input=asked, tools=tools)
        call: Any = first.output[0]
        asked += [call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
        second = self.client.responses.create(model=model, input=asked, tools=tools)
        return json.loads(call.arguments), second.output_text

    def show(self) -> str:
        parts: Any = [
            {"type": "input_text", "text": HELLO},
            {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
        ]
        return self.client.responses.create(model="echo", input=[{"role": "user", "content": parts}]).output_text

    def names(self) -> set[str]:
        return {model.id for model in self.client.models.list()}

    def close(self) -> None:
        self.client.close()


class Anthropic:
    """Messages through Anthropic's own client."""

    key, operation, provider = "x-api-key", "chat", "anthropic"
    failed: tuple[type[Exception], ...] = (anthropic.APIError,)
    hangs_up = True

    def __init__(self, url: str, token: str, retries: int = 0) -> None:
        self.client = anthropic.Anthropic(base_url=url, api_key=token, max_retries=retries, timeout=20)

    def ask(self, model: str, **more: Any) -> str:
        said = self.client.messages.create(
            model=model, max_tokens=100, messages=[{"role": "user", "content": HELLO}], **more
        )
        return "".join(block.text for block in said.content if block.type == "text")

    def stream(self, model: str, text: str = HELLO) -> Iterator[str]:
        with self.client.messages.stream(
            model=model, max_tokens=100, messages=[{"role": "user", "content": text}]
        ) as stream:
            yield from stream.text_stream

    def use_tool(self, model: str = "tool") -> tuple[Any, str]:
        tools: Any = [{"name": "weather", "input_schema": SCHEMA}]
        asked: Any = [{"role": "user", "content": HELLO}]
        with self.client.messages.stream(model=model, max_tokens=100, messages=asked, tools=tools) as stream:
            first = stream.get_final_message()
        call: Any = first.content[-1]
        back = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
        asked += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [back]}]
        second: Any = self.client.messages.create(model=model, max_tokens=100, messages=asked, tools=tools)
        return call.input, second.content[-1].text

    def show(self) -> str:
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        parts: Any = [{"type": "text", "text": HELLO}, {"type": "image", "source": source}]
        said: Any = self.client.messages.create(
            model="echo", max_tokens=100, messages=[{"role": "user", "content": parts}]
        )
        return str(said.content[-1].text)

    def names(self) -> set[str]:
        return {model.id for model in self.client.models.list()}

    def close(self) -> None:
        self.client.close()


class Gemini:
    """generateContent through Google's own client."""

    key, operation, provider = "x-goog-api-key", "generate_content", "gcp.gemini"
    failed: tuple[type[Exception], ...] = (errors.APIError,)
    hangs_up = True

    def __init__(self, url: str, token: str, retries: int = 0) -> None:
        options = types.HttpRetryOptions(attempts=retries + 1, initial_delay=0.01) if retries else None
        self.client = genai.Client(
            api_key=token, http_options=types.HttpOptions(base_url=url, timeout=20_000, retry_options=options)
        )

    def ask(self, model: str, **more: Any) -> str:
        return str(self.client.models.generate_content(model=model, contents=HELLO, **more).text)

    def stream(self, model: str, text: str = HELLO) -> Iterator[str]:
        for chunk in self.client.models.generate_content_stream(model=model, contents=text):
            yield chunk.text or ""

    def use_tool(self, model: str = "tool") -> tuple[Any, str]:
        declared = types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)
        config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declared])])
        asked: Any = [types.Content(role="user", parts=[types.Part(text=HELLO)])]
        [first] = self.client.models.generate_content_stream(model=model, contents=asked, config=config)
        calls: Any = first.function_calls
        back = types.Part.from_function_response(name="weather", response={"result": "rain"})
        candidates: Any = first.candidates
        asked += [candidates[0].content, types.Content(role="user", parts=[back])]
        second = self.client.models.generate_content(model=model, contents=asked, config=config)
        return calls[0].args, str(second.text)

    def show(self) -> str:
        image = types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")
        asked: Any = [types.Content(role="user", parts=[types.Part(text=HELLO), image])]
        return str(self.client.models.generate_content(model="echo", contents=asked).text)

    def names(self) -> set[str]:
        return {str(model.name).removeprefix("models/") for model in self.client.models.list()}

    def close(self) -> None:
        self.client.close()


CLIENTS: Any = [OpenAI, Anthropic, Gemini]
"""Each of the three."""
