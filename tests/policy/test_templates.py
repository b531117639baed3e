"""Templates: what links make of them is what Cedar makes of them, and a policy like any other."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Effect
from tenure.policy import service
from tenure.policy.api import router
from tenure.policy.cases import Report
from tenure.policy.diff.changes import gained
from tenure.policy.diff.foresight import LinkChange, compared
from tenure.policy.flow import Watch
from tenure.policy.known import learn
from tenure.policy.layers import Layer
from tenure.policy.model import Bundle, compile_bundle
from tenure.policy.slices import build_slice
from tenure.policy.sources import read_source
from tenure.policy.words import words_of
from tests.sim.api import Api
from tests.sim.policy import PERMIT, an_agent, ask

TEMPLATE = """
@id("refund-limit") @obligation("approve") @reason("More than this agent may refund alone.")
forbid(principal == ?principal, action == Action::"call_tool", resource == ?resource)
unless { context.approved || (context.longs.hasTag("amount") && context.longs.getTag("amount") <= 100) };
"""
CLERK, BROKER = {"type": "Agent", "id": "clerk"}, {"type": "Agent", "id": "broker"}
REFUND, LIST = {"type": "Tool", "id": "shop/refund"}, {"type": "Tool", "id": "shop/list"}


def links(*given_links: tuple[str, JsonObject, JsonObject], template: str = "refund-limit") -> tuple[str, str]:
    """A file of links: (id, principal, resource) each."""
    listed = [
        {"templateId": template, "newId": name, "values": {"?principal": who, "?resource": what}}
        for name, who, what in given_links
    ]
    return "a.links.json", json.dumps({"templateLinks": listed}, indent=2)


def made(*given_links: tuple[str, JsonObject, JsonObject], text: str = TEMPLATE) -> Bundle:
    """``PERMIT``, one template and its links."""
    return compile_bundle([("p.cedar", PERMIT), ("t.cedar", text), *([links(*given_links)] if given_links else [])])


HEADS = st.tuples(
    st.sampled_from(["permit", "forbid"]),
    st.sampled_from(["principal == ?principal", "principal in ?principal", "principal is Agent in ?principal"]),
    st.sampled_from(["resource == ?resource", "resource in ?resource", "resource is Tool in ?resource", "resource"]),
    st.sampled_from(
        ["", "when { principal.risk_tier > 1 }", "unless { context.approved }", "when { context.hour > 9 }"]
    ),
)
WHO = st.sampled_from(["clerk", "broker", 'odd "name" \\ ü\n'])
WHAT = st.sampled_from([("Tool", "shop/refund"), ("Tool", "files/delete"), ("Server", "shop")])


@pytest.mark.req("R073")
@settings(max_examples=40, deadline=None)
@given(st.lists(HEADS, min_size=1, max_size=3), st.lists(st.tuples(st.integers(0, 2), WHO, WHAT), max_size=5))
def test_a_link_is_what_cedar_makes_of_it_and_what_a_person_would_have_written(
    heads: list[tuple[str, str, str, str]], filled: list[tuple[int, str, tuple[str, str]]]
) -> None:
    zone = '@zone("UTC")'
    texts = [
        f'@id("t{number}") {zone if "hour" in when else ""} {effect}({who}, action, {what}) {when};'
        for number, (effect, who, what, when) in enumerate(heads)
    ]
    listed: list[Any] = []
    written = []
    for number, (chosen, who, (kind, ident)) in enumerate(filled):
        index = chosen % len(texts)
        if kind == "Server" and "resource ==" in texts[index]:
            continue  # nothing that is called is a server
        values = {"?principal": {"type": "Agent", "id": who}}
        if "?resource" in texts[index]:
            values["?resource"] = {"__entity": {"type": kind, "id": ident}}  # type: ignore[dict-item]  # the other form
        listed.append({"templateId": f"t{index}", "newId": f"l{number}", "values": values})
        text = texts[index].replace(f'@id("t{index}")', f'@id("l{number}")')
        plain = "".join(c if c.isalnum() else f"\\u{{{ord(c):x}}}" for c in who)
        written.append(text.replace("?principal", f'Agent::"{plain}"').replace("?resource", f'{kind}::"{ident}"'))
    files = [("t.cedar", "\n".join(texts))]
    ours = compile_bundle([*files, ("l.links.json", json.dumps({"templateLinks": listed}))] if listed else files)
    by_hand = compile_bundle([("t.cedar", "\n".join(written))])
    bare: dict[str, Any] = {"file": "", "line": 0, "mark": "", "template": "", "filled": ()}
    for one, other in zip(ours.rules, by_hand.rules, strict=True):
        node = replace(one.node, annotations={**one.node.annotations, "id": one.id})
        assert replace(one, node=node, **bare) == replace(other, **bare)
    of_cedar = cedarpy.PolicySet.from_str(files[0][1]).with_linked_batch(
        [
            {
                "template_id": link["templateId"],
                "new_id": link["newId"],
                "values": {gap: value.get("__entity", value) for gap, value in link["values"].items()},
            }
            for link in listed
        ]
    )
    for name, resource, approved in (("clerk", "shop/refund", False), ('odd "name" \\ ü\n', "files/delete", True)):
        entities = learn(an_agent(name=name, risk_tier=2), words_of()).plain
        request = {
            "principal": {"type": "Agent", "id": name},
            "action": {"type": "Action", "id": "call_tool"},
            "resource": {"type": "Tool", "id": resource},
            "context": {"approved": approved, "hour": 12},
        }
        said, meant = (
            cedarpy.is_authorized(request, policies, entities)
            for policies in (build_slice(ours.rules).policies, of_cedar)
        )
        assert (said.decision, set(said.diagnostics.reasons)) == (meant.decision, set(meant.diagnostics.reasons))


@pytest.mark.req("R073")
def test_a_link_decides_for_what_it_names_and_for_nothing_else() -> None:
    bundle = made(("clerk-refunds", CLERK, REFUND))
    held = ask(bundle, arguments={"amount": 101})
    assert (held.effect, held.policies, held.obligations) == (Effect.HOLD, ("clerk-refunds",), ("approve",))
    assert held.reason == "More than this agent may refund alone."
    assert ask(bundle, arguments={"amount": 100}).effect is Effect.ALLOW
    assert ask(bundle, "shop/list", {"amount": 101}).effect is Effect.ALLOW
    assert ask(bundle, arguments={"amount": 101}, agent=an_agent(name="broker")).effect is Effect.ALLOW
    rule = next(rule for rule in bundle.rules if rule.id == "clerk-refunds")
    assert (rule.file, rule.line, rule.template, rule.layer) == ("a.links.json", 3, "refund-limit", Layer.BOTH)
    assert rule.filled == (("?principal", 'Agent::"clerk"'), ("?resource", 'Tool::"shop/refund"'))
    assert ask(made(), arguments={"amount": 101}).effect is Effect.ALLOW  # a template alone decides nothing
    other = made(("clerk-refunds", BROKER, REFUND))
    assert len({bundle.version, other.version, made().version}) == 3
    assert bundle.marks["clerk-refunds"] != other.marks["clerk-refunds"]  # no approval is carried from one to the other


FAULTY: list[tuple[str, str, str, int, str]] = [
    (TEMPLATE.replace('@id("refund-limit") ', ""), "", "t.cedar", 2, "needs an @id"),
    (TEMPLATE.replace("context.approved", "context.surprise"), "refund-limit", "t.cedar", 4, "`surprise`"),
    (TEMPLATE, "refund-limits", "a.links.json", 3, "no template refund-limits: did you mean refund-limit?"),
    (TEMPLATE, "tools", "a.links.json", 3, "has no ?principal and no ?resource"),
    (TEMPLATE.replace("resource == ?resource", "resource"), "refund-limit", "a.links.json", 3, "one: "),
    (TEMPLATE.replace("refund-limit", "one"), "one", "a.links.json", 3, "is taken by t.cedar line 2"),
    (TEMPLATE.replace("unless {", "unless { {"), "", "t.cedar", 4, "unexpected token"),
]


@pytest.mark.parametrize(("text", "template", "file", "line", "words"), FAULTY)
def test_a_fault_is_told_where_it_can_be_mended(text: str, template: str, file: str, line: int, words: str) -> None:
    files = [("p.cedar", PERMIT), ("t.cedar", text)]
    if template:
        files.append(links(("one", CLERK, REFUND), template=template))
    with pytest.raises(Refused) as refused:
        compile_bundle(files)
    faults = refused.value.details["faults"]
    assert any((one["file"], one["line"]) == (file, line) and words in one["problem"] for one in faults), faults
    assert {one["file"] for one in faults} == {file}  # a template's fault is not told again at each of its links


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('{"templateLinks": [\n{"templateId": "refund-limit" "newId"', 2, "is not JSON"),
        ("templateLinks: []", 1, "is not JSON"),
        ('{"templateLinks": []}', 1, "at least 1 item"),
        (
            '{"templateLinks": [\n {"templateId": "refund-limit",\n"newId": "", "values": {"?principal": 1}}]}',
            3,
            "newId",
        ),
        (links(("system/x", CLERK, REFUND))[1], 3, "belong to the rules that cannot be changed"),
        (links(("x", REFUND, CLERK))[1], 3, "unable to find an applicable action"),
        (links(("x", {"type": "No pe", "id": "a"}, REFUND))[1], 3, "x: "),
        (links(("x", CLERK, REFUND), ("x", CLERK, LIST))[1], 17, '@id("x") is taken by a.links.json line 3'),
    ],
)
def test_a_file_of_links_that_is_wrong_says_where(text: str, line: int, words: str) -> None:
    with pytest.raises(Refused) as refused:
        compile_bundle([("t.cedar", TEMPLATE), ("a.links.json", text)])
    faults = refused.value.details["faults"]
    assert any(one["line"] == line and words in one["problem"] for one in faults), faults
    assert {one["file"] for one in faults} == {"a.links.json"}


TESTS = """
tests:
  - {name: too much, agent: clerk, tool: shop/refund, arguments: {amount: 101}, expect: hold, policies: [clerk-refunds]}
agents: {clerk: {tools: [shop/refund]}}
"""


def _report(*files: tuple[str, str]) -> Report:
    checked = service.check(files)
    assert checked.faults == ()
    assert checked.report is not None
    return checked.report


@pytest.mark.req("R074")
def test_a_template_that_no_test_decides_by_is_listed_once() -> None:
    two = links(("clerk-refunds", CLERK, REFUND), ("broker-refunds", BROKER, REFUND))
    base = (("p.cedar", PERMIT.splitlines()[1]), ("t.cedar", TEMPLATE))
    assert _report(*base, two).untested == ("tools", "refund-limit")
    assert _report(*base, two, ("a.test.yaml", TESTS)).untested == ("tools",)
    assert _report(*base).untested == ("tools", "refund-limit")


@pytest.mark.req("R073")
def test_a_diff_says_who_gained_and_lost_by_a_link() -> None:
    agents = [an_agent(), an_agent(name="broker")]
    before = made(("one", CLERK, REFUND), ("two", CLERK, LIST))
    after = made(("one", BROKER, REFUND), ("three", CLERK, LIST))
    found = compared(before, after, agents, 0.0)
    assert {(gained(one), one.agents, one.resources) for one in found.found.changes} == {
        ("lost", ("broker",), ("shop/refund",)),
        ("gained", ("clerk",), ("shop/refund",)),
    }
    assert found.found.gaps == []
    (changed,) = found.templates
    assert (changed.id, changed.what, changed.made) == ("refund-limit", "", 2)
    assert [(link.id, link.what) for link in changed.links] == [
        ("one", "rewritten"), ("two", "removed"), ("three", "added"),
    ]  # fmt: skip
    assert changed.links[0] == LinkChange(
        "one",
        "rewritten",
        (("?principal", 'Agent::"clerk"'), ("?resource", 'Tool::"shop/refund"')),
        (("?principal", 'Agent::"broker"'), ("?resource", 'Tool::"shop/refund"')),
    )
    raised = compared(before, made(("one", CLERK, REFUND), ("two", CLERK, LIST), text=TEMPLATE.replace("100", "200")),
                      agents, 0.0)  # fmt: skip
    assert [(one.what, one.made, one.links) for one in raised.templates] == [("rewritten", 2, ())]
    assert [rule.id for rule in raised.rewritten] == ["one", "two"]
    gone = compared(before, compile_bundle([("p.cedar", PERMIT)]), agents, 0.0)
    assert [(one.what, one.made, len(one.links)) for one in gone.templates] == [("removed", 2, 2)]


@pytest.mark.req("R073", "R076")
def test_links_are_published_from_the_folder_and_over_http(world: World, operator: Actor) -> None:
    folder = world.config.policies
    folder.mkdir(parents=True, exist_ok=True)
    files = {"p.cedar": PERMIT, "t.cedar": TEMPLATE, "a.links.json": links(("one", CLERK, REFUND))[1]}
    for name, text in files.items():
        (folder / name).write_text(text)
    Watch().start(world)
    running = service.show(world, "default")
    assert set(files) <= {name for name, _ in running.files}
    assert {file["name"] for file in read_source(str(folder)).files} >= set(files)
    api = Api(world, router)
    api.actor = operator
    sent = [{"name": name, "text": text} for name, text in files.items()]
    status, said = api("POST", "/v1/policies/validate", {"files": sent})
    assert (status, said["valid"]) == (200, True)
    assert [(one["id"], one["gaps"], one["links"]) for one in said["templates"]] == [
        ("refund-limit", ["?principal", "?resource"], 1)
    ]
    assert said["policies"][-1]["filled"] == {"?principal": 'Agent::"clerk"', "?resource": 'Tool::"shop/refund"'}
    (folder / "a.links.json").write_text(links(("one", BROKER, REFUND))[1])
    assert service.reload(world, operator).before == running.version
    only = [{"name": "a.links.json", "text": files["a.links.json"]}]
    assert api("POST", "/v1/policies/publish", {"files": only, "reason": "no policy"})[1]["code"] == ("no_policy_files")
