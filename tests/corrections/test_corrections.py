"""Overrides and corrections: one record each, exported as cases that evaluation takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tenure.base.clock import system_clock
from tenure.base.room import World
from tenure.corrections import service
from tenure.corrections.api import router
from tenure.corrections.cli import register
from tenure.corrections.model import Kind
from tenure.evaluation import service as evaluation
from tenure.evaluation.formats import corrections as cases
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event, Role
from tenure.telemetry import service as telemetry
from tests.sim.serving import serving
from tests.sim.telemetry import chat, opened

ANN = Actor("default", "person:ann@example.com", frozenset({Role.APPROVER}))
ASKED = [{"role": "user", "parts": [{"type": "text", "content": "What is owed?"}]}]
SAID = [{"role": "assistant", "parts": [{"type": "text", "content": "400"}]}]


def _event(kind: str, data: dict[str, Any], ident: str = "", actor: str = ANN.name) -> Event:
    return Event(ident or kind, kind, system_clock(), "default", actor, "clerk", "sha256:r", data=data)


def _told(world: World, *events: Event) -> None:
    with world.begin() as tx:
        service.take(tx, events)


@pytest.mark.req("R068", "R069")
def test_every_override_is_one_record_with_before_and_after(world: World) -> None:
    drafted: dict[str, Any] = {"draft": "d", "resource": "shop/refund", "arguments": {"amount": 40}, "reason": "a typo"}
    forced = {"from": "production", "to": "retired", "forced": True, "reason": "now"}
    news = [
        _event("approval.rejected", {"call_id": "c1", "resource": "shop/pay", "reason": "not ours"}),
        _event("draft.released", {**drafted, "edited": {"amount": 4}}),
        _event("draft.released", drafted, "as-it-is"),
        _event("draft.discarded", drafted),
        _event("agent.transitioned", forced),
        _event("agent.transitioned", {"from": "staging", "to": "production"}, "plain"),
        _event("agent.transitioned", forced, "own", "system:registry"),
        _event("autonomy.set", {"before": "autonomous", "level": "approve", "reason": "an incident"}),
    ]
    _told(world, *news, *news)
    found = {one.kind: one for one in service.find(world, ANN)}
    assert len(service.find(world, ANN)) == len(found) == 6
    edited = found[Kind.EDITED]
    assert (edited.by, edited.reason, edited.event) == (ANN.name, "a typo", "d")
    assert (edited.before, edited.after) == ({"amount": 40}, {"amount": 4})
    assert (found[Kind.EXECUTED].before, found[Kind.EXECUTED].after) == ({"amount": 40}, {"amount": 40})
    assert (found[Kind.DISCARDED].after, found[Kind.REJECTED].reason) == (None, "not ours")
    assert (found[Kind.FORCED].before, found[Kind.FORCED].after) == ("production", "retired")
    assert (found[Kind.LEVEL].before, found[Kind.LEVEL].after) == ("autonomous", "approve")
    assert [one.kind for one in service.find(world, ANN, kind=Kind.LEVEL)] == [Kind.LEVEL]
    assert service.find(world, ANN, by="person:eve@example.com") == []
    assert service.find(world, ANN, since=system_clock()) == []


def _call(world: World) -> Event:
    """A model's answer that is on record."""
    data = {"gen_ai.input.messages": ASKED, "gen_ai.output.messages": SAID}
    event = replace(chat(world.clock(), data=data), agent="clerk")
    telemetry.ingest(world, Actor("default", "gateway:g", frozenset({Role.GATEWAY})), [event])
    while telemetry.pump(world):
        pass
    return event


@pytest.mark.req("R069", "R192")
def test_a_correction_becomes_a_case_that_an_evaluation_runs_on(world: World, operator: Actor) -> None:
    with opened(world):
        call = _call(world)
        right = [{"role": "assistant", "parts": [{"type": "text", "content": "40"}]}]
        with pytest.raises(Refused, match="needs a reason"):
            service.correct(world, ANN, call.id, " ", right)
        with pytest.raises(Refused, match="no call"):
            service.correct(world, ANN, "nothing", "wrong", right)
        with pytest.raises(Refused, match="not a person"):
            service.correct(world, replace(ANN, name="service:ci"), call.id, "wrong", right)
        service.correct(world, ANN, call.id, "it says 40", right)
        [exported] = service.export(world, ANN, agent="clerk")
        assert (exported["given"], exported["wrong"], exported["right"]) == (ASKED, SAID, right)
        [case] = cases.parse(json.dumps(exported).encode())
        telemetry.import_events(world, operator, [cases.outcome_event(case, "default", world.clock())])
        while telemetry.pump(world):
            pass
        [report] = evaluation.reliability(world, operator, "corrections")
        assert (report.tasks, report.successes, report.estimates[0].value) == (1, 0, 0.0)
        [outcome] = telemetry.outcomes(world, operator, source="corrections")
        assert (outcome.detail["right"], outcome.detail["reason"]) == (right, "it says 40")


@pytest.mark.parametrize("text", ["", "{", '{"schema": "another"}'])
def test_a_file_that_holds_no_cases_is_refused_whole(text: str) -> None:
    with pytest.raises(Refused, match="Not imported"):
        cases.parse(text.encode())


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    app = typer.Typer()
    register(app)
    with opened(world), serving(world, ANN, router) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "any")
        yield lambda *words: CliRunner().invoke(app, ["corrections", *words])


@pytest.mark.req("R192")
def test_corrections_on_the_command_line(world: World, run: Any, tmp_path: Path) -> None:
    assert "None." in run("list").stdout
    call = _call(world)
    assert run("make", call.id, "--reason", "x", "--right", "{").exit_code == 2
    made = run("make", call.id, "--reason", "it says 40", "--right", '"40"')
    assert made.exit_code == 0, made.output
    assert "it says 40" in run("list", "--kind", "corrected").stdout
    out = tmp_path / "cases.jsonl"
    assert "1 cases" in run("export", "--out", str(out)).stdout
    assert [case.detail["right"] for case in cases.parse(out.read_bytes())] == ["40"]
    assert run("export").stdout == out.read_text()
