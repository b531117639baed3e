"""Push notifications: through the gateway, sealed, decided, recorded, and only to where a manifest says."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from a2a.client import Client
from a2a.types import (
    AuthenticationInfo,
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    ListTaskPushNotificationConfigsRequest,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import InvalidParamsError

from tenure.kernel.snapshot import PeerGrant
from tests.gateway_a2a.conftest import House, message

BINDINGS = pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])


class Webhook:
    """Where an agent takes notifications."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], dict[str, Any]]] = []
        self._arrived = threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()
                with outer._arrived:
                    outer.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                    outer._arrived.notify_all()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook?who=asker"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, state: str) -> tuple[dict[str, str], dict[str, Any]]:
        """The first notification of that state."""

        def found() -> list[Any]:
            return [one for one in self.got if one[1].get("statusUpdate", {}).get("status", {}).get("state") == state]

        with self._arrived:
            assert self._arrived.wait_for(found, 15), self.got
            first: tuple[dict[str, str], dict[str, Any]] = found()[0]
            return first


@pytest.fixture
def hook(house: House) -> Iterator[Webhook]:
    webhook = Webhook()
    house.publish("asker", PeerGrant("helper"), callbacks=(f"127.0.0.1:{webhook.port}",))
    yield webhook
    webhook.server.shutdown()
    webhook.server.server_close()


def with_config(text: str, url: str) -> Any:
    request = message(text)
    request.configuration.task_push_notification_config.CopyFrom(
        TaskPushNotificationConfig(
            url=url, token="the-agents-own", authentication=AuthenticationInfo(scheme="Bearer", credentials="my-secret")
        )
    )
    return request


@BINDINGS
@pytest.mark.twin("ASI07")
def test_a_notification_reaches_the_agent_through_the_gateway(house: House, hook: Webhook, binding: str) -> None:
    async def doing(client: Client, _: httpx.AsyncClient) -> Any:
        events = [event async for event in client.send_message(with_config("task tell me", hook.url))]
        return events[-1].task

    task = house.run(doing, binding=binding)
    headers, body = hook.wait("TASK_STATE_COMPLETED")
    assert body["statusUpdate"]["taskId"] == task.id  # as the agent knows it
    assert headers["x-a2a-notification-token"] == "the-agents-own"
    assert headers["authorization"] == "Bearer my-secret"

    def told(method: str) -> Any:
        def found(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [e for e in events if e["time"] >= house.since and e["data"].get("a2a.method") == method]

        return found

    def completed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [e for e in told("notification")(events) if e["data"].get("a2a.task.state") == "completed"]

    event = house.control.wait(completed)[0]
    first = house.control.wait(told("message/send"))[0]  # its stream may end after the notification came
    assert (event["agent"], event["data"]["tenure.resource"]) == ("asker", "helper")
    assert (event["trace_id"], event["parent_span_id"]) == (first["trace_id"], first["span_id"])
    assert "my-secret" not in json.dumps([event, first])


@BINDINGS
def test_configs_are_set_got_listed_and_deleted_as_the_agent_knows_them(
    house: House, hook: Webhook, binding: str
) -> None:
    async def doing(client: Client, _: httpx.AsyncClient) -> list[Any]:
        stream = client.send_message(message("wait"))
        task = (await anext(aiter(stream))).task
        made = await client.create_task_push_notification_config(
            TaskPushNotificationConfig(task_id=task.id, id="c1", url=hook.url, token="t")
        )
        got = await client.get_task_push_notification_config(
            GetTaskPushNotificationConfigRequest(task_id=task.id, id="c1")
        )
        listed = await client.list_task_push_notification_configs(
            ListTaskPushNotificationConfigsRequest(task_id=task.id)
        )
        await client.delete_task_push_notification_config(
            DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="c1")
        )
        left = await client.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task.id))
        return [task, made, got, listed.configs[0], list(left.configs)]

    task, made, got, listed, left = house.run(doing, binding=binding, streaming=True)
    for config in (made, got, listed):
        assert (config.task_id, config.id, config.url, config.token) == (task.id, "c1", hook.url, "t")
    assert left == []


def test_an_address_that_no_manifest_names_is_refused(house: House, hook: Webhook) -> None:
    async def doing(client: Client, _: httpx.AsyncClient) -> None:
        for url in (
            "http://169.254.169.254/latest",
            f"http://localhost:{hook.port}/",
            f"http://127.0.0.1:{hook.port + 1}/",
            f"http://127.0.0.1:{hook.port}@evil.example/",
            f"ftp://127.0.0.1:{hook.port}/",
            "http://[::1",
            "",
        ):
            with pytest.raises(InvalidParamsError, match="Notifications cannot be sent"):
                [event async for event in client.send_message(with_config("task x", url))]

    before = house.agents["helper"].seen()["requests"]
    house.run(doing)
    assert house.agents["helper"].seen()["requests"] == before


@pytest.mark.asi("ASI07", "Notifications are taken from the peer that was asked, and from nobody else")
def test_nobody_else_can_notify_and_a_dead_credential_is_told_nothing(house: House, hook: Webhook) -> None:
    house.publish("third", PeerGrant("helper"), callbacks=(f"127.0.0.1:{hook.port}",))

    async def doing(client: Client, http: httpx.AsyncClient) -> list[tuple[int, str]]:
        stream = client.send_message(with_config("wait", hook.url))
        await anext(aiter(stream))
        headers, body = hook.got[0] if hook.got else hook.wait("TASK_STATE_WORKING")
        assert headers
        # The peer's own view of the config: the sealed address and its token.
        raw = await http.post(f"{house.agents['helper'].url}/", json=_list(body), headers={"authorization": ""})
        config = raw.json()["result"]["configs"][0]
        assert "127.0.0.1:" + str(hook.port) not in config["url"]
        assert "my-secret" not in raw.text
        token = {"x-a2a-notification-token": config["token"]}
        out = []
        for url, sent in (
            (config["url"], {}),
            (config["url"], {"x-a2a-notification-token": "guess"}),
            (config["url"].replace("/a2a/helper/", "/a2a/third/"), token),
            (config["url"][:-4] + "AAAA", token),
        ):
            answer = await http.post(url, json={"task": {"id": "t"}}, headers={**sent, "authorization": ""})
            out.append((answer.status_code, answer.text))
        fact = house.control.snapshot.agents["default/asker"]
        house.control.agent(replace(fact, credential_epoch=2))
        house.settle()
        late = await http.post(config["url"], json={"task": {"id": "t"}}, headers={**token, "authorization": ""})
        out.append((late.status_code, late.text))
        return out

    *wrong, late = house.run(doing, streaming=True)
    assert [status for status, _ in wrong] == [404] * 4
    assert (late[0], "revoked" in late[1]) == (403, True)


def _list(body: dict[str, Any]) -> dict[str, Any]:
    """A request to the peer itself, for the configs of the task that a notification was about."""
    update = body.get("statusUpdate") or body.get("artifactUpdate") or {}
    task = update.get("taskId") or body["task"]["id"]
    params = {"taskId": task.rpartition(".")[0]}
    return {"jsonrpc": "2.0", "id": 1, "method": "ListTaskPushNotificationConfigs", "params": params}
