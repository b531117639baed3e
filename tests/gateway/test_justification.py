"""What a call is for, said on the wires that have no tools listed: a field of ``/v1/decide`` and a header (R050)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx2
import openai
import pytest

from tenure.kernel.snapshot import ServerFact, ToolFact
from tests.gateway.conftest import POLICIES
from tests.sim.gateway import agent_fact

WHY = '@id("say-why") forbid (principal, action, resource) unless { context.justified };'


@pytest.mark.req("R050")
def test_a_reason_in_a_field_or_a_header_is_kept_and_goes_no_further(house: Any) -> None:
    fact = agent_fact(house.provider.url, ("echo",), tools=(ToolFact("shop", "pay"),))
    house.control.agent(replace(fact, servers=(ServerFact("shop", in_process=True),)))
    house.control.policies((*POLICIES, ("why.cedar", WHY)))
    house.settle()
    client: openai.OpenAI = house.client()
    said: Any = [{"role": "user", "content": "hello"}]
    with pytest.raises(openai.PermissionDeniedError, match="x-tenure-reason"):
        client.chat.completions.create(model="echo", messages=said)
    header = {"x-tenure-reason": "A letter to Frau M%C3%BCller"}
    client.chat.completions.create(model="echo", messages=said, extra_headers=header)
    assert "x-tenure-reason" not in {name.lower() for name in house.provider.seen()["headers"]}

    def decided(**more: Any) -> dict[str, Any]:
        token = {"authorization": f"Bearer {house.control.token('clerk')}"}
        body = {"tool": "shop/pay", "arguments": {"to": "ann"}, **more}
        return dict(httpx2.post(f"{house.gateway.url}/v1/decide", json=body, headers=token).json())

    assert "`reason` in /v1/decide" in decided()["reason"]
    assert decided(reason=["no text"])["effect"] == "deny"
    assert decided(reason="  ")["effect"] == "deny"
    assert decided(reason="The monthly run.")["effect"] == "allow"
    refused, made = house.calls(5)[:2]
    assert "tenure.justification" not in refused["data"]
    assert made["data"]["tenure.justification"] == "A letter to Frau Müller"
