"""``tenure login-link``, ``people``, ``tokens`` and ``keys``, over a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from tenure.base.room import World
from tenure.identity import cli, logins, service
from tenure.identity.room import ROOM
from tests.sim.served import served

app = typer.Typer()
cli.register(app)
runner = CliRunner()


@pytest.fixture
def shell(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A shell whose commands talk to a server of ``world``."""
    service.bootstrap(world)
    with served(world, [r for r in (ROOM.router,) if r]) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", (world.config.data_dir / "operator.token").read_text().strip())
        yield world


def run(*words: str, status: int = 0) -> str:
    result = runner.invoke(app, list(words))
    assert result.exit_code == status, result.output
    return result.output


def test_a_login_link_logs_in(shell: World) -> None:
    url = run("login-link").strip()
    assert url.startswith(f"{shell.config.control_url}/login?code=")
    session = logins.login(shell, url.partition("code=")[2], logins.Visitor("x"))
    assert session.actor.name == "person:operator@localhost"
    assert json.loads(run("login-link", "--email", "operator@localhost", "--json"))["email"] == "operator@localhost"
    run("login-link", "--email", "nobody@example.com", status=2)


def test_people_are_added_and_listed(shell: World) -> None:
    assert "ann@example.com is approver, viewer" in run(
        "people", "add", "ann@example.com", "--role", "viewer", "--role", "approver"
    )
    assert "ann@example.com" in run("people", "list")
    assert len(json.loads(run("people", "list", "--json"))) == 2
    run("people", "add", "ann@example.com", "--role", "system", status=2)
    assert shell


def test_tokens_and_keys(shell: World) -> None:
    token = run("tokens", "create", "ci").strip()
    assert service.authenticate(shell, f"Bearer {token}", None)
    (made,) = [entry for entry in json.loads(run("tokens", "list", "--json")) if entry["name"] == "ci"]
    assert "ci" in run("tokens", "list")
    run("tokens", "revoke", made["id"])
    assert service.authenticate(shell, f"Bearer {token}", None) is None
    run("tokens", "revoke", made["id"], status=2)
    run("keys", "rotate", status=2)
    made = json.loads(run("keys", "rotate", "--yes", "--json"))
    assert made["kid"] in run("keys", "list")
    assert f"key {made['kid']} signs from" in run("keys", "rotate", "--yes"), "the same one, whose turn comes"
