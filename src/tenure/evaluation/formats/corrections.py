"""Exported corrections (`tenure corrections export`): what people said was wrong, each a task that failed once.

One JSON object a line, of the schema ``tenure/correction/v1``. A later trial of the same tasks is compared with them
by the reliability report, which never pools two files.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from tenure.evaluation.formats import source
from tenure.kernel.ids import session_trace, stable_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Event
from tenure.telemetry.model import outcome_data

SOURCE = "corrections"
_ACTOR = "system:evaluation"


class _Record(BaseModel, strict=True):
    # A field that is called "schema" would hide one of pydantic's own.
    version: Literal["tenure/correction/v1"] = Field(alias="schema")
    id: str = Field(min_length=1, max_length=64)
    kind: str = Field(min_length=1)
    agent: str
    resource: str
    reason: str
    given: Any
    wrong: Any
    right: Any


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that was wrong. ``detail``: the agent, the resource, why, what was given, wrong and right."""

    dataset: str
    ident: str
    detail: JsonObject

    @property
    def name(self) -> str:
        """The session's name in Tenure; it tells the file as well."""
        return f"{SOURCE}-{self.dataset[:12]}-{self.ident}"


def parse(raw: bytes) -> list[Case]:
    """The cases of a file, plain or xz, in its order. Raises Refused with the place of every fault."""
    content = source.plain(raw)
    dataset = source.identity(content)
    lines = [line for line in content.splitlines() if line.strip()]
    faults: list[JsonObject] = []
    cases: dict[str, Case] = {}
    for index, line in enumerate(lines):
        try:
            record = _Record.model_validate(source.parse_json(line, f"[{index}]"))
        except ValidationError as error:
            faults += source.faults_of(error, f"[{index}]")
            continue
        if record.id in cases:
            faults.append(source.fault(f"[{index}].id", f"{record.id!r} is there twice"))
        detail = record.model_dump(exclude={"version", "id"})
        cases[record.id] = Case(dataset, record.id, detail)
    if not lines:
        faults.append(source.fault("", "the file has no cases"))
    if faults:
        raise source.refused(faults)
    return list(cases.values())


def outcome_event(case: Case, workspace: str, at: datetime) -> Event:
    """What a person said of it: the agent failed at this task."""
    trace, root = session_trace(workspace, case.name)
    return Event(
        id=stable_id("import", workspace, SOURCE, case.dataset, case.ident, "outcome"),
        type="import.outcome",
        time=at,
        workspace=workspace,
        actor=_ACTOR,
        session=case.name,
        trace_id=trace,
        parent_span_id=root,
        data=outcome_data(
            SOURCE, case.ident, 0, reward=0.0, success=False, detail={"dataset": case.dataset, **case.detail}
        ),
    )
