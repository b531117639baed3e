"""Allow, deny, hold; the system rules; and that nothing unclear is ever allowed."""

from __future__ import annotations

from typing import Any

import cedarpy
import pytest

from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import BreakerFact
from tenure.kernel.values import Autonomy, Call, CallKind, Effect, LifecycleState
from tenure.policy import model, system
from tenure.policy.model import SYSTEM_RULES, compile_bundle, decide, is_violation
from tests.sim.policy import PERMIT, a_principal, an_agent, ask, with_autonomy

LIMIT = """
@id("limit") @obligation("approve") @reason("Refunds above 100 need a person.")
forbid(principal, action == Action::"call_tool", resource == Tool::"shop/refund")
unless { context.approved || (context.longs.hasTag("amount") && context.longs.getTag("amount") <= 100) };
"""


@pytest.mark.req("R048", "R078")
def test_the_three_way_rule() -> None:
    veto = '@id("veto") @reason("Never.") forbid(principal, action, resource == Tool::"files/delete");'
    bundle = compile_bundle([("p.cedar", PERMIT + LIMIT + veto)])
    allowed = ask(bundle, arguments={"amount": 100})
    held = ask(bundle, arguments={"amount": 101})
    denied = ask(bundle, "files/delete", approved=True)
    assert (allowed.effect, allowed.policies, allowed.obligations) == (Effect.ALLOW, ("tools",), ())
    assert (held.effect, held.policies, held.obligations) == (Effect.HOLD, ("limit",), ("approve",))
    assert held.reason == "Refunds above 100 need a person."
    assert (denied.effect, denied.policies, denied.reason) == (Effect.DENY, ("veto",), "Never.")
    assert ask(bundle, arguments={"amount": 101}, approved=True).effect is Effect.ALLOW


def test_leaving_an_argument_out_does_not_dodge_a_limit_written_as_unless() -> None:
    assert ask(LIMIT).effect is Effect.HOLD


def test_a_forbid_that_no_approval_lifts_wins_over_one_that_waits_for_it() -> None:
    decision = ask(LIMIT + '@id("never") forbid(principal, action, resource);', arguments={"amount": 500})
    assert (decision.effect, decision.policies, decision.obligations) == (Effect.DENY, ("never",), ())


def test_a_permit_may_ask_for_the_approval_too() -> None:
    text = '@id("ok") permit(principal, action, resource == Tool::"shop/refund") when { context.approved };'
    bundle = compile_bundle([("p.cedar", text)])
    decision = ask(bundle)
    assert (decision.effect, decision.policies) == (Effect.HOLD, ("ok",))


@pytest.mark.req("R054")
def test_what_no_policy_permits_is_denied_in_words() -> None:
    decision = ask(compile_bundle([("p.cedar", "")]))
    assert (decision.effect, decision.policies) == (Effect.DENY, ("system/default-deny",))
    assert decision.reason == "No policy permits agent clerk to call shop/refund."
    assert is_violation(decision)


@pytest.mark.req("R060")
@pytest.mark.parametrize(
    ("level", "effect", "obligations"),
    [
        (Autonomy.AUTONOMOUS, Effect.ALLOW, ()),
        (Autonomy.NOTIFY, Effect.ALLOW, ("notify",)),
        (Autonomy.APPROVE, Effect.HOLD, ("approve",)),
        (Autonomy.HUMAN_ONLY, Effect.DENY, ()),
    ],
)
def test_the_shipped_policies_hold_the_four_levels_of_oversight(
    shipped: model.Bundle, level: Autonomy, effect: Effect, obligations: tuple[str, ...]
) -> None:
    decision = ask(shipped, agent=with_autonomy(level))
    assert (decision.effect, decision.obligations) == (effect, obligations)
    approved = ask(shipped, agent=with_autonomy(level), approved=True)
    assert approved.effect is (Effect.DENY if level is Autonomy.HUMAN_ONLY else Effect.ALLOW)
    assert ask(shipped, "gpt", agent=an_agent()).effect is Effect.ALLOW


@pytest.mark.req("R075")
def test_every_decision_carries_the_policy_version(shipped: model.Bundle) -> None:
    for decision in (ask(shipped), ask(shipped, "shop/unknown"), ask(shipped, stale=True)):
        assert decision.policy_version == shipped.version
    changed = compile_bundle([*shipped.files[:1], (shipped.files[1][0], shipped.files[1][1] + "\n// a word\n")])
    assert changed.version != shipped.version


@pytest.mark.parametrize("state", list(LifecycleState))
def test_only_three_states_may_act(state: LifecycleState) -> None:
    decision = ask("", agent=an_agent(state=state))
    if state in (LifecycleState.STAGING, LifecycleState.PRODUCTION, LifecycleState.DRAINING):
        assert decision.effect is Effect.ALLOW
    else:
        assert decision.policies == ("system/lifecycle",)
        assert not is_violation(decision)


@pytest.mark.req("R054")
@pytest.mark.parametrize("resource", ["shop/drop_tables", "other/refund", "gpt-9", "shop/refund/x"])
def test_what_the_manifest_does_not_grant_no_policy_can_permit(resource: str) -> None:
    decision = ask("permit(principal, action, resource);", resource)
    assert (decision.effect, decision.policies) == (Effect.DENY, ("system/grant",))
    assert is_violation(decision)


@pytest.mark.parametrize("kind", [CallKind.AGENT, CallKind.MEMORY])
def test_kinds_of_call_that_nothing_grants_are_denied(kind: CallKind) -> None:
    agent = an_agent()
    decision = decide(Call("c", kind, "shop/refund"), a_principal(agent), agent, None, compile_bundle([("p", PERMIT)]))
    assert decision.policies == ("system/grant",)


def test_the_system_rules() -> None:
    agent = an_agent()
    bundle = compile_bundle([("p.cedar", PERMIT)])
    call = Call("c", CallKind.TOOL, "shop/refund")

    def rule(fact: Any = agent, who: Any = None, bundle: Any = bundle, **how: Any) -> str:
        decision = decide(call, who or a_principal(agent), fact, None, bundle, **how)
        assert decision.effect is Effect.DENY
        assert not is_violation(decision)
        return decision.policies[0]

    assert rule(None) == "system/unknown-agent"
    assert rule(who=a_principal(agent, workspace="other")) == "system/unknown-agent"
    assert rule(who=a_principal(agent, credential_epoch=0)) == "system/credential"
    assert rule(an_agent(breaker=BreakerFact(tripped=True))) == "system/breaker"
    assert rule(breaker_tripped=True) == "system/breaker"
    assert rule(stale=True) == "system/stale-snapshot"
    assert rule(bundle=None) == "system/no-policy"
    newer = ask(bundle, agent=an_agent(breaker=BreakerFact(tripped=True)), breaker_tripped=False)
    assert newer.effect is Effect.ALLOW
    named = {value for name, value in vars(system).items() if name.isupper() and str(value).startswith("system/")}
    assert named == set(SYSTEM_RULES)


LIST_GOES_ON = """
@id("list-goes-on") @fail_mode("open")
permit(principal == Agent::"clerk", action == Action::"call_tool", resource == Tool::"shop/list");
"""


@pytest.mark.req("R048")
def test_what_a_policy_lets_go_on_goes_on_without_the_control_plane_and_says_so() -> None:
    assert ask(LIST_GOES_ON, "shop/list", stale=True).obligations == ("fail_open",)
    assert ask(LIST_GOES_ON, "shop/list").obligations == ()
    assert ask(LIST_GOES_ON, stale=True).policies == ("system/stale-snapshot",)
    suspended = an_agent(state=LifecycleState.SUSPENDED)
    assert ask(LIST_GOES_ON, "shop/list", agent=suspended, stale=True).effect is Effect.DENY
    another = an_agent(name="another")
    assert ask(LIST_GOES_ON, "shop/list", agent=another).effect is Effect.ALLOW
    assert ask(LIST_GOES_ON, "shop/list", agent=another, stale=True).policies == ("system/stale-snapshot",)
    held = LIST_GOES_ON + LIMIT.replace("shop/refund", "shop/list")
    assert ask(held, "shop/list", stale=True).policies == ("system/stale-snapshot",), "nobody can be asked"


@pytest.mark.parametrize(
    "text",
    [
        '@fail_mode("open") permit(principal, action, resource);',
        '@fail_mode("open") permit(principal, action, resource in Server::"shop");',
        '@fail_mode("open") permit(principal, action, resource == Tool::"shop/list") when { context.approved };',
        '@fail_mode("open") forbid(principal, action, resource == Tool::"shop/list");',
        '@fail_mode("ajar") permit(principal, action, resource == Tool::"shop/list");',
    ],
)
def test_a_fail_mode_that_nobody_could_foresee_is_a_fault(text: str) -> None:
    with pytest.raises(Refused, match="a permit that names one resource and has no conditions"):
        compile_bundle([("p.cedar", text)])


def test_a_forbid_that_errors_denies() -> None:
    overflow = """@id("big") forbid(principal, action, resource)
    when { context.longs.hasTag("amount") && context.longs.getTag("amount") * 10 > 100 };"""
    assert ask(overflow, arguments={"amount": 5}).effect is Effect.ALLOW
    decision = ask(overflow, arguments={"amount": 2**62})
    assert (decision.effect, decision.policies) == (Effect.DENY, ("system/policy-error",))
    assert "overflow" in decision.reason
    assert not is_violation(decision)


def test_an_engine_that_breaks_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> object:
        raise RuntimeError("engine gone")

    bundle = compile_bundle([("p.cedar", PERMIT)])
    monkeypatch.setattr(cedarpy, "is_authorized", broken)
    assert ask(bundle).policies == ("system/policy-error",)


def test_no_decision_denies() -> None:
    """A principal that Cedar cannot even be asked about: an owner that is not Unicode text."""
    decision = ask("", agent=an_agent(owner="\ud800"))
    assert (decision.effect, decision.policies) == (Effect.DENY, ("system/policy-error",))


BOUND = """@id("bound") forbid(principal, action, resource)
when { context.longs.hasTag("amount") && context.longs.getTag("amount") > 100 };"""


@pytest.mark.parametrize(
    "amount", [100.5, "500", 2**63, -(2**63) - 1, 1e300, float("nan"), float("inf"), True, [500], {"value": 500}]
)
@pytest.mark.asi("ASI02", "A limit on an argument cannot be dodged by its type")
def test_another_type_does_not_dodge_a_limit(amount: Any) -> None:
    decision = ask(BOUND, arguments={"amount": amount})
    assert (decision.effect, decision.policies) == (Effect.DENY, ("system/arguments",))
    assert "Policy bound reads the argument amount as a whole number" in decision.reason


@pytest.mark.parametrize("amount", [101, 101.0, 2**53 - 1, 2**63 - 1])
def test_whole_numbers_are_read_as_such_however_they_are_written(amount: Any) -> None:
    assert ask(BOUND, arguments={"amount": amount}).policies == ("bound",)


def test_arguments_that_no_policy_reads_may_be_anything() -> None:
    arguments = {"amount": 5, "temperature": 0.123456789, "huge": 2**100, "text": "\ud800", "deep": [[{}]]}
    assert ask(BOUND, arguments=arguments).effect is Effect.ALLOW
    assert ask(BOUND, arguments={"amount": None}).effect is Effect.ALLOW


def test_decimals_cover_whole_and_fractional_numbers() -> None:
    text = """@id("price") forbid(principal, action, resource) when { context.decimals.hasTag("price")
    && context.decimals.getTag("price").greaterThan(decimal("19.99")) };"""
    effects = {price: ask(text, arguments={"price": price}).policies for price in (19, 19.99, 20, 19.9901, 0.00001)}
    assert effects[19] == effects[19.99] == ("tools",)
    assert effects[20] == effects[19.9901] == ("price",)
    assert effects[0.00001] == ("system/arguments",)


def test_a_key_with_a_dot_cannot_pose_as_a_path() -> None:
    text = """@id("own") forbid(principal, action, resource)
    unless { context.strings.hasTag("customer.id") && context.strings.getTag("customer.id") == "me" };"""
    assert ask(text, arguments={"customer": {"id": "me"}}).effect is Effect.ALLOW
    assert ask(text, arguments={"customer.id": "me", "customer": {"id": "you"}}).policies == ("own",)
    assert ask(text, arguments={"customer.id": "me"}).policies == ("own",)


def test_context_facts_reach_policies() -> None:
    text = """@id("obo") forbid(principal, action, resource)
    unless { context has on_behalf_of && context.on_behalf_of == "ann" && context.session == "s1" };
    @id("odd") forbid(principal, action, resource) when { context.unrepresentable };
    @id("tier") forbid(principal, action, resource) when { principal.risk_tier > 2 };"""
    agent = an_agent()
    good = a_principal(agent, on_behalf_of="ann")
    assert ask(text, principal=good).effect is Effect.ALLOW
    assert ask(text).policies == ("obo",)
    assert ask(text, principal=a_principal(agent, on_behalf_of="ann", session="s2")).policies == ("obo",)
    assert ask(text, principal=good, arguments={"x": [2**70]}).policies == ("odd",)
    assert ask(text, agent=an_agent(risk_tier=3), principal=good).policies == ("tier",)


@pytest.mark.req("R078")
def test_what_an_approval_would_not_let_through_is_not_held_for_one() -> None:
    text = '@id("unapproved") permit(principal, action, resource == Tool::"shop/refund") unless { context.approved };'
    bundle = compile_bundle([("p.cedar", text)])
    assert ask(bundle).effect is Effect.ALLOW
    asked = with_autonomy(Autonomy.APPROVE)
    assert ask(bundle, agent=asked, approved=True).effect is Effect.DENY
    assert ask(bundle, agent=asked).effect is Effect.DENY, "a person would be asked in vain"
