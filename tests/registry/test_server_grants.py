"""What a manifest grants of a server besides tools, and the names that the agent sees."""

from __future__ import annotations

from typing import Any

import pytest

from tenure.kernel.errors import Refused
from tenure.registry.manifest import manifest_schema
from tenure.registry.reading import read_manifest
from tests.sim.manifests import manifest


def _read(servers: dict[str, Any], *tools: str) -> Any:
    return read_manifest(
        manifest("clerk", "http://m.test/v1", servers=servers, tools=[{"name": tool} for tool in tools])
    )


def _faults(servers: dict[str, Any], *tools: str) -> list[str]:
    with pytest.raises(Refused) as caught:
        _read(servers, *tools)
    return [f"{fault['path']} {fault['problem']}" for fault in caught.value.details["faults"]]


@pytest.mark.req("R045")
def test_names_that_would_meet_are_refused_when_the_manifest_is_applied() -> None:
    crm, erp = {"url": "http://crm.test/mcp", "prefix": ""}, {"url": "http://erp.test/mcp", "prefix": ""}
    assert _read({"crm": crm, "erp": erp}, "crm/search", "erp/find").spec.servers["crm"].prefix == ""
    (fault,) = _faults({"crm": crm, "erp": erp}, "crm/search", "erp/search")
    assert fault == "spec.tools[1].name would be seen as search, as crm/search is"
    (fault,) = _faults({"crm": crm, "erp": {"url": "http://erp.test/mcp"}}, "crm/erp__search", "erp/search")
    assert "would be seen as erp__search" in fault
    prompts = {"crm": {**crm, "prompts": ["help"]}, "erp": {**erp, "prompts": ["help"]}}
    assert "would be seen as help" in _faults(prompts)[0]


@pytest.mark.parametrize(
    ("server", "told"),
    [
        ({"prefix": "a b"}, "must be at most 32 letters"),
        ({"resources": ["a://b", "a://b"]}, "lists a://b a second time"),
        ({"prompts": ["p", "p"]}, "lists p a second time"),
        ({"asks": ["money"]}, "money"),
    ],
)
def test_grants_that_cannot_be_meant_are_told(server: dict[str, Any], told: str) -> None:
    assert told in _faults({"crm": {"url": "http://crm.test/mcp", **server}})[0]


def test_what_is_not_granted_is_nothing() -> None:
    read = _read({"crm": {"url": "http://crm.test/mcp"}}).spec.servers["crm"]
    assert (read.prefix, read.resources, read.prompts, read.asks) == (None, [], [], [])
    assert {"prefix", "resources", "prompts", "asks"} <= set(manifest_schema()["$defs"]["Server"]["properties"])


def test_a_sandbox_is_for_a_command() -> None:
    read = _read({"crm": {"command": ["crm"], "sandbox": {"network": False, "write": ["out"]}}}).spec.servers["crm"]
    assert (read.sandbox.network, read.sandbox.write) == (False, ["out"])
    (fault,) = _faults({"crm": {"url": "http://crm.test/mcp", "sandbox": {"network": False}}})
    assert fault == "spec.servers.crm.sandbox means nothing for a url"


def test_what_is_not_said_of_a_server_is_not_in_its_manifest() -> None:
    manifest_of = _read({"crm": {"command": ["crm"]}}).as_json()
    assert not {"sandbox", "shared"} & set(manifest_of["spec"]["servers"]["crm"])
    assert _read({"crm": {"command": ["crm"], "shared": False}}).as_json()["spec"]["servers"]["crm"]["shared"] is False
