"""Who&When: multi-agent sessions that failed, with the agent and the step to blame (Zhang et al. 2025, "Which Agent
Causes Task Failures and When?"). One JSON object per line, or one JSON array."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from tenure.evaluation.formats import source
from tenure.kernel.ids import session_trace, stable_id
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Event
from tenure.telemetry.model import message_data, outcome_data

SOURCE = "who-and-when"
_ACTOR = "system:evaluation"


class _Message(BaseModel, strict=True):
    content: str
    name: str = Field(min_length=1)
    role: str


class _Record(BaseModel, strict=True):
    question_ID: str = Field(min_length=1)  # noqa: N815 (the file's own name)
    question: str
    ground_truth: str
    is_correct: bool
    level: int | str | None = None
    history: list[_Message] = Field(min_length=1)
    mistake_agent: str
    mistake_step: str | int
    mistake_reason: str
    system_prompt: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """Who said what to whom. ``role`` is the role that the recording gives the message."""

    sender: str
    recipients: tuple[str, ...]
    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Session:
    """One failed session. ``mistake_step`` is the index (from 0) of the message where ``mistake_agent`` erred, as its
    human annotators said; ``participants`` are all who were in the conversation."""

    dataset: str
    question_id: str
    messages: tuple[Message, ...]
    participants: tuple[str, ...]
    success: bool
    outcome: JsonObject

    @property
    def name(self) -> str:
        """The session's name in Tenure; it tells the file as well."""
        return f"{SOURCE}-{self.dataset[:12]}-{self.question_id}"


def parse(raw: bytes) -> list[Session]:
    """The sessions of a file, plain or xz, in its order. Raises Refused with the place of every fault.

    Recipients: these sessions are group chats (AG2's GroupChat), where a manager sends every message to every
    participant but its sender, and the file records no narrower addressee. So the recipients of a message are all other
    participants: those who have a system prompt, then those who only speak (the code executor ``Computer_terminal`` has
    no prompt). A participant whom a text addresses by name is not singled out, for the others read it too.
    """
    content = source.plain(raw)
    records = _records(content)
    dataset = source.identity(content)
    faults: list[JsonObject] = []
    sessions: list[Session] = []
    seen: dict[str, int] = {}
    for index, value in enumerate(records):
        try:
            record = _Record.model_validate(value)
        except ValidationError as error:
            faults += source.faults_of(error, f"[{index}]")
            continue
        before = seen.setdefault(record.question_ID, index)
        if before != index:
            faults.append(source.fault(f"[{index}].question_ID", f"{record.question_ID!r} is that of [{before}]"))
        step = str(record.mistake_step)
        if not (step.isascii() and step.isdigit() and int(step) < len(record.history)):
            last = len(record.history) - 1
            faults.append(source.fault(f"[{index}].mistake_step", f"{step!r} is no step of the session (0 to {last})"))
            continue
        sessions.append(_session(dataset, record, int(step), value))
    if not records:
        faults.append(source.fault("", "the file has no sessions"))
    if faults:
        raise source.refused(faults)
    return sessions


def _records(content: bytes) -> list[Json]:
    if content.lstrip()[:1] == b"[":
        records = source.parse_json(content)
        assert isinstance(records, list)  # noqa: S101 (what begins with a bracket and parses is an array)
        return records
    lines = [line for line in content.splitlines() if line.strip()]
    return [source.parse_json(line, f"[{index}]") for index, line in enumerate(lines)]


def _session(dataset: str, record: _Record, step: int, value: Any) -> Session:
    participants = tuple(dict.fromkeys([*record.system_prompt, *(message.name for message in record.history)]))
    messages = tuple(
        Message(
            sender=message.name,
            recipients=tuple(name for name in participants if name != message.name),
            role=message.role,
            text=message.content,
        )
        for message in record.history
    )
    outcome: dict[str, Json] = {
        "mistake_agent": record.mistake_agent,
        "mistake_step": step,
        "mistake_step_speaker": record.history[step].name,
        "mistake_reason": record.mistake_reason,
        "question": record.question,
        "ground_truth": record.ground_truth,
        "level": record.level,
        "participants": list(participants),
        "system_prompts": record.system_prompt,
    }
    if "labels" in value:
        outcome["labels"] = value["labels"]
    return Session(dataset, record.question_ID, messages, participants, record.is_correct, outcome)


def _semconv(message: Message) -> JsonObject:
    return {"role": message.role, "name": message.sender, "parts": [{"type": "text", "content": message.text}]}


def trace_events(session: Session, workspace: str, at: datetime) -> list[Event]:
    """One Event per message, in order, all in one trace, with ids that are the same each time. Times as for tau-bench:
    the import's own, plus the step in microseconds, for the records hold none."""
    trace, root = session_trace(workspace, session.name)
    out = []
    for step, message in enumerate(session.messages):
        ident = stable_id("import", workspace, SOURCE, session.dataset, session.question_id, str(step))
        out.append(
            Event(
                id=ident,
                type="import.message",
                time=at + timedelta(microseconds=step),
                workspace=workspace,
                actor=_ACTOR,
                session=session.name,
                trace_id=trace,
                span_id=ident[:16],
                parent_span_id=root,
                data={
                    **message_data(SOURCE, step, _semconv(message)),
                    "tenure.sender": message.sender,
                    "tenure.recipients": list(message.recipients),
                },
            )
        )
    return out


def outcome_event(session: Session, workspace: str, at: datetime) -> Event:
    """How the session ended and who is to blame. The file gives no reward: ``is_correct`` counts as 0 or 1. To be sent
    after all its other Events."""
    trace, root = session_trace(workspace, session.name)
    return Event(
        id=stable_id("import", workspace, SOURCE, session.dataset, session.question_id, "outcome"),
        type="import.outcome",
        time=at + timedelta(microseconds=len(session.messages)),
        workspace=workspace,
        actor=_ACTOR,
        session=session.name,
        trace_id=trace,
        parent_span_id=root,
        data=outcome_data(
            SOURCE,
            session.question_id,
            0,
            reward=float(session.success),
            success=session.success,
            detail={"dataset": session.dataset, "steps": len(session.messages), **session.outcome},
        ),
    )
