"""Calls over MCP that are drafted, simulated or left to people instead of made, and made in the agent's place later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from tenure.gateway.mcp.aside import example
from tenure.kernel.budgets import LimitFact
from tenure.kernel.drafts import DraftFact
from tenure.kernel.json import JsonObject, digest
from tenure.kernel.snapshot import ServerFact
from tenure.kernel.values import Autonomy, Event, Principal
from tests.sim import mcp_servers as sim
from tests.sim.mcp_gateway import Site

Story = Callable[[Site], Coroutine[Any, Any, None]]
ANN = "person:ann@example.com"
PERMIT = '@id("granted") permit(principal, action == Action::"call_tool", resource);'


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    """Plays a story on a gateway with the agent ``clerk``, who may write and read files."""
    (tmp_path / "files").mkdir()

    def run(story: Story) -> None:
        async def whole() -> None:
            site = Site(tmp_path)
            await site.start()
            try:
                server = ServerFact("files", command=sim.files_command(tmp_path / "files"))
                site.agent("clerk", [server], "files/write_file files/read_file")
                await site.known("clerk")
                await story(site)
            finally:
                await site.stop()

        uvloop.run(whole())

    return run


def on(site: Site, **changes: Any) -> None:
    """Changes the tool that writes."""
    tools = tuple(replace(tool, **changes) if tool.name == "write_file" else tool for tool in site.fact("clerk").tools)
    site.change("clerk", tools=tools)


async def write(client: Any, name: str, text: str = "x") -> Any:
    return await client.call_tool("files__write_file", {"name": name, "text": text})


async def told(site: Site, count: int) -> list[Event]:
    """The Events of calls, once there are so many."""
    async with asyncio.timeout(60):
        while len(found := await site.calls()) < count:  # noqa: ASYNC110 (the spool has no bell)
            await asyncio.sleep(0.005)
    return found


def released(event: Event, arguments: JsonObject | None = None, ident: str = "") -> DraftFact:
    """What the control plane says of the draft that an Event tells of, when a person wants it made."""
    given = event.data["tenure.draft"]
    wanted = given["arguments"] if arguments is None else arguments
    return DraftFact(
        ident or event.id,
        "default",
        event.data["tenure.resource"],
        wanted,
        digest(wanted),
        msgspec.convert(given["principal"], Principal, strict=False),
        ANN,
        "released",
        trace_id=event.trace_id or "",
        parent=event.span_id or "",
    )


@pytest.mark.req("R062")
def test_a_draft_is_answered_as_not_done_and_made_once_when_a_person_wants_it(
    play: Callable[[Story], None], tmp_path: Path
) -> None:
    async def story(site: Site) -> None:
        on(site, mode="draft")
        async with site.client("clerk") as client:
            answer = await write(client, "a.txt", "as drafted")
            assert answer.content[0].text.startswith("Drafted, not done")
            assert not (tmp_path / "files" / "a.txt").exists()
            (tmp_path / "files" / "there.txt").write_text("seen")
            read = await client.call_tool("files__read_file", {"name": "there.txt"})
            assert "seen" in str(read.content), "what is not in draft mode is made"
        [draft, _] = await told(site, 2)
        assert (draft.type, draft.data["tenure.mode"]) == ("call.refused", "draft")
        assert draft.data["tenure.violation"] is False
        decision = draft.data["tenure.decision"]
        assert (decision["effect"], decision["obligations"]) == ("allow", ["draft-only"])
        assert "system/mode" in decision["policies"]
        assert draft.data["tenure.draft"]["digest"] == digest({"name": "a.txt", "text": "as drafted"})

        site.draft(released(draft, {"name": "a.txt", "text": "as edited"}))
        made = (await told(site, 3))[2]
        assert (tmp_path / "files" / "a.txt").read_text() == "as edited"
        assert (made.type, made.actor, made.agent) == ("call.completed", ANN, "clerk")
        assert made.data["tenure.draft.id"] == draft.id
        assert (made.trace_id, made.parent_span_id) == (draft.trace_id, draft.span_id)
        (tmp_path / "files" / "a.txt").unlink()
        for below in range(1, 5):  # facts that change make it no second time
            on(site, mode="draft", ask_below=below)
            assert len(await site.calls()) == 3
        assert not (tmp_path / "files" / "a.txt").exists()

    play(story)


@pytest.mark.req("R062", "R072")
def test_what_policy_denies_is_not_made_by_an_edit_and_nothing_is_made_that_is_not_the_digest(
    play: Callable[[Story], None], tmp_path: Path
) -> None:
    async def story(site: Site) -> None:
        site.policy(
            PERMIT + '@id("no-secrets") forbid(principal, action, resource) '
            'when { context.strings.hasTag("name") && context.strings.getTag("name") == "secret" };'
        )
        on(site, mode="draft")
        async with site.client("clerk") as client:
            await write(client, "fine")
        [draft] = await told(site, 1)
        site.draft(replace(released(draft, ident="d1"), digest="sha256:other"))
        site.draft(released(draft, {"name": "secret", "text": "x"}, "d2"))
        refused = (await told(site, 2))[1]
        assert (refused.type, refused.data["tenure.draft.id"]) == ("call.refused", "d2")
        assert refused.data["tenure.decision"]["policies"] == ["no-secrets"]
        assert "tenure.draft" not in refused.data, "it is no draft of its own"
        site.draft(released(draft, {"name": 7}, "d3"))
        misfit = (await told(site, 3))[2]
        assert (misfit.data["tenure.draft.id"], misfit.data["error.type"]) == ("d3", "invalid_arguments")
        site.policy(
            PERMIT
            + '@id("two") @obligation("approve:2") forbid(principal, action, resource) unless { context.approved };'
        )
        site.draft(released(draft, ident="d5"))
        alone = (await told(site, 4))[3]
        assert (alone.type, alone.data["tenure.draft.id"]) == ("call.refused", "d5")
        assert "approving it takes approve:2" in alone.data["tenure.decision"]["reason"]
        site.policy(PERMIT)
        site.change("clerk", credential_epoch=1)  # its credentials were revoked since
        site.draft(released(draft, ident="d4"))
        dead = (await told(site, 5))[4]
        assert dead.data["tenure.decision"]["policies"] == ["system/credential"]
        assert list((tmp_path / "files").iterdir()) == []

    play(story)


@pytest.mark.req("R060", "R062")
def test_what_only_a_person_may_do_is_handed_to_people(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        on(site, autonomy=Autonomy.HUMAN_ONLY)
        async with site.client("clerk") as client:
            answer = await write(client, "b.txt")
            assert answer.is_error
            assert "Only a person may do this" in answer.content[0].text
            assert "handed to people" in answer.content[0].text
        [offer] = await told(site, 1)
        assert (offer.data["tenure.mode"], offer.data["tenure.decision"]["effect"]) == ("offer", "deny")
        site.draft(released(offer))
        made = (await told(site, 2))[1]
        assert (made.type, made.actor) == ("call.completed", ANN)
        assert (tmp_path / "files" / "b.txt").exists()

    play(story)


@pytest.mark.req("R062")
def test_a_policy_has_calls_simulated_which_use_up_nothing(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        site.policy(PERMIT.replace("permit", '@obligation("simulate") permit'))
        site.change("clerk", limits=(LimitFact("clerk/calls", "calls", 1, "day", "agent"),))
        async with site.client("clerk") as client:
            for name in ("one", "two", "three"):
                answer = await write(client, name)
                assert answer.content[0].text.startswith("Simulated, not done")
        assert list((tmp_path / "files").iterdir()) == []
        for event in await told(site, 3):
            assert (event.type, event.data["tenure.mode"]) == ("call.refused", "simulate")
            assert "tenure.charged" not in event.data
            assert "tenure.draft" not in event.data
        on(site, reads=True)  # what changes nothing is made
        site.change("clerk", limits=())
        async with site.client("clerk") as client:
            assert "Simulated" not in str((await write(client, "four")).content)
        assert (tmp_path / "files" / "four").exists()

    play(story)


def test_the_least_object_that_a_schema_allows() -> None:
    schema = {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "minimum": 3},
            "state": {"enum": ["open", "closed"]},
            "lines": {"type": "array", "minItems": 1, "items": {"type": "string"}},
            "note": {"type": "string"},
        },
        "required": ["id", "state", "lines"],
    }
    whole = {"id": 9, "state": "open", "lines": ["x"]}
    assert example(schema) == {"id": 3, "state": "open", "lines": [""]}
    assert example({**schema, "examples": [{"id": 1}, whole]}) == whole
    strict = {"type": "object", "properties": {"a": {"pattern": "^b+$", "type": "string"}}, "required": ["a"]}
    assert example(strict) is None
    assert example({"type": "array"}) is None
    assert example({"$ref": "https://example.com/elsewhere"}) is None
