"""What a call cost: by the package's table, by one's own, and not at all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices import data_snapshot

from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event, Role
from tenure.telemetry import prices, service
from tenure.telemetry.prices import Prices, Usage, read_prices

CALL = Event(
    id="0" * 32,
    type="call.completed",
    time=datetime(2026, 1, 1, 12, 30, tzinfo=UTC),
    workspace="default",
    actor="agent:clerk",
    agent="clerk",
    data={
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 500,
    },
)


def with_data(**more: Any) -> Event:
    return replace(CALL, data={**CALL.data, **{f"gen_ai.{name}": value for name, value in more.items()}})


@pytest.mark.req("R091", "R207")
def test_a_call_is_priced_exactly_and_the_table_is_named() -> None:
    data = Prices().priced(CALL).data
    assert Decimal(data["tenure.cost_usd"]) == Decimal("0.002875")  # 500 at 2.50, 500 cached at 1.25, 100 at 10
    assert data["tenure.prices"].startswith("genai-prices 0.")


def test_the_model_asked_for_is_tried_when_the_one_that_answered_is_not_known() -> None:
    odd = replace(CALL, data={**CALL.data, "gen_ai.response.model": "somebody's own"})
    assert Prices().priced(odd).data["tenure.cost_usd"] == Prices().priced(CALL).data["tenure.cost_usd"]


@pytest.mark.parametrize(
    "change",
    [
        {"gen_ai.provider.name": "ollama"},
        {"gen_ai.response.model": "echo", "gen_ai.request.model": "echo"},
        {"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None},
        {"gen_ai.usage.input_tokens": "many", "gen_ai.usage.output_tokens": -3},
        {"gen_ai.usage.cache_read.input_tokens": 5000},
    ],
)
def test_what_has_no_price_gets_none(change: dict[str, Any]) -> None:
    event = replace(CALL, data={**CALL.data, **change})
    assert "tenure.cost_usd" not in Prices().priced(event).data


def test_ones_own_prices_go_first_and_change_the_version() -> None:
    own = read_prices(b'{"openai/gpt-4o-2024-08-06": {"input": "2", "output": "4", "cached": "1"}}', "own.json")
    data = own.priced(CALL).data
    assert Decimal(data["tenure.cost_usd"]) == Decimal("0.0019")
    assert data["tenure.prices"] == own.version != Prices().version


@pytest.mark.parametrize("text", [b"[]", b'{"a/b": {"input": "-1"}}', b'{"a/b": {"inputs": 1}}', b"\xff"])
def test_a_list_of_prices_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(Refused, match=r"own\.json"):
        read_prices(text, "own.json")


@pytest.fixture
def priced_world(world: World, tmp_path: Path) -> Iterator[World]:
    """A world with prices of its own."""
    path = tmp_path / "prices.json"
    path.write_text('{"openai/gpt-4o-2024-08-06": {"input": "1000", "output": "0"}}')
    changed = replace(world, config=replace(world.config, prices=str(path)))
    service.open_store(changed)
    yield changed
    service.close_store(changed)


def test_what_a_gateway_sends_is_kept_with_its_cost(priced_world: World) -> None:
    gateway = Actor("default", "gateway:local", frozenset({Role.GATEWAY}))
    event = replace(CALL, time=priced_world.clock(), trace_id="1" * 32, span_id="2" * 16)
    service.ingest(priced_world, gateway, [event])
    span = service.trace(priced_world, gateway, "1" * 32).spans[0].span
    assert Decimal(span.attributes["tenure.cost_usd"]) == 1


def test_what_is_reckoned_from_rates_is_what_the_package_says() -> None:
    draw = random.Random(4)  # noqa: S311 (no secret: the same tokens each time)
    reckoned = 0
    for provider in data_snapshot.get_snapshot().providers:
        for model in provider.models[:12]:
            input_tokens = draw.randrange(300_000)
            cached = draw.randrange(input_tokens + 1)
            written = draw.choice([0, draw.randrange(input_tokens - cached + 1)])
            spent = Usage(input_tokens, draw.randrange(20_000), cached, written)
            reckoned += prices._rates(provider.id, model.id, CALL.time) is not None
            assert prices._listed(provider.id, model.id, spent, CALL.time) == prices._calculated(
                provider.id, model.id, spent, CALL.time
            )
    assert reckoned > 100
