"""Tests of policies: what a file of them may say, what it finds out, and that nothing runs whose tests fail."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import pytest

from tenure.base import events
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event, Role
from tenure.policy import service
from tenure.policy.api import router
from tenure.policy.flow import Watch
from tests.sim.api import Api

GRANTS = """@id("tools")
permit(principal, action == Action::"call_tool", resource) when { principal.tools.contains(resource) };
"""
LIMIT = """
@id("limit") @obligation("approve") @reason("Refunds above 100 need a person.")
forbid(principal, action == Action::"call_tool", resource == Tool::"shop/refund")
unless { context.approved || (context.longs.hasTag("amount") && context.longs.getTag("amount") <= 100) };
"""
TESTS = """
agents:
  clerk: {tools: [shop/list, {name: shop/refund}], models: [gpt]}
tests:
  - {name: small, agent: clerk, tool: shop/refund, arguments: {amount: 100}, expect: allow, policies: [tools]}
  - {name: large, agent: clerk, tool: shop/refund, arguments: {amount: 101}, expect: hold, policies: [limit]}
  - {name: large approved, tool: shop/refund, arguments: {amount: 101}, approved: true, expect: allow}
  - {name: not granted, agent: clerk, tool: shop/delete, expect: deny, policies: [system/grant]}
  - {name: dead, agent: clerk, tool: shop/list, expect: allow, obligations: []}
"""


def _files(policies: str = GRANTS + LIMIT, tests: str = TESTS) -> list[tuple[str, str]]:
    return [("p.cedar", policies), ("p.test.yaml", tests)]


def _told(world: World) -> list[Event]:
    with world.read() as connection:
        return [logged.event for logged in events.read(connection, 0)]


def _faults(files: Sequence[tuple[str, str]]) -> list[tuple[str, int, str]]:
    return [(fault.file, fault.line, fault.problem) for fault in service.check(files).faults]


@pytest.mark.req("R074")
def test_every_case_is_decided_as_the_gateway_would() -> None:
    checked = service.check(_files())
    assert checked.faults == ()
    assert checked.report is not None
    assert [result.decision.effect.value for result in checked.report.results] == [
        "allow", "hold", "allow", "deny", "allow",
    ]  # fmt: skip
    assert checked.report.untested == ()


def test_a_policy_that_no_passing_test_decides_by_is_listed() -> None:
    never = '@id("never") forbid(principal, action, resource == Tool::"shop/burn");\n'
    report = service.check(_files(GRANTS + LIMIT + never)).report
    assert report is not None
    assert report.untested == ("never",)
    report = service.check([("p.cedar", GRANTS)]).report
    assert report is not None
    assert (report.results, report.untested) == ((), ("tools",))


@pytest.mark.parametrize(
    ("test", "problem"),
    [
        (
            "{name: t, tool: shop/refund, expect: allow}",
            "t: expected allow, got hold by limit (Refunds above 100 need a person.)",
        ),
        (
            "{name: t, tool: shop/list, expect: allow, policies: [limit]}",
            "t: expected allow by limit, got allow by tools (Permitted by policy tools.)",
        ),
        (
            "{name: t, tool: shop/list, expect: allow, obligations: [notify]}",
            "t: expected allow with the obligation notify, got allow by tools (Permitted by policy tools.)",
        ),
    ],
)
def test_a_test_that_fails_says_where_it_stands_and_what_came_instead(test: str, problem: str) -> None:
    text = "tests:\n  - {name: good, tool: shop/list, expect: allow}\n  - " + test + "\n"
    assert _faults(_files(tests=text)) == [("p.test.yaml", 3, problem)]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "is empty"),
        ("tests: []\n", 1, "tests: List should have at least 1 item"),
        ("tests:\n  - {name: t, tool: shop/list}\n", 2, "tests[0].expect: Field required"),
        ("tests:\n  - {name: t, tool: a/b, model: gpt, expect: deny}\n", 2, "either a tool, a model or a peer"),
        ("tests:\n  - {name: t, tool: ab, expect: deny}\n", 2, "tests[0].tool: String should match"),
        ("tests:\n  - name: t\n    tool: a/b\n    expect: maybe\n", 4, "tests[0].expect"),
        ("tests:\n  - name: t\n    tool: a/b\n    expect: deny\n    twice: 1\n", 5, "tests[0].twice: Extra inputs"),
        (
            "tests:\n  - {name: t, model: gpt, autonomy: approve, expect: deny}\n",
            2,
            "for a tool or peer of a test without",
        ),
        (
            "agents: {clerk: {}}\ntests:\n  - {name: t, agent: clark, tool: a/b, expect: deny}\n",
            3,
            "did you mean clerk?",
        ),
        ("tests: &a\n  - {name: t, tool: a/b, expect: deny}\nmore: *a\n", 3, "alias"),
    ],
)
def test_a_file_of_tests_that_cannot_be_read_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    found = _faults(_files(tests=text))
    assert [(file, at) for file, at, _ in found] == [("p.test.yaml", line)]
    assert words in found[0][2]


@pytest.mark.req("R074")
def test_a_folder_whose_tests_fail_does_not_run(world: World, operator: Actor) -> None:
    folder = world.config.policies
    folder.mkdir(parents=True)
    for name, text in _files():
        (folder / name).write_text(text)
    good = service.reload(world, operator)
    assert _told(world)[-1].data["tests"] == 5
    (folder / "p.cedar").write_text(GRANTS + LIMIT.replace("<= 100", "<= 1000"))
    with pytest.raises(Refused, match=r"p\.test\.yaml line 6: large: expected hold by limit, got allow by tools"):
        service.reload(world, operator)
    fact = service.workspace_facts(world)["default"]
    assert fact.policy_version == good.version
    assert [name for name, _ in fact.policies] == ["p.cedar"]  # gateways get no tests
    assert _told(world)[-1].type == "policy.rejected"
    (folder / "p.test.yaml").unlink()
    assert service.reload(world, operator).changed


@pytest.mark.req("R075")
def test_publish_and_rollback_run_at_once_and_stay_until_the_folder_changes(world: World, operator: Actor) -> None:
    world.config.policies.mkdir(parents=True)
    (world.config.policies / "p.cedar").write_text(GRANTS)
    first = service.reload(world, operator)
    second = service.publish(world, operator, _files(), "limit refunds", expected=first.version)
    assert (second.changed, second.before) == (True, first.version)
    with pytest.raises(Refused) as moved:
        service.publish(world, operator, _files(GRANTS, ""), "late", expected=first.version)
    assert (moved.value.code, moved.value.status) == ("policy_invalid", 422)  # its tests are empty
    with pytest.raises(Refused) as moved:
        service.publish(world, operator, [("p.cedar", GRANTS)], "late", expected=first.version)
    assert (moved.value.code, moved.value.status) == ("policy_moved", 409)
    watch = Watch()
    watch.start(world)  # a restart takes nothing back
    shown = service.show(world, "default")
    assert (shown.version, [name for name, _ in shown.files]) == (second.version, ["p.cedar", "p.test.yaml"])
    back = service.rollback(world, operator, first.version, "refunds are stuck")
    assert (back.version, back.before) == (first.version, second.version)
    loads = service.history(world, "default")
    assert [(load.how.value, load.reason, load.version) for load in loads] == [
        ("rollback", "refunds are stuck", first.version),
        ("publish", "limit refunds", second.version),
        ("folder", "", first.version),
    ]
    (world.config.policies / "p.cedar").write_text(GRANTS + "// saved\n")
    with world.read() as connection:
        assert watch.find(connection, world.clock()) == ["default"]
    assert watch.step(world, "default")
    assert service.show(world, "default").version not in {first.version, second.version}


def test_what_is_no_set_of_policies_is_refused_whole(world: World, operator: Actor) -> None:
    for files, code in (
        ([], "no_policy_files"),
        ([("p.test.yaml", TESTS)], "no_policy_files"),
        ([("../p.cedar", GRANTS)], "bad_policy_name"),
        ([("p.cedar", GRANTS), ("p.cedar", GRANTS)], "bad_policy_name"),
        ([("p.cedar", "// " + "x" * service.MAX_BYTES)], "policies_too_large"),
    ):
        with pytest.raises(Refused) as refused:
            service.publish(world, operator, files, "why")
        assert refused.value.code == code
    with pytest.raises(Refused, match="reason"):
        service.publish(world, operator, _files(), "  ")
    with pytest.raises(Refused, match="ever ran"):
        service.rollback(world, operator, "sha256:0", "why")
    assert _told(world) == []


def test_over_http_only_operators_publish(world: World, operator: Actor) -> None:
    api = Api(world, router)
    files = [{"name": name, "text": text} for name, text in _files()]
    body = {"files": files, "reason": "begin"}
    api.actor = Actor("default", "person:v@example.com", frozenset({Role.VIEWER}))
    assert api("POST", "/v1/policies/publish", body)[0] == 403
    assert api("POST", "/v1/policies/rollback", {"version": "x", "reason": "y"})[0] == 403
    verdict = api("POST", "/v1/policies/validate", {"files": files})[1]
    assert (verdict["valid"], len(verdict["tests"]), verdict["untested"]) == (True, 5, [])
    assert api("GET", "/v1/policies/history") == (200, [])
    api.actor = operator
    status, loaded = api("POST", "/v1/policies/publish", body)
    assert (status, loaded["changed"], loaded["before"]) == (200, True, None)
    assert api("POST", "/v1/policies/rollback", {"version": "none", "reason": "y"})[0] == 404
    assert api("GET", "/v1/policies/history")[1][0]["actor"] == operator.name


def test_the_shipped_policies_pass_their_own_tests() -> None:
    folder = resources.files("tenure.policy").joinpath("defaults")
    checked = service.check([(file.name, file.read_text()) for file in folder.iterdir()])
    assert checked.faults == ()
    assert checked.report is not None
    assert (len(checked.report.results) >= 6, checked.report.untested) == (True, ())
