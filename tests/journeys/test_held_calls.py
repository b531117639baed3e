"""kill -9 of the gateway and of the control plane while calls wait for a person: what was approved is executed once,
what was rejected or never answered is not, whoever asks again and however often."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.processes import listening, until
from tests.sim.installation import Installation
from tests.sim.manifests import manifest
from tests.sim.tool_server import ToolServer, tool

NAMES = ("pay", "wipe", "send")


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


@pytest.mark.req("R063", "R048")
@pytest.mark.timeout(300)
def test_no_held_call_runs_twice_or_without_its_approval_whoever_is_killed(tmp_path: Path) -> None:
    with ToolServer([tool(name) for name in NAMES]) as server, Installation(tmp_path / "data") as tenure:
        grants = [{"name": f"shop/{name}", "autonomy": "approve"} for name in NAMES]
        servers = {"shop": {"url": server.url}}
        held = {"hold_timeout_s": 600}
        tenure.employ(manifest("clerk", "http://127.0.0.1:1/v1", servers=servers, tools=grants, approvals=held))
        token = tenure.instance("clerk")["token"]
        askers = [Asker(tenure, token, name) for name in NAMES for _ in range(2)]
        for asker in askers:
            asker.start()
        until(lambda: set(waiting(tenure)) == set(NAMES), "every call to wait for a person")
        for name in ("control", "gateway"):
            kill(tenure, name)
        until(lambda: set(waiting(tenure)) == set(NAMES), "every call to wait after the kills")
        assert server.calls == []
        asked = waiting(tenure)
        with tenure.client() as client:
            for name, answer in (("pay", "approve"), ("wipe", "reject")):
                word = {"decision": answer, "reason": "said once"}
                client.post(f"/v1/approvals/{asked[name]}/decision", dict[str, Any], word)
        kill(tenure, "control")
        until(lambda: server.called("pay") > 0, "the approved call to be executed")
        kill(tenure, "gateway")
        until(lambda: "pay" in waiting(tenure), "the other one who asks for the same to wait for a person again")
        for asker in askers:
            asker.enough.set()
        assert [name for name, _ in server.calls] == ["pay"]
        assert '"ok": true' in tenure.run("audit", "verify", "--json")
