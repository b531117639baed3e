"""Which workspace a stranger means."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tenure.gateway.addressed import addressed
from tenure.gateway.http import Request
from tenure.kernel.snapshot import WorkspaceFact
from tests.sim.control import ControlSim
from tests.sim.gateway import agent_fact

NAMES = (("default", "clerk"), ("zebra", "only"), ("zebra", "clerk"))


@pytest.mark.req("R026")
def test_a_stranger_counts_for_the_workspace_that_it_means(tmp_path: Path) -> None:
    with ControlSim(tmp_path, ()) as control:
        expired = control.token("clerk", issued=time.time() - 9000, ttl_s=60)
    agents = {
        f"{place}/{name}": replace(agent_fact("http://127.0.0.1:1/v1", (), name=name), workspace=place)
        for place, name in NAMES
    }
    places = {place: WorkspaceFact(place, "v1", ()) for place in ("default", "zebra")}
    snapshot = replace(control.snapshot, agents=agents, workspaces=places)

    def means(path: str, token: str = "", **known: Any) -> str:
        request = Request("POST", path, headers={"authorization": f"Bearer {token}"} if token else {}, peer="::1")
        return addressed(request, replace(snapshot, **known), "home")

    head, _, seal = expired.split(".")
    assert means("/v1/chat/completions", expired) == "default", "this installation signed it"
    assert means("/v1/chat/completions", f"{head}.e30.{seal}") == "home"
    assert means("/v1/chat/completions", "sk-" + "g" * 40) == "home"
    assert means("/v1/chat/completions", "a.b.c") == "home"
    assert means("/a2a/only") == "zebra", "no other workspace has such an agent"
    assert means("/a2a/clerk/message:send") == "home", "two have it"
    assert means("/v1/models", workspaces={"zebra": places["zebra"]}) == "zebra", "there is no other"
    assert addressed(Request("POST", "/", peer="::1"), None, "home") == "home"
