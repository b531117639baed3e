"""Which policies go before which, and that whoever asks why is told."""

from __future__ import annotations

import pytest

from tenure.kernel.errors import Refused
from tenure.kernel.values import Effect
from tenure.policy.layers import Layer
from tenure.policy.model import compile_bundle
from tests.sim.policy import a_principal, an_agent, ask

PERSON = 'when { context has on_behalf_of && context.on_behalf_of == "ann@b.org" }'
NOBODY = '@id("nobody") forbid(principal, action, resource == Tool::"shop/refund");'
ANN = f'@id("ann") permit(principal, action, resource == Tool::"shop/refund") {PERSON};'


@pytest.mark.parametrize(
    ("scope", "condition", "layer"),
    [
        ("principal, action, resource", "", Layer.WORKSPACE),
        ("principal is Agent, action, resource is Tool", "", Layer.WORKSPACE),
        ('principal == Agent::"clerk", action, resource', "", Layer.WHO),
        ("principal, action, resource", PERSON, Layer.WHO),
        ("principal, action, resource", 'when { context has on_behalf_of && ["a"].contains(context.on_behalf_of) }', 1),
        ("principal, action, resource", PERSON.replace("&&", "&& true && "), Layer.WHO),
        ("principal, action, resource", PERSON.replace("&& ", "&& (true || ").replace(" }", ") }"), Layer.WORKSPACE),
        ("principal, action, resource", PERSON.replace("when", "unless"), Layer.WORKSPACE),
        ('principal, action, resource == Tool::"shop/list"', "", Layer.WHAT),
        ('principal, action, resource in Server::"shop"', "", Layer.WHAT),
        ('principal, action, resource == Model::"gpt"', PERSON, Layer.BOTH),
    ],
)
def test_the_layer_is_what_a_policy_demands(scope: str, condition: str, layer: Layer) -> None:
    text = f"permit({scope}) {condition};"
    assert compile_bundle([("f.cedar", text)]).rules[0].layer == layer


@pytest.mark.req("R073")
def test_what_is_more_exact_goes_before_and_is_named_with_what_gave_way() -> None:
    ann = a_principal(an_agent(), on_behalf_of="ann@b.org")
    decision = ask(NOBODY + ANN, principal=ann)
    assert (decision.effect, decision.over) == (Effect.ALLOW, ("nobody",))
    assert set(decision.policies) == {"tools", "ann"}
    assert "goes before nobody" in decision.reason
    assert (ask(NOBODY + ANN).effect, ask(NOBODY + ANN).over) == (Effect.DENY, ())
    final = ask(NOBODY.replace("forbid", "@final forbid") + ANN, principal=ann)
    assert (final.effect, final.policies, final.over) == (Effect.DENY, ("nobody",), ("ann",))
    assert "is final and goes before ann" in final.reason
    same = NOBODY + '@id("all") permit(principal, action, resource == Tool::"shop/refund");'
    assert ask(same).effect is Effect.DENY, "in one layer a forbid goes before a permit"


def test_duties_of_weaker_permits_stay_and_a_hold_gives_way_to_a_stronger_permit() -> None:
    redact = '@id("clean") @obligation("redact") permit(principal, action, resource);'
    held = """@id("held") @obligation("approve") forbid(principal, action, resource) unless { context.approved };"""
    decision = ask(held + redact + ANN, principal=a_principal(an_agent(), on_behalf_of="ann@b.org"))
    assert (decision.effect, decision.obligations, decision.over) == (Effect.ALLOW, ("redact",), ("held",))
    assert ask(held + redact + ANN).effect is Effect.HOLD


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("@final permit(principal, action, resource);", "@final is for a forbid"),
        ('@final("no") forbid(principal, action, resource);', "takes no value"),
    ],
)
def test_final_is_for_forbids_and_takes_no_value(rule: str, problem: str) -> None:
    with pytest.raises(Refused, match=problem):
        compile_bundle([("f.cedar", rule)])
