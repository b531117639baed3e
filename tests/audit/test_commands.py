"""``tenure audit`` and its routes, over a real server: what a person sees, what a program gets, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
import typer
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from tenure.audit import cli, react, service, store
from tenure.audit.api import router
from tenure.audit.model import Checkpoint, read_checkpoint
from tenure.base import events
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel.ids import new_id
from tenure.kernel.values import Event
from tests.sim.clock import FakeClock
from tests.sim.served import application, served

app = typer.Typer()
cli.register(app)
runner = CliRunner()


@pytest.fixture
def shell(world: World, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A shell whose commands talk to a server of ``world``, which has a chain of six entries."""
    identity.bootstrap(world)
    service.pin(world)
    _decide(world, 4)
    clock.advance(1)
    service.pin(world)
    with served(world, [router]) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", (world.config.data_dir / "operator.token").read_text().strip())
        yield world


def _decide(world: World, count: int) -> None:
    decision = {"effect": "deny", "reason": "too [bold]much[/]", "policies": ["limits/large"]}
    data = {"tenure.decision": decision, "tenure.resource": "bank/pay", "tenure.call.id": "c1"}
    with world.begin() as conn:
        for _ in range(count):
            when = datetime(2026, 1, 1, tzinfo=UTC)
            event = Event(new_id(), "call.refused", when, "default", "agent:clerk", agent="clerk", data=data)
            events.append(conn, [event])
    while events.consume(world.db, react.CONSUMER):
        pass


def _forge(world: World) -> None:
    with world.db.engine.begin() as conn:
        if world.db.is_sqlite:
            conn.exec_driver_sql("DROP TRIGGER audit_entry_no_update")
        else:
            conn.exec_driver_sql("SET LOCAL session_replication_role = 'replica'")
        conn.execute(sa.update(store.entry_table).where(store.entry_table.c.seq == 3).values(actor="agent:other"))


@pytest.mark.req("R173")
def test_a_chain_that_holds_is_verified(shell: World) -> None:
    result = runner.invoke(app, ["audit", "verify"])
    assert result.exit_code == 0, result.output
    assert "7 entries hold; checkpoint at entry 7" in result.output
    verdict = json.loads(runner.invoke(app, ["audit", "verify", "--json"]).output)
    assert (verdict["ok"], verdict["entries"], verdict["problems"]) == (True, 7, [])
    assert shell


def test_a_broken_chain_is_an_exit_status(shell: World) -> None:
    _forge(shell)
    result = runner.invoke(app, ["audit", "verify"])
    assert result.exit_code == 1
    assert "edited: Entry 3 was changed after it was written." in result.output
    result = runner.invoke(app, ["audit", "verify", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output)["problems"][0]["seq"] == 3


def test_entries_are_listed(shell: World) -> None:
    result = runner.invoke(app, ["audit", "list"])
    assert result.exit_code == 0, result.output
    for word in ("call.refused", "clerk", "key.created"):
        assert word in result.output
    found = json.loads(runner.invoke(app, ["audit", "list", "--json", "--limit", "2"]).output)
    assert [entry["seq"] for entry in found["entries"]] == [6, 7]
    assert found["entries"][0]["facts"]["decision"] == {"effect": "deny", "policies": ["limits/large"]}
    found = json.loads(runner.invoke(app, ["audit", "list", "--json", "--agent", "clerk"]).output)
    assert len(found["entries"]) == 4
    found = json.loads(runner.invoke(app, ["audit", "list", "--json", "--after", "0", "--limit", "3"]).output)
    assert (len(found["entries"]), found["next"], found["size"]) == (3, 3, 7)
    assert shell


def test_a_checkpoint_can_be_checked_by_anybody(shell: World) -> None:
    result = runner.invoke(app, ["audit", "checkpoint", "--json"])
    pinned = json.loads(result.output)
    read = read_checkpoint(result.output.encode(), pinned["public_key"])
    assert read == Checkpoint(7, pinned["head"], shell.clock())
    assert "signature" in runner.invoke(app, ["audit", "checkpoint"]).output
    (shell.config.data_dir / "audit" / "checkpoint").unlink()
    assert runner.invoke(app, ["audit", "checkpoint"]).exit_code == 2


def test_only_people_read_it(world: World) -> None:
    identity.bootstrap(world)
    http = TestClient(application(world, [router]))
    token = (world.config.data_dir / "gateway.token").read_text().strip()
    for path in ("/v1/audit", "/v1/audit/verify", "/v1/audit/checkpoint"):
        assert http.get(path).status_code == 401
        assert http.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 403
