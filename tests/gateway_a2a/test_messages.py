"""Messages and tasks between two agents on the a2a-sdk, through the gateway, in both bindings."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from a2a.client import Client
from a2a.helpers import get_stream_response_text
from a2a.types import (
    CancelTaskRequest,
    GetExtendedAgentCardRequest,
    GetTaskRequest,
    ListTasksRequest,
    SubscribeToTaskRequest,
    TaskState,
)
from a2a.utils.errors import InvalidParamsError, TaskNotFoundError

from tests.gateway_a2a.conftest import House, message

BINDINGS = pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])


@pytest.mark.req("R184")
@pytest.mark.req("R185")
@BINDINGS
@pytest.mark.twin("ASI06")
def test_a_message_is_answered_and_recorded(house: House, binding: str) -> None:
    assert house.say("echo hello", binding=binding) == "hello"
    [event] = house.calls()
    data = event["data"]
    assert (event["type"], event["agent"], data["tenure.kind"]) == ("call.completed", "asker", "agent")
    assert (data["tenure.resource"], data["a2a.method"], data["a2a.binding"]) == ("helper", "message/send", binding)
    assert data["gen_ai.input.messages"] == [{"role": "user", "parts": [{"type": "text", "content": "echo hello"}]}]
    assert data["gen_ai.output.messages"] == [{"role": "assistant", "parts": [{"type": "text", "content": "hello"}]}]
    got = house.agents["helper"].seen()["headers"]
    assert "authorization" not in got  # the agent's credential stays here
    assert got["traceparent"].split("-")[1:3] == [event["trace_id"], event["span_id"]]


@pytest.mark.req("R185")
@BINDINGS
def test_a_stream_arrives_event_by_event(house: House, binding: str) -> None:
    async def doing(client: Client, _: httpx.AsyncClient) -> list[Any]:
        return [event async for event in client.send_message(message("count 3"))]

    events = house.run(doing, binding=binding, streaming=True)
    assert "".join(get_stream_response_text(event) for event in events if event.HasField("artifact_update")) == "0 1 2 "
    ids = {e.artifact_update.task_id for e in events if e.HasField("artifact_update")} | {events[0].task.id}
    assert len(ids) == 1
    assert "." in events[0].task.id  # the gateway's mark on it
    [event] = house.calls()
    data = event["data"]
    assert (data["a2a.method"], data["a2a.task.state"], data["a2a.task.id"]) == ("message/stream", "completed", *ids)
    said = data["gen_ai.output.messages"][0]["parts"]
    assert [part["content"] for part in said] == ["0 ", "1 ", "2 "]
    assert data["gen_ai.response.time_to_first_chunk"] > 0


@pytest.mark.req("R185")
@BINDINGS
def test_the_life_of_a_task(house: House, binding: str) -> None:
    async def doing(client: Client, _: httpx.AsyncClient) -> list[Any]:
        stream = client.send_message(message("wait"))
        first = await anext(aiter(stream))
        task = first.task
        found = await client.get_task(GetTaskRequest(id=task.id))
        listed = await client.list_tasks(ListTasksRequest(context_id=task.context_id))
        told = client.subscribe(SubscribeToTaskRequest(id=task.id))
        joined = await anext(aiter(told))
        cancelled = await client.cancel_task(CancelTaskRequest(id=task.id))
        rest = [event async for event in stream]
        return [task, found, listed, joined, cancelled, rest]

    task, found, listed, joined, cancelled, rest = house.run(doing, binding=binding, streaming=True)
    assert found.id == task.id
    assert found.context_id == task.context_id
    assert [one.id for one in listed.tasks] == [task.id]
    assert joined.task.id == task.id
    assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
    assert rest[-1].status_update.status.state == TaskState.TASK_STATE_CANCELED
    methods = {event["data"]["a2a.method"] for event in house.calls(5)}
    assert methods == {"message/stream", "tasks/get", "tasks/list", "tasks/resubscribe", "tasks/cancel"}


@BINDINGS
def test_a_task_belongs_to_the_agent_that_created_it(house: House, binding: str) -> None:
    house.publish("third", *house.control.snapshot.agents["default/asker"].agents)

    async def create(client: Client, _: httpx.AsyncClient) -> Any:
        return [event async for event in client.send_message(message("task mine"))][-1].task

    task = house.run(create, binding=binding)

    async def steal(client: Client, _: httpx.AsyncClient) -> None:
        for ident in (task.id, task.id.rpartition(".")[0]):  # with the mark of another, and without one
            for request in (
                client.get_task(GetTaskRequest(id=ident)),
                client.cancel_task(CancelTaskRequest(id=ident)),
                anext(aiter(client.subscribe(SubscribeToTaskRequest(id=ident)))),
            ):
                with pytest.raises(TaskNotFoundError):
                    await request
        more = message("echo and now")
        more.message.task_id = task.id
        with pytest.raises(TaskNotFoundError):
            [event async for event in client.send_message(more)]
        listed = await client.list_tasks(ListTasksRequest(context_id=task.context_id))
        assert list(listed.tasks) == []
        with pytest.raises(InvalidParamsError, match="one context at a time"):
            await client.list_tasks(ListTasksRequest())

    before = house.agents["helper"].seen()["requests"]
    house.run(steal, binding=binding, agent="third", streaming=True)
    assert house.agents["helper"].seen()["requests"] == before + 1  # the list, of a context of its own


def test_a_task_goes_on_in_its_context_and_a_context_of_ones_own_keeps_its_name(house: House) -> None:
    async def doing(client: Client, _: httpx.AsyncClient) -> list[Any]:
        first = message("task one")
        first.message.context_id = "mine"
        one = [event async for event in client.send_message(first)][-1].task
        second = message("task two")
        two = [event async for event in client.send_message(second)][-1].task
        third = message("task three")
        third.message.context_id = two.context_id
        three = [event async for event in client.send_message(third)][-1].task
        return [one, two, three]

    one, two, three = house.run(doing)
    assert one.context_id == "mine"
    assert two.context_id == three.context_id


@BINDINGS
def test_the_longer_card_leads_to_the_gateway(house: House, binding: str) -> None:
    async def doing(client: Client, _: httpx.AsyncClient) -> Any:
        return await client.get_extended_agent_card(GetExtendedAgentCardRequest())

    card = house.run(doing, binding=binding)
    assert card.description == "More, for those who call"
    assert {interface.url for interface in card.supported_interfaces} == {f"{house.gateway.url}/a2a/helper"}


def test_a_client_that_hangs_up_ends_the_stream_upstream(house: House) -> None:
    async def doing(client: Client, _: httpx.AsyncClient) -> None:
        stream = client.send_message(message("wait"))
        await anext(aiter(stream))

    house.run(doing, streaming=True)
    [event] = house.calls()
    assert event["data"]["error.type"] == "client_disconnected"
    house.ended("helper")


def test_what_can_be_called_is_listed(house: House) -> None:
    async def doing() -> list[Any]:
        async with house.http() as http:
            known = (await http.get("/a2a")).json()
            missing = await http.get("/a2a/third/.well-known/agent-card.json")
            bare = await http.get("/a2a/helper/.well-known/agent-card.json", headers={"authorization": ""})
            return [known, missing.status_code, missing.json()["error"]["message"], bare.status_code]

    known, missing, why, bare = asyncio.run(doing())
    assert [row["name"] for row in known["agents"]] == ["helper"]
    assert known["agents"][0]["card"] == f"{house.gateway.url}/a2a/helper/.well-known/agent-card.json"
    assert missing == 404
    assert "There are: helper." in why
    assert bare == 401
