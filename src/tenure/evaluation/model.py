"""Values and pure rules of evaluation: pass^k with its interval, and the normal form in which traces are compared."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from tenure.base.scan.texts import clean
from tenure.kernel.json import Json, JsonArray, JsonObject, canonical
from tenure.telemetry.model import Outcome

CONFIDENCE = 0.95
_TAKEN_OUT = re.compile(r"\[redacted:([a-z/-]+)\]")
METHOD = (
    "mean over tasks of C(c,k)/C(n,k); 95% Wilson interval on the effective number of tasks, with Student's t "
    "(clustered by task: the trials of one task do not count as independent)"
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """pass^k: the chance that all of ``k`` trials of one task succeed. ``low`` and ``high`` bound it with 95%
    confidence; ``tasks`` had at least ``k`` trials and are what it is the mean of, ``sessions`` their trials."""

    k: int
    value: float
    low: float
    high: float
    tasks: int
    sessions: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """pass^1 up to pass^k of one recorded file, where k is the largest number of trials that any task has.

    ``dataset`` is the digest of the file's content, ``label`` the model that it is about."""

    source: str
    dataset: str
    label: str
    tasks: int
    sessions: int
    successes: int
    estimates: tuple[Estimate, ...]
    method: str = METHOD


def wilson_of_means(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """An interval for the mean of independent values in [0, 1], one per task.

    Wilson's score interval (1927) on the effective sample size p(1-p) / Var(mean), with Student's t for a variance that
    is itself estimated, as for clustered surveys (Korn and Graubard 1998; Dean and Pagano 2015). Unlike a bootstrap it
    is not a point when all values agree, and it needs no seed. Where the values agree, the effective size is their
    number. Raises ValueError for no values.
    """
    count = len(values)
    if not count:
        raise ValueError("no values")
    mean = math.fsum(values) / count
    effective, z = float(count), NormalDist().inv_cdf(0.5 + confidence / 2)
    if count > 1:
        variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
        if variance > 0 and 0 < mean < 1:
            effective, z = mean * (1 - mean) * count / variance, _student(z, count - 1)
    spread = z * z / effective
    centre = (mean + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(mean * (1 - mean) / effective + spread / (4 * effective))
    return max(0.0, centre - half), min(1.0, centre + half)


def _student(z: float, freedom: int) -> float:
    """The quantile of Student's t whose normal quantile is ``z`` (Abramowitz and Stegun 26.7.5; within 1% from four
    degrees of freedom on)."""
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def pass_hat(counts: Iterable[tuple[int, int]], k: int) -> Estimate:
    """pass^k over tasks given as (trials n, successes c): the mean of C(c,k)/C(n,k), which is unbiased for the mean
    over tasks of p**k (Yao et al. 2024, tau-bench). Never (pooled success rate)**k, which is too small wherever tasks
    differ. Tasks with fewer than ``k`` trials are left out. Raises ValueError when no task has ``k``."""
    enough = [(n, c) for n, c in counts if n >= k]
    if k < 1 or not enough:
        raise ValueError(f"no task has {k} trials")
    values = [math.comb(c, k) / math.comb(n, k) for n, c in enough]
    low, high = wilson_of_means(values)
    return Estimate(k, math.fsum(values) / len(values), low, high, len(values), sum(n for n, _ in enough))


def reliability(outcomes: Iterable[Outcome]) -> tuple[Reliability, ...]:
    """One Reliability per (source, recorded file), in their order. A trial told twice counts once; sessions of two
    files are never pooled, for they may be of two agents."""
    files: dict[tuple[str, str], dict[tuple[str, int], Outcome]] = defaultdict(dict)
    for outcome in outcomes:
        files[outcome.source, str(outcome.detail.get("dataset", ""))][outcome.task, outcome.trial] = outcome
    return tuple(_reliability(list(trials.values())) for _, trials in sorted(files.items()))


def _reliability(outcomes: Sequence[Outcome]) -> Reliability:
    tasks: dict[str, list[bool]] = defaultdict(list)
    for outcome in outcomes:
        tasks[outcome.task].append(outcome.success)
    counts = [(len(trials), sum(trials)) for trials in tasks.values()]
    first = outcomes[0]
    return Reliability(
        source=first.source,
        dataset=str(first.detail.get("dataset", "")),
        label=str(first.detail.get("label", "")),
        tasks=len(counts),
        sessions=len(outcomes),
        successes=sum(c for _, c in counts),
        estimates=tuple(pass_hat(counts, k) for k in range(1, max(n for n, _ in counts) + 1)),
    )


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a session in normal form. ``kind`` is chat or tool; ``name`` the bare tool name and ``id`` that of
    the tool call, both empty for a chat; ``given`` the input messages or the arguments, ``got`` the output messages or
    the result's text."""

    kind: str
    name: str
    id: str
    given: Json
    got: Json


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two sessions part: the step (from 0), the path inside it, and both sides there."""

    step: int
    path: str
    expected: Json
    actual: Json


def normal_form(data: JsonObject) -> Step | None:
    """The Step that the ``data`` of a call's Event tells, or None for an Event that is no chat and no tool call.

    What two honest recordings of one call may write differently is made the same: JSON as text or as a value, a tool
    named with its server or without, a result as text or as MCP text blocks. Finish reasons are left out, for the
    recorded files have none. All else must be equal.
    """
    operation = data.get("gen_ai.operation.name")
    if operation in ("chat", "generate_content"):
        given = [_message(item) for item in _array(data.get("gen_ai.input.messages"))]
        got = [_message(item) for item in _array(data.get("gen_ai.output.messages"))]
        return Step("chat", "", "", given, got)
    if operation == "execute_tool":
        name = bare_tool(str(data.get("gen_ai.tool.name", "")))
        ident = str(data.get("gen_ai.tool.call.id", ""))
        arguments = _parsed(data.get("gen_ai.tool.call.arguments"))
        return Step("tool", name, ident, arguments or {}, result_text(data.get("gen_ai.tool.call.result")))
    return None


def bare_tool(name: str) -> str:
    """A tool's name without its server: ``desk/think``, ``desk__think`` and ``think`` are all ``think``."""
    return name.rpartition("/")[2].rpartition("__")[2]


def _parsed(value: Json) -> Json:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _array(value: Json) -> JsonArray:
    parsed = _parsed(value)
    return parsed if isinstance(parsed, Sequence) and not isinstance(parsed, str) else []


def _message(message: JsonObject) -> Json:
    rest = {key: value for key, value in message.items() if key not in ("parts", "finish_reason")}
    return {**rest, "parts": [_part(part) for part in _array(message.get("parts"))]}


def _part(part: JsonObject) -> Json:
    return {**part, "arguments": _parsed(part["arguments"])} if "arguments" in part else dict(part)


def result_text(result: Json) -> Json:
    """The text of a tool's result: itself, or that of the text blocks of an MCP result (2025-11-25, server/tools).

    A result that holds anything else is returned as it is."""
    blocks = result.get("content") if isinstance(result, Mapping) else result
    if isinstance(blocks, Sequence) and not isinstance(blocks, str) and all(map(_is_text_block, blocks)):
        return "".join(block["text"] for block in blocks)
    return result


def _is_text_block(block: Any) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "text" and isinstance(block.get("text"), str)


def first_difference(expected: Sequence[Step], actual: Sequence[Step]) -> Difference | None:
    """Where ``actual`` first parts from ``expected``, or None when both are the same steps in the same order."""
    for index, (left, right) in enumerate(zip(expected, actual, strict=False)):
        for name in ("kind", "name", "id", "given", "got"):
            found = _parting(getattr(left, name), getattr(right, name), name)
            if found:
                return Difference(index, *found)
    if len(expected) != len(actual):
        return Difference(min(len(expected), len(actual)), "steps", len(expected), len(actual))
    return None


def _parting(left: Json, right: Json, path: str) -> tuple[str, Json, Json] | None:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in [*left, *(key for key in right if key not in left)]:
            found = _parting(left.get(key), right.get(key), f"{path}.{key}")
            if found:
                return found
        return None
    if isinstance(left, list) and isinstance(right, list):
        for index, (one, other) in enumerate(zip(left, right, strict=False)):
            found = _parting(one, other, f"{path}[{index}]")
            if found:
                return found
        return None if len(left) == len(right) else (f"{path}.length", len(left), len(right))
    if isinstance(left, str) and isinstance(right, str) and (taken := set(_TAKEN_OUT.findall(right))):
        left = clean(left, taken)  # what was taken out of one side before it was kept is no difference
    return None if canonical(left) == canonical(right) else (path, left, right)
