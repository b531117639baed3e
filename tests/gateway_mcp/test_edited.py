"""Held calls that a person approves with other arguments: made with these, if policy lets them, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tenure.gateway.mcp.edited import META, Edit
from tenure.kernel.json import digest
from tenure.kernel.snapshot import ApprovalFact, ServerFact
from tests.gateway_mcp.test_elicitation import _until
from tests.sim import mcp_servers as sim
from tests.sim.mcp_gateway import POLICY, Site

STRICT = (
    POLICY
    + """
@id("no-strangers") @reason("Strangers get nothing.")
forbid(principal, action == Action::"call_tool", resource == Tool::"database/refund")
when { context.strings.hasTag("order_id") && context.strings.getTag("order_id") like "stranger*" };
@id("huge") @obligation("approve") @reason("Above 5000.00 it is another matter.")
forbid(principal, action == Action::"call_tool", resource == Tool::"database/refund")
unless { context.approved || (context.longs.hasTag("cents") && context.longs.getTag("cents") <= 500000) };
"""
)
Story = Callable[[Site], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path, till: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    """Plays a story on a gateway with the agent ``cashier``."""
    monkeypatch.setenv("DB_TOKEN", sim.TOKEN)

    def run(story: Story) -> None:
        async def whole() -> None:
            site = Site(tmp_path)
            site.policy(STRICT)
            await site.start()
            try:
                server = ServerFact("database", url=till[0], credential_env="DB_TOKEN")
                site.agent("cashier", [server], "database/refund", hold_timeout_s=0.3)
                await story(site)
            finally:
                await site.stop()

        uvloop.run(whole())

    return run


def _refunds(till: tuple[str, Path]) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(till[1])) as connection:
        return list(connection.execute("SELECT order_id, cents FROM refunds"))


async def _edited(site: Site, order: str, edited: dict[str, Any], mode: str = "auto") -> Any:
    """What the agent is told of a call that is held, and then approved with other arguments."""
    wanted, before = {"order_id": order, "cents": 120000}, len(site.approvals)
    async with site.client("cashier", mode) as client:
        held: Any = await client.call_tool("database__refund", wanted)
        assert "Waiting for a person" in held.content[0].text
        await _until(lambda: len(site.approvals) > before)
        site.decide(site.approvals[-1].id, "granted", edited=edited, reason="half will do")
        return await client.call_tool("database__refund", wanted)


@pytest.mark.req("R072")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_call_is_made_with_what_was_approved_and_the_agent_is_told(
    play: Callable[[Story], None], till: tuple[str, Path], mode: str
) -> None:
    async def story(site: Site) -> None:
        result = await _edited(site, f"o-{mode}", {"order_id": f"o-{mode}", "cents": 60000}, mode)
        said, answer = (one.text for one in result.content)
        assert said == (
            "op@example.com approved this call with other arguments than yours: cents 120000 -> 60000. "
            "Reason: half will do"
        )
        assert (answer, result.is_error) == (f"refunded 60000 of o-{mode}", False)
        told = result.meta[META]
        assert told["arguments"] == {"order_id": f"o-{mode}", "cents": 60000}
        assert told["changed"] == [{"path": "cents", "before": 120000, "after": 60000}]
        assert [one for one in _refunds(till) if one[0] == f"o-{mode}"] == [(f"o-{mode}", 60000)]
        asked = next(event for event in site.events if event.type == "approval.requested")
        assert asked.data["editable"] == digest({"order_id": f"o-{mode}", "cents": 120000})
        event = (await site.calls())[-1]
        assert event.data["gen_ai.tool.call.arguments"]["cents"] == 60000
        assert event.data["tenure.approval.edited"]["arguments"]["cents"] == 120000

    play(story)


@pytest.mark.req("R048", "R072")
def test_policy_decides_on_what_it_was_changed_to(play: Callable[[Story], None], till: tuple[str, Path]) -> None:
    async def story(site: Site) -> None:
        before = _refunds(till)
        denied = await _edited(site, "p1", {"order_id": "stranger-1", "cents": 60000})
        assert "Strangers get nothing" in denied.content[1].text
        other = await _edited(site, "p2", {"order_id": "p2", "cents": 900000})
        assert "huge), which nobody was asked about" in other.content[1].text.replace("large-refunds, ", "")
        misfit = await _edited(site, "p3", {"order": "p3"})
        assert "They do not fit" in misfit.content[1].text
        for one in (denied, other, misfit):
            assert one.is_error
            assert one.meta[META]["by"] == "person:op@example.com"
        assert _refunds(till) == before
        small = await _edited(site, "p4", {"order_id": "p4", "cents": 5})  # which no policy holds
        assert small.content[1].text == "refunded 5 of p4"
        assert not any(event.data["tenure.violation"] for event in await site.calls())  # nobody blames the agent

    play(story)


def test_what_changed_is_told_in_words() -> None:
    fact = ApprovalFact("a", "default", "x", "s/t", "d", "g", "claimed", "person:op@example.com", edited={"b": [1]})
    assert Edit({"a": "x" * 400}, fact).text.endswith("…; b nothing -> [1].".replace("…;", "… -> nothing;"))
