"""The page of one held call: what its decider sees, the answer, and what became of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx2
import pytest

from tenure.base.clock import system_clock
from tenure.kernel.json import digest
from tests.sim.console import Console, held
from tests.ui.conftest import until
from tests.ui.test_pages import text


def _held(console: Console, invoice: str, **more: Any) -> str:
    event = held(system_clock(), {"invoice": invoice, "amount": 7}, agent="clerk")
    console.send(replace(event, data={**event.data, **more}))
    ident = str(event.data["approval_id"])
    until(lambda: [one for one in console.client.get("/v1/approvals", list) if one["id"] == ident])
    return ident


@pytest.mark.req("R070", "R068")
def test_one_call_has_a_page_with_all_that_its_decider_must_see(console: Console, person: httpx2.Client) -> None:
    facts = {
        "justification": "The customer asked for it.",
        "on_behalf_of": "ada@example.com",
        "notes": ["amount: stands in what mail/read gave"],
        "tenure.chain": ["desk", "clerk"],
        "tenure.chain.task": "T-77",
        "tenure.risk": {"score": 88, "uncertainty": 0, "reasons": []},
    }
    ident = _held(console, "P-1", **facts)
    assert f'href="/approvals/{ident}"' in person.get("/approvals").text
    page = text(person.get(f"/approvals/{ident}"))
    for told in ("P-1", "refunds wait for a person", "refunds-need-a-person", "The customer asked for it.", "T-77"):
        assert told in page
    for told in ("ada@example.com", "stands in what mail/read gave", "desk → clerk", "Risk tier", "until"):
        assert told in page
    assert "Tenure recommends to reject it : its risk is 88 of 100" in page
    assert "Approve against the recommendation" in page
    form = {"page": "1", "decision": "approve", "reason": "known customer"}
    stranger = person.post(f"/approvals/{ident}", data=form, headers={"Sec-Fetch-Site": "cross-site"})
    assert (stranger.status_code, "cross_site_request" in stranger.text) == (403, True)
    where = person.post(f"/approvals/{ident}", data=form).headers["location"]
    assert where == f"/approvals/{ident}?done=approve"
    after = text(person.get(where))
    for told in ("Approved", "It was approved against that.", "known customer", "against the recommendation"):
        assert told in after
    assert "Approve against" not in after
    assert "against the recommendation" in text(person.get("/approvals"))
    assert person.post(f"/approvals/{ident}", data=form).status_code == 409


@pytest.mark.req("R070")
def test_whoever_cannot_approve_it_is_told_why_and_offered_nothing(console: Console, person: httpx2.Client) -> None:
    me = str(person.get("/v1/me").json()["name"]).removeprefix("person:")
    ident = _held(console, "P-2", demands=["approve:2"], on_behalf_of=me)
    page = text(person.get(f"/approvals/{ident}"))
    assert "You cannot approve it. The call is made for" in page
    assert "Waits for 2 different people" in page
    no = person.post(f"/approvals/{ident}", data={"page": "1", "decision": "approve"})
    assert no.status_code == 403
    assert person.get("/approvals/nothing").status_code == 404


@pytest.mark.req("R072")
def test_a_held_call_is_approved_with_other_arguments(console: Console, person: httpx2.Client) -> None:
    asked = {"invoice": "P-3", "amount": 7}
    ident = _held(console, "P-3", editable=digest(asked), demands=["approve:2"])
    page = person.get(f"/approvals/{ident}")
    assert "Approve it with other arguments" in page.text
    shown = {"page": "1", "digest": digest(asked), "shown": '{"invoice": "P-3", "amount": 7}', "decision": "edit"}
    broken = person.post(f"/approvals/{ident}", data={**shown, "arguments": "{"})
    assert (broken.status_code, "are no JSON" in broken.text) == (422, True)
    changed = {**shown, "arguments": '{"invoice": "P-3", "amount": 3}', "reason": "half"}
    assert person.post(f"/approvals/{ident}", data=changed).headers["location"] == f"/approvals/{ident}?done=half"
    after = text(person.get(f"/approvals/{ident}"))
    assert "What the agent asked for" in after
    assert "half" in after
    assert digest({"invoice": "P-3", "amount": 3}) in after
    assert "the agent asked for something else" in text(person.get("/approvals"))
    stale = person.post(f"/approvals/{ident}", data={"decision": "approve", "digest": digest(asked)})
    assert (stale.status_code, "another_call" in stale.text) == (409, True)
    kept = until(lambda: [one for one in console.client.get("/v1/corrections", list) if one["kind"] == "edited"])
    assert (kept[0]["before"], kept[0]["after"]["amount"], kept[0]["reason"]) == (asked, 3, "half")


@pytest.mark.req("R070")
def test_a_held_call_is_decided_with_its_exact_arguments(console: Console, person: httpx2.Client) -> None:
    console.send(held(system_clock(), {"invoice": "X-9", "amount_cents": 5}, agent="clerk"))
    entry = until(
        lambda: [one for one in console.client.get("/v1/approvals", list) if one["arguments"].get("invoice") == "X-9"]
    )[0]
    page = text(person.get("/approvals"))
    assert entry["digest"] in page
    assert "refunds-need-a-person" in page
    assert "Is governed by a test" in page
    assert person.post(f"/approvals/{entry['id']}", data={"decision": "maybe"}).status_code == 422
    form = {"decision": "reject", "reason": "paid in cash"}
    assert person.post(f"/approvals/{entry['id']}", data=form).headers["location"] == "/approvals?done=reject"
    decided = console.client.get(f"/v1/approvals/{entry['id']}", dict)
    assert (decided["state"], decided["reason"]) == ("rejected", "paid in cash")
    assert person.post(f"/approvals/{entry['id']}", data=form).status_code == 409
