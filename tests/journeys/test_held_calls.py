"""kill -9 of the gateway and of the control plane while calls wait for people: what was approved is executed once (and,
where it was approved with other arguments, with these), what was rejected, never answered or approved by one of two is
not, whoever asks again and however often."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.processes import listening, until
from tenure.kernel.errors import Refused
from tests.sim.installation import Installation
from tests.sim.manifests import manifest
from tests.sim.tool_server import ToolServer, tool

NAMES = ("pay", "wipe", "send")
TWO = "transfer"
"""What takes two people."""
SECOND = "ann@example.com"


class Asker(threading.Thread):
    """Calls one tool as an agent that does not give up: anew whenever its gateway is gone, or it has waited in vain."""

    def __init__(self, tenure: Installation, token: str, name: str) -> None:
        super().__init__(daemon=True)
        self.name_of_tool = name
        self.answers: list[dict[str, Any]] = []
        self.enough = threading.Event()
        self._url = f"{tenure.gateway}/mcp"
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}

    def run(self) -> None:
        """Until ``enough`` is set, or the call was executed."""
        params = {"name": f"shop__{self.name_of_tool}", "arguments": {"text": "once"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        while not self.enough.is_set():
            try:
                answer = httpx2.post(self._url, json=body, headers=self._headers, timeout=60, trust_env=False).json()
            except (httpx2.TransportError, ValueError):
                time.sleep(0.05)  # it is being started again
                continue
            self.answers.append(answer)
            if "result" in answer and not answer["result"].get("isError"):
                return
            time.sleep(0.05)


def kill(tenure: Installation, name: str) -> None:
    """SIGKILL; returns when its successor serves."""
    before, port = tenure.pid(name), tenure.control_port if name == "control" else tenure.gateway_port
    tenure.child(name).kill()
    until(lambda: tenure.pid(name) not in (0, before) and listening(port), f"another {name}")


def waiting(tenure: Installation) -> dict[str, str]:
    """The approvals that wait, by tool."""
    with tenure.client() as client:
        found = client.get("/v1/approvals", list[dict[str, Any]], state="pending")
    return {str(one["resource"]).removeprefix("shop/"): str(one["id"]) for one in found}


@contextmanager
def second_person(tenure: Installation) -> Iterator[httpx2.Client]:
    """The browser of another person who may decide."""
    with tenure.client() as client:
        client.post("/v1/people", dict[str, Any], {"email": SECOND, "roles": ["approver"]})
        code = client.post(f"/v1/people/{SECOND}/login-link", dict[str, Any])["code"]
    headers = {"x-tenure-csrf": "1"}
    with httpx2.Client(base_url=tenure.control, headers=headers, timeout=60, trust_env=False) as person:
        person.post("/v1/login", json={"code": code}).raise_for_status()
        yield person


@pytest.mark.req("R063", "R048", "R058")
@pytest.mark.timeout(300)
def test_no_held_call_runs_twice_or_without_its_approval_whoever_is_killed(tmp_path: Path) -> None:
    everything = {*NAMES, TWO}
    with ToolServer([tool(name) for name in everything]) as server, Installation(tmp_path / "data") as tenure:
        grants = [{"name": f"shop/{name}", "autonomy": "approve"} for name in NAMES]
        servers = {"shop": {"url": server.url}}
        held = {"hold_timeout_s": 600}
        tenure.employ(manifest("clerk", "http://127.0.0.1:1/v1", servers=servers, tools=grants, approvals=held))
        highest = dict.fromkeys(("data_sensitivity", "decision_authority", "blast_radius", "regulatory_exposure"), 4)
        grants = [{"name": f"shop/{TWO}", "autonomy": "approve"}]
        more = {"servers": servers, "tools": grants, "approvals": held, "risk": highest}
        tenure.employ(manifest("banker", "http://127.0.0.1:1/v1", **more))
        clerk, banker = (tenure.instance(name)["token"] for name in ("clerk", "banker"))
        askers = [Asker(tenure, clerk, name) for name in NAMES for _ in range(2)]
        askers += [Asker(tenure, banker, TWO) for _ in range(2)]
        for asker in askers:
            asker.start()
        until(lambda: set(waiting(tenure)) == everything, "every call to wait for a person")
        for name in ("control", "gateway"):
            kill(tenure, name)
        until(lambda: set(waiting(tenure)) == everything, "every call to wait after the kills")
        assert server.calls == []
        asked = waiting(tenure)
        yes: dict[str, Any] = {"decision": "approve", "reason": "said once"}
        changed = {**yes, "arguments": {"text": "half of it"}}
        with tenure.client() as client:
            for name, word in (("pay", changed), ("wipe", yes | {"decision": "reject"}), (TWO, yes)):
                client.post(f"/v1/approvals/{asked[name]}/decision", dict[str, Any], word)
        kill(tenure, "control")
        until(lambda: server.called("pay") > 0, "the approved call to be executed")
        with tenure.client() as client, second_person(tenure) as second:
            one = client.get(f"/v1/approvals/{asked[TWO]}", dict[str, Any])
            assert (one["state"], len(one["given"]), server.called(TWO)) == ("pending", 1, 0)
            with pytest.raises(Refused):  # the same person twice is one person
                client.post(f"/v1/approvals/{asked[TWO]}/decision", dict[str, Any], yes)
            assert server.called(TWO) == 0
            second.post(f"/v1/approvals/{asked[TWO]}/decision", json=yes).raise_for_status()
            until(lambda: server.called(TWO) > 0, "the call that two have approved to be executed")
        kill(tenure, "gateway")
        until(lambda: {"pay", TWO} <= set(waiting(tenure)), "the others who ask for the same to wait for people again")
        with tenure.client() as client:
            assert client.get(f"/v1/approvals/{waiting(tenure)[TWO]}", dict[str, Any])["given"] == []
        for asker in askers:
            asker.enough.set()
        assert [name for name, _ in server.calls] == ["pay", TWO]
        assert server.given == [{"text": "half of it"}, {"text": "once"}]
        told = [str(answer) for asker in askers for answer in asker.answers if "result" in answer]
        assert sum("approved this call with other arguments than yours" in one for one in told) == 1
        assert '"ok": true' in tenure.run("audit", "verify", "--json")
