"""Held calls: they wait for a person, a retry picks them up, and an approval covers one exact call once."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import openai
import pytest

HELLO: Any = [{"role": "user", "content": "a letter to send"}]
NOT_NOW = {"Prefer": "wait=0"}


def ask(client: openai.OpenAI, text: str = "a letter to send", **more: Any) -> str:
    answer = client.chat.completions.create(model="held", messages=[{"role": "user", "content": text}], **more)
    return answer.choices[0].message.content or ""


def requested(house: Any, count: int = 1) -> list[dict[str, Any]]:
    def found(_events: Any) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = house.control.of_type("approval.requested")
        return asked if len(asked) >= count else []

    result: list[dict[str, Any]] = house.control.wait(found)
    return result


def test_a_held_call_goes_on_when_a_person_approves_it(house: Any) -> None:
    before = house.provider.seen()["models"].get("held", 0)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, house.client())
        data = requested(house)[0]["data"]
        assert (data["resource"], data["policies"]) == ("held", ["ask-first"])
        time.sleep(0.2)
        assert not waiting.done()
        assert house.provider.seen()["models"].get("held", 0) == before
        begun = time.monotonic()
        house.control.approval(data["approval_id"], "granted", decided_by="person:ann@example.com")
        assert waiting.result(60) == "You said: a letter to send"
        assert time.monotonic() - begun < 1.0
    event = house.calls()[0]
    assert (event["status"], event["data"]["tenure.approval.id"]) == ("flagged", data["approval_id"])
    claim = house.control.of_type("approval.claimed")[0]["data"]
    assert (claim["approval_id"], claim["claim"]) == (data["approval_id"], event["data"]["tenure.call.id"])
    assert data["tenure.chain"] == claim["tenure.chain"] == event["data"]["tenure.chain"] == ["clerk"]


@pytest.mark.asi("ASI02", "An approval is of one call with its exact arguments, once")
def test_an_approval_is_used_once_and_a_changed_argument_needs_another(house: Any) -> None:
    client = house.client()
    with pytest.raises(openai.ConflictError) as caught:
        ask(client, extra_headers=NOT_NOW)
    body: Any = caught.value.body
    assert caught.value.response.headers["retry-after"]
    assert body["approval_id"] == requested(house)[0]["data"]["approval_id"]
    house.settle()
    house.control.approval(body["approval_id"], "granted")
    house.settle()
    with pytest.raises(openai.ConflictError):
        ask(client, "another letter to send", extra_headers=NOT_NOW)
    assert ask(client, extra_headers=NOT_NOW) == "You said: a letter to send"
    with pytest.raises(openai.ConflictError):
        ask(client, extra_headers=NOT_NOW)
    assert len({event["data"]["approval_id"] for event in requested(house, 3)}) == 3


def test_the_sdk_itself_retries_and_picks_the_pending_approval_up(house: Any) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, house.client(retries=5), extra_headers=NOT_NOW)
        approval_id = requested(house)[0]["data"]["approval_id"]
        time.sleep(0.3)
        house.control.approval(approval_id, "granted")
        assert waiting.result(60) == "You said: a letter to send"
    assert len(house.control.of_type("approval.requested")) == 1
    statuses = [(event["type"], event["status"]) for event in house.calls(2)]
    assert statuses == [("call.refused", "flagged"), ("call.completed", "flagged")]


def test_equal_calls_at_once_join_one_request_and_only_one_uses_it(house: Any) -> None:
    house.publish(hold_timeout_s=2.0)
    before = house.provider.seen()["models"].get("held", 0)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(ask, house.client()) for _ in range(8)]
        approval_id = requested(house)[0]["data"]["approval_id"]
        time.sleep(0.3)
        assert len(house.control.of_type("approval.requested")) == 1
        house.control.approval(approval_id, "granted")
        errors = [future.exception(20) for future in waiting]
    assert errors.count(None) == 1
    assert all(isinstance(error, openai.ConflictError) for error in errors if error)
    assert house.provider.seen()["models"]["held"] == before + 1


def test_a_rejected_call_is_denied_with_the_persons_words_and_does_not_trip_the_breaker(house: Any) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, house.client())
        approval_id = requested(house)[0]["data"]["approval_id"]
        house.control.approval(approval_id, "rejected", decided_by="person:ann@example.com", reason="not this one")
        with pytest.raises(openai.PermissionDeniedError, match="not this one"):
            waiting.result(60)
    with pytest.raises(openai.PermissionDeniedError, match="not this one"):  # the retry need not ask again
        ask(house.client())
    assert [event["data"]["tenure.violation"] for event in house.calls(2)] == [False, False]


def test_an_agent_suspended_while_it_waits_is_refused(house: Any) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, house.client())
        requested(house)
        house.control.change(agents={})
        with pytest.raises(openai.PermissionDeniedError, match="No agent clerk"):
            waiting.result(60)


def test_an_approval_carries_over_to_policies_that_hold_the_call_the_same_way(house: Any) -> None:
    with pytest.raises(openai.ConflictError):
        ask(house.client(), extra_headers=NOT_NOW)
    (first,) = requested(house)
    files = house.control.snapshot.workspaces["default"].policies
    more = '@id("else") permit (principal == Agent::"other", action, resource);\n'
    house.control.policies((*files, ("z.cedar", more)))
    house.settle()
    with pytest.raises(openai.ConflictError):
        ask(house.client(), extra_headers=NOT_NOW)
    assert len(requested(house)) == 1  # what waits goes on waiting: nobody is asked twice
    house.control.approval(first["data"]["approval_id"], "granted")
    house.settle()
    with pytest.raises(openai.ConflictError):
        ask(house.client(), "another letter to send", extra_headers=NOT_NOW)  # still for exactly one call
    assert ask(house.client(), extra_headers=NOT_NOW) == "You said: a letter to send"
    with pytest.raises(openai.ConflictError):
        ask(house.client(), extra_headers=NOT_NOW)  # and still for one use
    done = [event for event in house.calls(4) if event["type"] == "call.completed"]
    assert done[0]["policy_version"] != first["policy_version"]


ANOTHER = """@id("another") @obligation("approve")
forbid (principal, action, resource == Model::"held") unless { context.approved };
@id("ask-first")"""


def test_what_is_held_otherwise_is_asked_again(house: Any) -> None:
    files = house.control.snapshot.workspaces["default"].policies
    granted: list[str] = []
    for before, after in (
        ("", ""),
        ("a person's word", "two persons' word"),
        ('@obligation("approve")', '@obligation("approve:operator")'),
        ('@id("ask-first")', '@id("ask-before")'),
        ('@id("ask-first")', ANOTHER),
    ):
        changed = [(name, text.replace(before, after, 1) if name == "tests.cedar" else text) for name, text in files]
        house.control.policies(tuple(changed))
        house.settle()
        with pytest.raises(openai.ConflictError):
            ask(house.client(), extra_headers=NOT_NOW)
        asked = requested(house, len(granted) + 1)[-1]["data"]["approval_id"]
        assert asked not in granted  # whatever was approved was approved as it was held
        house.control.approval(asked, "granted")
        granted.append(asked)
    assert requested(house)[2]["data"]["demands"] == ["approve:operator"]
    clerk = replace(house.control.snapshot.agents["default/clerk"], risk_tier=4)
    house.control.agent(clerk)
    house.settle()
    with pytest.raises(openai.ConflictError):
        ask(house.client(), "a letter of weight", extra_headers=NOT_NOW)
    assert requested(house, 6)[-1]["data"]["demands"] == ["approve:2"]


def test_an_approval_of_another_release_is_not_used(house: Any) -> None:
    with pytest.raises(openai.ConflictError):
        ask(house.client(), extra_headers=NOT_NOW)
    house.control.approval(requested(house)[0]["data"]["approval_id"], "granted")
    house.settle()
    with pytest.raises(openai.ConflictError):
        ask(house.client(release="sha256:r2"), extra_headers=NOT_NOW)


def test_a_hold_with_the_control_plane_gone_ends_in_a_refusal(build: Callable[..., Any]) -> None:
    house = build(max_age_s=1.0)
    house.control.intake_status = 503
    house.control.beating = False
    with pytest.raises(openai.InternalServerError) as caught:
        ask(house.client())
    assert caught.value.status_code == 503
