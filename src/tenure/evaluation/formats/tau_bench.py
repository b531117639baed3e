"""tau-bench's historical trajectories: a JSON array of {task_id, trial, reward, info, traj}, ``traj`` being OpenAI chat
messages (https://github.com/sierra-research/tau-bench, historical_trajectories)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile, zip_longest
from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from tenure.evaluation.formats import source
from tenure.kernel.ids import session_trace, stable_id
from tenure.kernel.json import JsonArray, JsonObject
from tenure.kernel.messages import message_from_openai_choice, messages_from_openai
from tenure.kernel.values import Event
from tenure.telemetry.model import outcome_data

SOURCE = "tau-bench"
_ACTOR = "system:evaluation"
_PUBLISHED_NAME = re.compile(r"^(?P<model>.+)-(?:airline|retail)\.json(?:\.xz)?$")


class _Function(BaseModel, strict=True):
    name: str = Field(min_length=1)
    arguments: str


class _ToolCall(BaseModel, strict=True):
    id: str = Field(min_length=1)
    function: _Function


class _Message(BaseModel, strict=True):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None


class _Record(BaseModel, strict=True):
    task_id: int = Field(ge=0)
    trial: int = Field(ge=0)
    reward: float = Field(ge=0, le=1)
    info: dict[str, Any]
    traj: list[_Message] = Field(min_length=1)


_RECORDS = TypeAdapter(list[_Record])


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call of a session. ``step`` is its place in the session, which its ``id`` is not: the model used some ids
    twice. ``result`` is None when the session ended before the tool answered."""

    step: int
    id: str
    name: str
    arguments: JsonObject
    result: str | None


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model: the ``upto`` first messages of the session went in, ``message`` came out (OpenAI's
    shape), and ``tools`` were called because of it, in this order."""

    step: int
    upto: int
    message: JsonObject
    tools: tuple[ToolUse, ...]


@dataclass(frozen=True, slots=True)
class Session:
    """One trial of one task. ``messages`` are OpenAI chat messages exactly as recorded."""

    dataset: str
    task: int
    trial: int
    reward: float
    messages: JsonArray
    turns: tuple[Turn, ...]
    info: JsonObject

    @property
    def key(self) -> str:
        """``<task>/<trial>``: the session's name inside its file."""
        return f"{self.task}/{self.trial}"

    @property
    def name(self) -> str:
        """The session's name in Tenure; it tells the file as well."""
        return f"{SOURCE}-{self.dataset[:12]}-task{self.task}-trial{self.trial}"

    @property
    def success(self) -> bool:
        """tau-bench's own rule: a reward of 1, give or take 1e-6."""
        return abs(self.reward - 1) <= 1e-6


def model_of(filename: str) -> str:
    """The model that a file of published trajectories names itself after (``gpt-4o-airline.json``), or ``unknown``: the
    records themselves do not say."""
    match = _PUBLISHED_NAME.match(filename)
    return match["model"] if match else "unknown"


def tool_names(sessions: Iterable[Session]) -> list[str]:
    """Every tool that any session used, sorted."""
    return sorted({use.name for session in sessions for turn in session.turns for use in turn.tools})


def parse(raw: bytes) -> list[Session]:
    """The sessions of a file, plain or xz, in its order. Raises Refused with the place of every fault."""
    content = source.plain(raw)
    records = source.parse_json(content)
    try:
        checked = _RECORDS.validate_python(records)
    except ValidationError as error:
        raise source.refused(source.faults_of(error)) from error
    dataset = source.identity(content)
    faults: list[JsonObject] = []
    seen: dict[tuple[int, int], int] = {}
    sessions = []
    for index, record in enumerate(checked):
        before = seen.setdefault((record.task_id, record.trial), index)
        if before != index:
            faults.append(source.fault(f"[{index}]", f"task {record.task_id} trial {record.trial} is [{before}] again"))
        messages = records[index]["traj"]
        turns = tuple(_turns(record.traj, messages, f"[{index}].traj", faults))
        sessions.append(
            Session(dataset, record.task_id, record.trial, record.reward, messages, turns, records[index]["info"])
        )
    if not sessions:
        faults.append(source.fault("", "the file has no sessions"))
    if faults:
        raise source.refused(faults)
    return sessions


def _turns(checked: Sequence[_Message], messages: JsonArray, path: str, faults: list[JsonObject]) -> Iterator[Turn]:
    step, index = 0, 0
    while index < len(checked):
        message = checked[index]
        if message.role == "tool":
            faults.append(source.fault(f"{path}[{index}]", "a tool answers that no call before it asked for"))
        if message.role != "assistant":
            index += 1
            continue
        calls = message.tool_calls or []
        answers = list(takewhile(lambda answer: answer.role == "tool", checked[index + 1 : index + 1 + len(calls)]))
        uses = []
        for number, (call, answer) in enumerate(zip_longest(calls, answers)):
            if answer and answer.tool_call_id != call.id:
                place = f"{path}[{index + 1 + number}].tool_call_id"
                faults.append(source.fault(place, f"{answer.tool_call_id!r}, not {call.id!r}"))
            where = f"{path}[{index}].tool_calls[{number}].function.arguments"
            arguments = _arguments(call.function.arguments, where, faults)
            result = None if answer is None else answer.content or ""
            uses.append(ToolUse(step + 1 + number, call.id, call.function.name, arguments, result))
        yield Turn(step, index, messages[index], tuple(uses))
        step += 1 + len(uses)
        index += 1 + len(answers)


def _arguments(text: str, path: str, faults: list[JsonObject]) -> JsonObject:
    try:
        arguments = json.loads(text)
    except ValueError as error:
        faults.append(source.fault(path, f"not JSON: {error}"))
        return {}
    if not isinstance(arguments, dict):
        faults.append(source.fault(path, "not a JSON object"))
        return {}
    return arguments


def trace_events(session: Session, workspace: str, model: str, at: datetime) -> list[Event]:
    """One Event per answer of the model and per tool call, in order, all in one trace, with ids that are the same each
    time. The records hold no times: each Event has the import's time ``at`` plus its step in microseconds, which keeps
    their order, and no duration."""
    out = []
    for turn in session.turns:
        chat: dict[str, Any] = {
            "tenure.kind": "llm",
            "tenure.resource": model,
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": model,
            "gen_ai.input.messages": messages_from_openai(session.messages[: turn.upto]),
            "gen_ai.output.messages": [message_from_openai_choice(turn.message)],
        }
        out.append(_call(session, workspace, turn.step, at, chat))
        for use in turn.tools:
            tool: dict[str, Any] = {
                "tenure.kind": "tool",
                "tenure.resource": use.name,
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": use.name,
                "gen_ai.tool.call.id": use.id,
                "gen_ai.tool.call.arguments": use.arguments,
                "gen_ai.tool.call.result": use.result,
            }
            out.append(_call(session, workspace, use.step, at, tool))
    return out


def _call(session: Session, workspace: str, step: int, at: datetime, data: dict[str, Any]) -> Event:
    trace, root = session_trace(workspace, session.name)
    ident = stable_id("import", workspace, SOURCE, session.dataset, session.key, str(step))
    return Event(
        id=ident,
        type="import.call",
        time=at + timedelta(microseconds=step),
        workspace=workspace,
        actor=_ACTOR,
        session=session.name,
        trace_id=trace,
        span_id=ident[:16],
        parent_span_id=root,
        data=data | {"tenure.source": SOURCE, "tenure.step": step},
    )


def outcome_event(session: Session, workspace: str, model: str, at: datetime) -> Event:
    """How the session ended. To be sent after all its other Events: a session without it does not count."""
    trace, root = session_trace(workspace, session.name)
    steps = sum(1 + len(turn.tools) for turn in session.turns)
    return Event(
        id=stable_id("import", workspace, SOURCE, session.dataset, session.key, "outcome"),
        type="import.outcome",
        time=at + timedelta(microseconds=steps),
        workspace=workspace,
        actor=_ACTOR,
        session=session.name,
        trace_id=trace,
        parent_span_id=root,
        data=outcome_data(
            SOURCE,
            str(session.task),
            session.trial,
            reward=session.reward,
            success=session.success,
            detail={"dataset": session.dataset, "label": model, "steps": steps, "info": session.info},
        ),
    )
