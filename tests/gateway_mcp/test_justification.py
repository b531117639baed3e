"""A policy can demand that an agent says what a call is for: it is told how, what it says is kept and shown, reaches no
tool, and persuades nobody but people (R050)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.gateway.justification import listed, parted
from tenure.kernel.snapshot import ServerFact
from tenure.kernel.values import Call, CallKind, Effect
from tenure.policy.model import compile_bundle, decide, is_violation
from tests.sim import mcp_servers as sim
from tests.sim.mcp_gateway import POLICY, Site
from tests.sim.policy import PERMIT, a_principal, an_agent

WHY = """@id("say-why") @reason("Writing files needs a reason.")
forbid (principal, action == Action::"call_tool", resource == Tool::"files/write_file") unless { context.justified };"""
HELD = """@id("ask") @obligation("approve") @reason("A person decides.")
forbid (principal, action == Action::"call_tool", resource == Tool::"files/write_file")
unless { context.approved && context.justified };"""
META: Any = {"tenure/reason": "Another note."}
MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    (tmp_path / "files").mkdir()

    def run(story: Callable[[Site], Coroutine[Any, Any, None]], *rules: str) -> None:
        async def whole() -> None:
            site = Site(tmp_path)
            await site.start()
            try:
                site.policy("\n".join((POLICY, *rules)))
                fact = ServerFact("files", command=sim.files_command(tmp_path / "files"))
                site.agent("clerk", [fact], "files/read_file files/write_file")
                await story(site)
            finally:
                await site.stop()

        uvloop.run(whole())

    return run


@MODES
@pytest.mark.req("R050")
@pytest.mark.asi("ASI10", "A dangerous call has to say what it is for, on the record, or is not made")
@pytest.mark.twin("ASI10")
def test_a_call_says_what_it_is_for_and_the_tool_does_not_hear_it(play: Callable[..., None], mode: str) -> None:
    async def story(site: Site) -> None:
        async with site.client("clerk", mode) as client:
            tools = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
            assert "_reason" in tools["files__write_file"]["required"]
            assert "_reason" not in tools["files__read_file"]["properties"]
            missing = await client.call_tool("files__write_file", {"name": "a.txt", "text": "a"})
            assert missing.is_error
            told = str(missing.content)
            assert "Writing files needs a reason" in told
            assert "`_reason`" in told
            said = await client.call_tool(
                "files__write_file", {"name": "a.txt", "text": "a", "_reason": " The clerk's daily note. "}
            )
            assert not said.is_error, said.content
            beside = await client.call_tool("files__write_file", {"name": "b.txt", "text": "b"}, meta=META)
            assert not beside.is_error, beside.content
        refused, first, second = await site.calls()
        assert (refused.type, refused.status.value) == ("call.refused", "flagged")
        assert list(refused.data["tenure.decision"]["policies"]) == ["say-why", "system/justification"]
        assert not refused.data["tenure.violation"], "to forget a reason is no misconduct"
        assert first.data["tenure.justification"] == "The clerk's daily note."
        assert first.data["gen_ai.tool.call.arguments"] == {"name": "a.txt", "text": "a"}
        assert second.data["tenure.justification"] == "Another note."

    play(story, WHY)


@pytest.mark.req("R050")
def test_who_decides_is_shown_it_and_other_words_need_no_other_approval(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        key = "AKIA" + "IOSFODNN7" + "EXAMPLQ"
        async with site.client("clerk", "legacy") as client:
            call = {"name": "a.txt", "text": "a"}
            waits = await client.call_tool("files__write_file", {**call, "_reason": f"The note, with {key}."})
            assert "Waiting for a person" in str(waits.content)
            (asked,) = [event for event in site.events if event.type == "approval.requested"]
            assert asked.data["justification"] == "The note, with [redacted:secret/aws-access-key]."
            site.decide(site.approvals[0].id, "granted")
            done = await client.call_tool("files__write_file", {**call, "_reason": "As I said."})
            assert not done.is_error, done.content
            assert len(site.approvals) == 1

    play(story, HELD)


RULES = compile_bundle([("a.cedar", PERMIT + WHY.replace("files/write_file", "shop/refund"))])


@pytest.mark.req("R050")
@given(st.text(min_size=1).filter(str.strip), st.text(min_size=1).filter(str.strip), st.booleans())
@settings(max_examples=80, deadline=None)
def test_no_words_change_a_decision(one: str, other: str, approved: bool) -> None:
    agent = an_agent()

    def decision(text: str) -> Any:
        call = Call("c", CallKind.TOOL, "shop/refund", {"amount": 1}, justification=text)
        return decide(call, a_principal(agent), agent, None, RULES, approved=approved)

    assert decision(one) == decision(other)
    assert decision(one).effect is Effect.ALLOW
    assert (decision("").effect, is_violation(decision(""))) == (Effect.DENY, False)


def test_a_reason_lifts_no_other_refusal_and_none_is_asked_for_in_vain() -> None:
    never = compile_bundle(
        [
            (
                "a.cedar",
                PERMIT
                + WHY.replace("files/write_file", "shop/refund")
                + '@id("never") forbid (principal, action, resource);',
            )
        ]
    )
    agent = an_agent()
    for text in ("", "please"):
        call = Call("c", CallKind.TOOL, "shop/refund", {}, justification=text)
        found = decide(call, a_principal(agent), agent, None, never)
        assert found.effect is Effect.DENY
        assert "system/justification" not in found.policies
        assert "_reason" not in found.reason
        assert is_violation(found)


def test_a_tool_with_a_field_of_that_name_keeps_it() -> None:
    own = {"name": "t", "inputSchema": {"type": "object", "properties": {"_reason": {"type": "integer"}}}}
    assert listed(own) == own
    assert parted({"_reason": 4}, own) == ({"_reason": 4}, "")
    plain = {"name": "t", "inputSchema": {"type": "object", "required": ["a"], "additionalProperties": False}}
    given = listed(plain)["inputSchema"]
    assert (given["required"], list(given["properties"])) == (["a", "_reason"], ["_reason"])
    assert parted({"a": 1, "_reason": " x "}, plain) == ({"a": 1}, "x")
    assert parted({"a": 1, "_reason": 7}, plain) == ({"a": 1}, "")
    assert listed({"name": "t", "inputSchema": {"properties": 3}}) == {"name": "t", "inputSchema": {"properties": 3}}
