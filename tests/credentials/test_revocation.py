"""Revocation over three gateways, in processes of their own, that are busy meanwhile."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx2
import pytest

from demo.processes import until
from tenure.kernel.errors import Refused
from tests.sim.revocations import House, Load, house


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("revoke"), snapshot_max_age_s=3.0) as found:
        for name in ("clerk", "other", "runner"):
            found.employ(name)
        yield found


@contextmanager
def busy(running: House, started: dict[str, Any]) -> Iterator[Load]:
    """Calls at every gateway with the token of an instance."""
    load = Load(running.urls, started["token"])
    try:
        until(lambda: load.seen(200) == set(range(len(running.urls))), "all gateways at work")
        yield load
    finally:
        load.stop()


def ask(url: str, token: str) -> int:
    """The status of one call."""
    body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"authorization": f"Bearer {token}"}
    return httpx2.post(f"{url}/v1/chat/completions", json=body, headers=headers, trust_env=False).status_code


def start(running: House, name: str, **wish: Any) -> dict[str, Any]:
    """A new instance."""
    with running.tenure.client() as client:
        return client.post(f"/v1/agents/{name}/instances", dict[str, Any], wish)


def subject_of(running: House, kind: str, started: dict[str, Any]) -> str:
    """What names these credentials."""
    if kind == "key":
        return running.signs()
    names = {"agent": "agent", "instance": "instance", "release": "release"}
    return str(started[names[kind]]) if kind in names else {"person": "zoe@example.com", "workspace": "default"}[kind]


@pytest.mark.req("R009")
@pytest.mark.parametrize("kind", ["agent", "instance", "key", "person", "workspace", "release"])
def test_no_call_that_begins_after_the_answer_is_admitted_anywhere(running: House, kind: str) -> None:
    with running.tenure.client() as client:
        client.post("/v1/people", dict[str, Any], {"email": "zoe@example.com", "roles": ["viewer"]})
    started = start(running, "clerk", on_behalf_of="zoe@example.com")
    untouched = start(running, "other")["token"]
    with busy(running, started) as load:
        answer = running.revoke(kind, subject_of(running, kind, started))
        acknowledged = time.monotonic()
        assert answer["settled"]["complete"], answer
        assert answer["settled"]["gateways"] == 3
        until(lambda: len([one for one in load.begun_after(acknowledged) if one.gateway == 2]) > 5, "further calls")
        load.stop()
    late = load.begun_after(acknowledged)
    assert {one.status for one in late} == {401}, "a call passed after the revocation was acknowledged"
    assert load.seen(401) == {0, 1, 2}
    for url in running.urls:
        assert ask(url, untouched) == (401 if kind in ("key", "workspace") else 200)
    if kind == "release":
        with pytest.raises(Refused, match="revoked"):
            start(running, "clerk")
    else:
        assert ask(running.urls[1], start(running, "clerk")["token"]) == 200, "new credentials work"


def test_what_was_revoked_is_refused_by_the_control_plane_too_and_told_to_who_runs_it(running: House) -> None:
    started = start(running, "runner")
    headers = {"authorization": f"Bearer {started['token']}"}
    watch = f"{running.tenure.control}/v1/instances/{started['instance']}/heartbeat"
    assert httpx2.post(watch, headers=headers, trust_env=False).json()["stop"] is False
    running.revoke("instance", started["instance"])
    assert httpx2.post(watch, headers=headers, trust_env=False).status_code == 401
    with running.tenure.client() as client:
        told = client.post(f"/v1/instances/{started['instance']}/heartbeat", dict[str, Any])
        events = client.get("/v1/events", dict[str, Any], type="credentials.revoked", limit=1)["events"]
        listed = client.get("/v1/revocations", list[dict[str, Any]])
    assert told == {"stop": True, "reason": "this instance was revoked"}
    assert "credentials.revoked" in json.dumps(events)
    assert (listed[0]["kind"], listed[0]["subject"]) == ("instance", started["instance"])


def test_a_stream_is_cut_when_its_instance_is_revoked(running: House) -> None:
    started = start(running, "runner")
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "word " * 400}]}
    headers = {"authorization": f"Bearer {started['token']}"}
    pieces: list[bytes] = []
    with (
        httpx2.Client(trust_env=False, timeout=20) as http,
        http.stream("POST", f"{running.urls[1]}/v1/chat/completions", json=body, headers=headers) as answer,
        suppress(httpx2.RemoteProtocolError),
    ):
        for piece in answer.iter_raw():
            if not pieces:
                running.revoke("instance", started["instance"])
            pieces.append(piece)
    read = b"".join(pieces)
    assert b"[DONE]" not in read
    assert b"revoked" in read


def test_a_gateway_that_hangs_delays_the_answer_until_its_facts_are_dead(running: House) -> None:
    started = start(running, "runner")
    with busy(running, started) as load:
        stopped = running.further["gateway-2"].child.pid
        os.kill(stopped, signal.SIGSTOP)
        try:
            hung = time.monotonic()  # what began before may be at its upstream already
            answer = running.revoke("instance", started["instance"])
            acknowledged = time.monotonic()
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert answer["settled"]["complete"]
        assert 0 < answer["settled"]["took_ms"] <= 3_300, "never longer than facts are good for"
        until(lambda: any(one.gateway == 2 and one.ended > acknowledged for one in load.answers), "it goes on")
        until(lambda: any(one.gateway == 2 and one.status == 401 for one in load.answers), "it hears of it")
        load.stop()
    late = [one.status for one in load.begun_after(hung) if one.gateway == 2 and one.ended > acknowledged]
    assert set(late) <= {401, 503}, "what had waited in its sockets was not admitted when it woke"


def test_a_gateway_that_was_killed_delays_the_answer_and_one_that_came_back_does_not(running: House) -> None:
    running.further["gateway-1"].kill()
    first = running.revoke("instance", start(running, "runner")["instance"])["settled"]
    assert first["complete"]
    assert first["took_ms"] > 50, "nobody can know so soon that it is gone"
    back = running.gateway("gateway-1")
    until(lambda: back.health()[0] == 200, "the gateway to be back")
    second = running.revoke("instance", start(running, "runner")["instance"])["settled"]
    assert second["complete"]
    assert second["gateways"] == 3


def test_the_command_says_what_it_will_do_and_asks(running: House) -> None:
    instance = start(running, "runner")["instance"]
    words = ("revoke", "agent", "runner", "--reason", "leaked")
    told = running.tenure.run(*words, expect=2)
    assert "Every credential of agent runner dies" in told
    assert "1 running instance ends" in told or "running instances end" in told
    assert "--yes" in told
    with running.tenure.client() as client:
        assert client.post(f"/v1/instances/{instance}/heartbeat", dict[str, Any])["stop"] is False, "nothing was done"
    assert "in force after" in running.tenure.run(*words, "--yes")
    with running.tenure.client() as client:
        assert client.post(f"/v1/instances/{instance}/heartbeat", dict[str, Any])["stop"] is True
    assert "leaked" in running.tenure.run("revocations")


def test_whose_the_revoked_sessions_and_tokens_are_is_out(running: House) -> None:
    with running.tenure.client() as client:
        client.post("/v1/people", dict[str, Any], {"email": "mia@example.com", "roles": ["viewer"]})
        link = client.post("/v1/people/mia@example.com/login-link", dict[str, Any])
        spare = client.post("/v1/people/mia@example.com/login-link", dict[str, Any])
    url = running.tenure.control
    cookie = dict(httpx2.post(f"{url}/v1/login", json={"code": link["code"]}, trust_env=False).cookies)
    headers = {"cookie": f"tenure_session={cookie['tenure_session']}", "x-tenure-csrf": "1"}
    token = httpx2.post(f"{url}/v1/tokens", json={"name": "shell"}, headers=headers, trust_env=False).json()["token"]
    by_token = {"authorization": f"Bearer {token}"}

    def answers() -> list[int]:
        asked = (headers, by_token)
        return [httpx2.get(f"{url}/v1/agents", headers=one, trust_env=False).status_code for one in asked]

    assert answers() == [200, 200]
    running.revoke("person", "mia@example.com")
    assert answers() == [401, 401]
    assert httpx2.post(f"{url}/v1/login", json={"code": spare["code"]}, trust_env=False).status_code == 401
