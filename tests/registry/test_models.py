"""Models of a manifest: what the agent calls them, what stands in for them, how long they may take."""

from __future__ import annotations

from typing import Any

import pytest

from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import Concurrency, Timeouts, Upstream
from tenure.registry import service
from tenure.registry.model import behaviour, release_digest
from tenure.registry.reading import read_manifest
from tests.registry.test_apply import ANYBODY
from tests.sim.manifests import manifest

URL = "https://api.openai.com/v1"
BIG = {"provider": "openai", "name": "gpt-big", "credential_env": "OPENAI_API_KEY"}
SMALL = {"provider": "openai", "name": "gpt-small"}
CLAUDE = {"provider": "anthropic", "name": "claude"}


def _read(model: dict[str, Any], *models: dict[str, Any]) -> Any:
    return read_manifest(manifest("clerk", URL, model=model, models=list(models)))


@pytest.mark.req("R186")
def test_what_a_manifest_says_of_its_models_reaches_the_gateway(world: Any) -> None:
    fast = {
        **BIG,
        "alias": "fast",
        "fallbacks": ["gpt-small"],
        "timeouts": {"first_byte_s": 2, "total_s": 60},
        "concurrency": {"calls": 8, "queue": 4},
    }
    service.apply(world, ANYBODY, manifest("clerk", URL, model=fast, models=[SMALL]))
    with world.read() as conn:
        first, second = service.agent_facts(conn)["default/clerk"].models
    assert (first.asked, first.name, first.upstream) == ("fast", "gpt-big", Upstream(URL, "OPENAI_API_KEY"))
    assert (first.fallbacks, first.timeouts) == (("gpt-small",), Timeouts(first_byte_s=2.0, total_s=60.0))
    assert first.concurrency == Concurrency(calls=8, queue=4, wait_s=10.0)
    assert (second.asked, second.fallbacks, second.timeouts, second.concurrency) == ("gpt-small", (), Timeouts(), None)


def test_a_manifest_that_says_nothing_of_it_keeps_its_release() -> None:
    content = behaviour("default", read_manifest(manifest("clerk", "http://m.test/v1")).as_json())
    assert set(content["spec"]["model"]) == {"provider", "name", "base_url"}
    assert release_digest(content) == "sha256:498c0484b7335dfaba27e0be7a3c0edf7cb2c8089e8757497eeb92662c6483ea"


def test_one_model_of_two_providers_needs_an_alias() -> None:
    azure = {"provider": "azure", "name": "gpt-big", "base_url": "https://eu.openai.azure.com/openai/v1"}
    read = _read({**BIG, "fallbacks": ["gpt-big-eu"]}, {**azure, "alias": "gpt-big-eu"})
    assert [model.asked for model in (read.spec.model, *read.spec.models)] == ["gpt-big", "gpt-big-eu"]


def test_a_wire_can_be_other_than_the_providers() -> None:
    assert _read({**BIG, "fallbacks": ["claude"]}, {**CLAUDE, "wire": "openai"}).spec.models[0].spoken == "openai"


@pytest.mark.parametrize(
    ("model", "others", "path", "problem", "hint"),
    [
        (BIG, [BIG], "spec.models[0].name", "lists gpt-big a second time", "an alias"),
        ({**BIG, "alias": "x"}, [{**SMALL, "alias": "x"}], "spec.models[0].alias", "lists x a second time", "alias"),
        ({**BIG, "alias": "gpt-small"}, [{**SMALL, "alias": "s"}], "spec.model.alias", "also the name", "another"),
        ({**BIG, "fallbacks": ["gpt-smal"]}, [SMALL], "spec.model.fallbacks[0]", "not declared", "mean gpt-small?"),
        ({**BIG, "fallbacks": ["gpt-big"]}, [], "spec.model.fallbacks[0]", "names gpt-big a second", "remove"),
        ({**BIG, "fallbacks": ["gpt-small"] * 2}, [SMALL], "spec.model.fallbacks[1]", "a second time", "remove"),
        (
            {**BIG, "fallbacks": ["claude"]}, [CLAUDE], "spec.model.fallbacks[0]",
            "names claude, which speaks the anthropic API and not openai", "requests are not translated",
        ),
        ({**BIG, "wire": "grpc"}, [], "spec.model.wire", "is 'grpc'", "gemini"),
        ({**BIG, "timeouts": {"total_s": 0}}, [], "spec.model.timeouts.total_s", "greater than 0", ""),
        ({**BIG, "timeouts": {"total": 9}}, [], "spec.model.timeouts.total", "not known here", "mean total_s?"),
        ({**BIG, "concurrency": {}}, [], "spec.model.concurrency.calls", "is missing", "Calls at once"),
        ({**BIG, "concurrency": {"calls": 0}}, [], "spec.model.concurrency.calls", "less than 1", ""),
    ],
)  # fmt: skip
def test_models_that_cannot_be_meant_are_refused_with_their_place(
    model: dict[str, Any], others: list[dict[str, Any]], path: str, problem: str, hint: str
) -> None:
    with pytest.raises(Refused) as caught:
        _read(model, *others)
    (fault,) = caught.value.details["faults"]
    assert fault["path"] == path
    assert problem in fault["problem"]
    assert hint in fault["hint"]
