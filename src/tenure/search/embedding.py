"""Vectors of an endpoint that speaks OpenAI's embeddings API: one request, bounded in time; its key is in no error."""

from __future__ import annotations

import os
from collections.abc import Sequence

import httpx2
import msgspec

from tenure import __version__
from tenure.base.config import Config
from tenure.kernel.errors import Failed
from tenure.search.model import unit

BATCH = 64
"""Texts of one request."""
_DEADLINE_S = 20.0
_MOST_BYTES = 64 * 2**20


class _One(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_One]


def vectors_of(config: Config, texts: Sequence[str], deadline_s: float = _DEADLINE_S) -> list[bytes]:
    """The vector of each text, of length 1, as 32-bit floats; empty for one that the endpoint gave no direction. Raises
    Failed (to be tried again) when the endpoint does not answer, or not as OpenAI's API says."""
    headers = {"user-agent": f"Tenure/{__version__}"}
    key = os.environ.get(config.embeddings_key, "") if config.embeddings_key else ""
    if key:
        headers["authorization"] = f"Bearer {key}"
    body = {"model": config.embeddings_model, "input": list(texts), "encoding_format": "float"}
    try:
        with httpx2.Client(trust_env=False, follow_redirects=False, timeout=deadline_s) as client:
            reply = client.post(f"{config.embeddings.rstrip('/')}/embeddings", headers=headers, json=body)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise _failed(f"it cannot be reached ({type(error).__name__})") from None
    if reply.status_code != 200 or len(reply.content) > _MOST_BYTES:
        raise _failed(f"it answered {reply.status_code}")
    try:
        answer = msgspec.json.decode(reply.content, type=_Answer)
        found = {one.index: unit(one.embedding) for one in answer.data}
        return [found[number] for number in range(len(texts))]
    except (msgspec.MsgspecError, KeyError):
        raise _failed("it answered otherwise than OpenAI's API says") from None


def _failed(why: str) -> Failed:
    return Failed("embeddings_unavailable", f"The endpoint of TENURE_EMBEDDINGS gave no vectors: {why}.", retry=True)
