"""A model that is asked which step failed a run, over OpenAI's chat completions: one request, bounded in time; its key
is in no error."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
import msgspec

from tenure import __version__
from tenure.base.config import Config
from tenure.kernel.wires import provider_at

_MOST_BYTES = 4 << 20


class _Cached(msgspec.Struct):
    cached_tokens: int | None = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Cached | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    model: str = ""
    usage: _Usage | None = None


class NoAnswerError(Exception):
    """The judge gave none; the text says why and names no key."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a judge is: ``url`` up to its version. ``key``: the variable that holds the key, empty for none."""

    url: str
    model: str
    key: str
    timeout_s: float

    @property
    def host(self) -> str:
        """The host that it is at."""
        return urlsplit(self.url).hostname or ""

    @property
    def provider(self) -> str:
        """``gen_ai.provider.name``: by its host where that is well known, else the host."""
        return provider_at(self.host) or self.host


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and what it took. ``model``: the one that answered, as it calls itself."""

    text: str
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int


def endpoint_of(config: Config) -> Endpoint | None:
    """The judge of the settings; None where none is set."""
    if not config.blame_judge or not config.blame_judge_model:
        return None
    return Endpoint(
        config.blame_judge, config.blame_judge_model, config.blame_judge_key, float(config.blame_judge_timeout_s)
    )


def ask(endpoint: Endpoint, messages: list[dict[str, str]]) -> Answer:
    """Asks once. Raises NoAnswerError when nothing came in time, or something else than OpenAI's API says."""
    headers = {"user-agent": f"Tenure/{__version__}"}
    key = os.environ.get(endpoint.key, "") if endpoint.key else ""
    if key:
        headers["authorization"] = f"Bearer {key}"
    try:
        answer = msgspec.json.decode(_sent(endpoint, headers, messages), type=_Completion)
        usage = answer.usage or _Usage()
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
        text = answer.choices[0].message.content or ""
        return Answer(text, answer.model, usage.prompt_tokens, usage.completion_tokens, cached or 0)
    except httpx2.TimeoutException:
        raise NoAnswerError(_late(endpoint)) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise NoAnswerError(f"it cannot be reached ({type(error).__name__})") from None
    except (msgspec.MsgspecError, UnicodeError, IndexError):
        raise NoAnswerError("it answered otherwise than OpenAI's API says") from None


def _sent(endpoint: Endpoint, headers: dict[str, str], messages: list[dict[str, str]]) -> bytes:
    ends = time.monotonic() + endpoint.timeout_s
    body = {"model": endpoint.model, "messages": messages}
    with (
        httpx2.Client(trust_env=False, follow_redirects=False, timeout=endpoint.timeout_s) as client,
        client.stream("POST", f"{endpoint.url.rstrip('/')}/chat/completions", headers=headers, json=body) as reply,
    ):
        if reply.status_code != 200:
            raise NoAnswerError(f"it answered {reply.status_code}")
        data = bytearray()
        for chunk in reply.iter_bytes():
            data += chunk
            if len(data) > _MOST_BYTES:
                raise NoAnswerError("its answer is too long")
            if time.monotonic() > ends:
                raise NoAnswerError(_late(endpoint))
        return bytes(data)


def _late(endpoint: Endpoint) -> str:
    return f"it gave no answer within {endpoint.timeout_s:g} seconds"
