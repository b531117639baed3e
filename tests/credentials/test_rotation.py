"""Rotation under load over several gateways, and what is dead after it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.processes import until
from tenure.base import durable
from tenure.base.room import World
from tenure.credentials import flow, rotation
from tenure.identity import service as identity
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor
from tenure.registry import service as registry
from tenure.revocation import service as revocation
from tests.sim.manifests import manifest
from tests.sim.revocations import House, house


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("rotate"), gateways=2) as found:
        found.employ("clerk")
        yield found


@pytest.mark.req("R174")
def test_the_drill_rotates_everything_under_load_and_no_call_fails(running: House, tmp_path: Path) -> None:
    words = ("drill", "rotation", "--agent", "clerk", "--model", "echo", "--seconds", "6", "--every", "2")
    told = running.tenure.run(*words, "--out", str(tmp_path))
    (path,) = tmp_path.glob("drill-rotation-*.json")
    evidence = json.loads(path.read_text())
    assert (evidence["failed"], evidence["failures"], evidence["stopped_early"]) == (0, {}, []), told
    assert evidence["calls"] > 20
    kids = [one["kid"] for one in evidence["rotations"] if one["what"] == "keys"]
    assert len(set(kids)) == len(kids) >= 2
    assert evidence["tokens_taken"] >= 2
    jwks = httpx2.get(f"{running.tenure.control}/.well-known/jwks.json", trust_env=False).json()["keys"]
    assert {*kids} <= {key["kid"] for key in jwks}, "tokens of replaced keys are believed until they have expired"


@pytest.mark.req("R174")
def test_the_old_credential_is_good_in_the_overlap_and_dead_after_it(running: House) -> None:
    started = running.tenure.instance("clerk")
    headers = {"authorization": f"Bearer {started['token']}"}

    def ask(url: str) -> int:
        return httpx2.get(f"{url}/v1/models", headers=headers, trust_env=False).status_code

    with running.tenure.client() as client:
        client.post("/v1/agents/clerk/credentials/rotate", dict[str, Any], {"overlap_s": 2})
        assert [ask(url) for url in running.urls] == [200, 200]
        newer = client.post(f"/v1/instances/{started['instance']}/token", dict[str, Any])
        until(lambda: [ask(url) for url in running.urls] == [401, 401], "the overlap to be over", 20)
        headers["authorization"] = f"Bearer {newer['token']}"
        assert [ask(url) for url in running.urls] == [200, 200], "the newer one is good"


def test_what_is_old_enough_is_replaced_on_schedule(world: World, clock: Any, operator: Actor) -> None:
    identity.bootstrap(world)
    registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:1/v1"))
    with world.read() as conn:
        before = set(identity.public_keys(conn))
    assert durable.run_due(world, flow.SCHEDULE, "a test") == 0
    clock.advance(721 * 3600)
    durable.run_due(world, flow.SCHEDULE, "a test")
    with world.read() as conn:
        after = set(identity.public_keys(conn))
    assert len(after - before) == 1


def test_the_end_of_an_overlap_is_told_once(world: World, clock: Any, operator: Actor) -> None:
    identity.bootstrap(world)
    registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:1/v1"))
    rotation.rotate_agent(world, operator, "clerk", overlap_s=60)
    assert durable.run_due(world, flow.OVERLAPS, "a test") == 0
    clock.advance(61)
    assert durable.run_due(world, flow.OVERLAPS, "a test") == 1
    assert durable.run_due(world, flow.OVERLAPS, "a test") == 0
    with world.read() as conn:
        facts = revocation.facts(conn, world.clock(), ["default"], "default")
    assert set(facts["default"].agents) == {"clerk"}
    with pytest.raises(Refused, match="overlap"):
        rotation.rotate_agent(world, operator, "clerk", overlap_s=0)
