"""``tenure approvals``, over HTTP as a person uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tenure.approvals.api import router
from tenure.approvals.cli import register
from tenure.approvals.service import request
from tenure.base.room import World
from tenure.kernel.values import Actor, Event
from tests.sim.serving import serving

app = typer.Typer()
register(app)


@app.callback()
def _main() -> None:
    """Makes the group of commands a group."""


@pytest.fixture
def run(world: World, operator: Actor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with world.begin() as tx:
        for ident in ("a1", "a2"):
            data = {
                "approval_id": ident,
                "call_id": "c1",
                "resource": "shop/refund",
                "digest": "sha256:d",
                "arguments": {"amount": 500, "note": "[bold]x"},
                "reason": "Large refunds need a person.",
                "policies": ["limit"],
            }
            request(tx, Event(ident, "approval.requested", world.clock(), "default", "agent:clerk", "clerk", data=data))
    with serving(world, operator, router) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "any")
        yield lambda *words: CliRunner().invoke(app, ["approvals", *words])


def test_list_show_approve_and_reject(run: Any) -> None:
    pending = json.loads(run("list", "--json").stdout)
    assert [item["id"] for item in pending] == ["a1", "a2"]
    assert "shop/refund" in run("list").stdout
    shown = run("show", "a1").stdout
    assert "Large refunds need a person." in shown
    assert '"[bold]x"' in shown
    assert json.loads(run("approve", "a1", "--reason", "fine", "--json").stdout)["state"] == "granted"
    assert "rejected: clerk shop/refund" in run("reject", "a2", "--reason", "no").stdout
    assert "Nothing waits." in run("list").stdout
    assert len(json.loads(run("list", "--state", "all", "--json").stdout)) == 2


def test_refusals_exit_with_2(run: Any) -> None:
    assert run("approve", "nothing").exit_code == 2
    assert run("reject", "a1").exit_code == 2
    run("approve", "a1")
    assert run("approve", "a1").exit_code == 2
