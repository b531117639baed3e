"""Every page, read as a browser without scripts reads it, through the real API."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace

import httpx2
import msgspec
import pytest

from tenure.app.server import COOKIE
from tenure.base.clock import system_clock
from tenure.gateway.losses import Losses
from tenure.kernel.snapshot import fact_digest
from tenure.kernel.values import Call, CallKind, Principal
from tenure.policy import service as policy
from tenure.policy.model import compile_bundle, decide
from tenure.registry import service as registry
from tests.sim.console import Console, held, running, tripped
from tests.sim.gateway import ProviderProcess
from tests.sim.telemetry import tool_call
from tests.ui.conftest import until


def text(answer: httpx2.Response) -> str:
    """The words of a page, without its tags."""
    assert answer.status_code == 200, answer.text
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


def test_fleet_shows_each_agent_with_its_state(person: httpx2.Client) -> None:
    page = text(person.get("/"))
    assert "clerk" in page
    assert "newcomer" in page
    assert "1 request to decide" in page
    assert "dana@example.com" in page


def test_fleet_filters_are_in_the_address(person: httpx2.Client) -> None:
    shown = person.get("/", params={"state": "requested"}).text
    assert 'href="/agents/newcomer"' in shown
    assert 'href="/agents/clerk"' not in shown
    assert "No agent matches." in person.get("/", params={"q": "nobody"}).text


def test_a_violation_is_red_in_the_bars_of_the_fleet_and_of_the_agent(person: httpx2.Client) -> None:
    for address in ("/", "/agents/clerk"):
        page = person.get(address).text
        bar = next(bar for bar in re.findall(r'<svg class="bar".*?</svg>', page, re.DOTALL) if "0 violation" not in bar)
        assert re.search(r"\d+ allowed, \d+ flagged, [1-9]\d* violation", bar)
        assert 'class="fill-violation"' in bar


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/live", "delete_file denied: the inbox is kept files/delete_file · by inbox-is-kept"),
        ("/live?status=violation", "delete_file denied"),
        ("/traces", "chat gpt-4o"),
        ("/sessions", "not judged"),
        ("/approvals", "asks to use payments/refund"),
        ("/tools", "files/read_file granted to 2 agents"),
        ("/audit", "agent transitioned"),
        ("/audit?verify=1", "The chain holds."),
        ("/policies", "Policies Version"),
        ("/policies", "What ran Versions, the newest first"),
        ("/people", "operator@localhost"),
        ("/workspaces", "You belong to one workspace."),
        ("/keys", "Pause the live feed"),
        ("/agents/clerk", "payments/refund Approve"),
        ("/agents/clerk", "Start one: tenure run --agent clerk -- COMMAND"),
    ],
)
def test_pages_say_what_there_is(person: httpx2.Client, address: str, words: str) -> None:
    assert words in text(person.get(address))


def test_an_empty_installation_says_what_to_do_next(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("empty")) as console:
        headers = {"Cookie": f"{COOKIE}={console.cookie()}"}
        with httpx2.Client(base_url=console.url, headers=headers, trust_env=False) as person:
            assert "tenure apply -f agent.yaml" in text(person.get("/"))
            assert "Nothing like this yet" in text(person.get("/live?agent=nobody"))
            assert "Nothing waits for you." in text(person.get("/approvals"))
            assert "tenure import tau-bench" in text(person.get("/traces"))
            assert "tenure import tau-bench" in text(person.get("/sessions"))


def test_a_trace_shows_decision_and_approval_in_causal_order(person: httpx2.Client) -> None:
    found = re.search(r'href="/traces/([0-9a-f]{32})"', person.get("/traces").text)
    assert found
    answer = person.get(f"/traces/{found[1]}")
    page = text(answer)
    because = re.search(r'<dt>Because of</dt><dd><a href="#(s-[0-9a-f]{16})">', answer.text)
    assert because, "a decision names the earlier step that led to it"
    assert f'id="{because[1]}"' in answer.text
    order = ["chat gpt-4o", "execute_tool files/read_file", "execute_tool files/delete_file", "approval"]
    assert [page.index(word, page.index("causal order")) for word in order] == sorted(
        page.index(word, page.index("causal order")) for word in order
    )
    assert "the inbox is kept" in page
    assert "inbox-is-kept" in page
    assert "Work through the inbox." in page


def test_what_runs_is_on_the_agents_page(console: Console, person: httpx2.Client) -> None:
    started = console.client.post("/v1/agents/clerk/instances", dict)
    assert started["instance"] in text(person.get("/agents/clerk"))
    console.client.post(f"/v1/instances/{started['instance']}/end", dict, {"exit_code": 0})
    assert "No instance is running." in text(person.get("/agents/clerk"))


@pytest.mark.parametrize("address", ["/", "/live", "/approvals", "/agents/clerk", "/audit", "/traces/00"])
def test_a_stranger_is_told_how_to_get_in(console: Console, address: str) -> None:
    answer = httpx2.get(f"{console.url}{address}", trust_env=False)
    assert answer.status_code == 401
    assert "tenure login-link" in answer.text
    assert "clerk" not in answer.text.replace(address, "")  # where to go on after logging in


def test_an_unknown_page_and_an_unknown_agent_are_told_in_words(person: httpx2.Client) -> None:
    for address in ("/nowhere", "/agents/nobody", "/traces/" + "0" * 32):
        answer = person.get(address)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert "To the fleet" in answer.text
    assert person.get("/v1/nowhere").headers["content-type"].startswith("application/")


def test_pages_hold_no_inline_script_or_style(person: httpx2.Client) -> None:
    for address in ("/", "/live", "/approvals", "/agents/clerk", "/audit", "/policies", "/traces"):
        answer = person.get(address)
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=|javascript:", answer.text), address
        assert answer.headers["cache-control"] == "no-store"


def test_static_files_are_kept_by_digest_and_nothing_else_is_served(console: Console) -> None:
    page = httpx2.get(f"{console.url}/login", trust_env=False).text
    for address in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
        assert httpx2.get(f"{console.url}{address}", trust_env=False).status_code == 200
    assert httpx2.get(f"{console.url}/static/%2e%2e/pages.py", trust_env=False).status_code == 404


def test_a_login_code_works_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("login")) as console:
        headers = {"Sec-Fetch-Site": "same-origin"}
        with httpx2.Client(base_url=console.url, headers=headers, trust_env=False) as person:
            assert "Log in" in person.get("/login", params={"code": console.login_code}).text
            form = {"code": console.login_code, "back": "//evil.example/"}
            answer = person.post("/login", data=form)
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
            assert "Fleet" in text(person.get("/"))
            assert person.post("/logout").status_code == 303
            assert person.get("/").status_code == 401
            again = person.post("/login", data=form)
            assert again.status_code == 403
            assert "tenure login-link" in again.text


def test_nobody_gets_the_session_of_the_person_before(console: Console, session: str) -> None:
    """The console shares one client among all people: its cookie jar must stay empty."""
    assert session
    assert httpx2.get(console.url, trust_env=False).status_code == 401


def test_a_form_of_another_site_is_refused(console: Console, session: str) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}):
        answer = httpx2.post(
            f"{console.url}/agents/newcomer/to/approved",
            data={"reason": "mine now"},
            headers={"Cookie": f"{COOKIE}={session}", **headers},
            trust_env=False,
        )
        assert answer.status_code == 403
    assert console.client.get("/v1/agents/newcomer", dict)["state"] == "requested"


def test_a_refused_form_is_answered_in_words_and_a_program_with_a_problem(console: Console, session: str) -> None:
    def post(path: str, **headers: str) -> httpx2.Response:
        cookie = {"Cookie": f"{COOKIE}={session}", "Sec-Fetch-Site": "cross-site", "Accept": "text/html,*/*;q=0.8"}
        return httpx2.post(
            f"{console.url}{path}", data={"decision": "approve"}, headers={**cookie, **headers}, trust_env=False
        )

    page = post("/agents/newcomer/to/approved")
    assert (page.status_code, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "must come from Tenure's own pages" in page.text.replace("&#39;", "'")
    assert "To the fleet" in page.text
    for answer in (post("/v1/agents/newcomer/transitions"), post("/agents/newcomer/to/approved", Accept="*/*")):
        assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    late = post("/approvals/1", Cookie=f"{COOKIE}=long-gone", **{"Sec-Fetch-Site": "same-origin"})
    assert late.status_code == 401
    assert "tenure login-link" in late.text


def test_what_wants_attention_can_be_asked_for_by_itself(console: Console, person: httpx2.Client) -> None:
    waiting = len([one for one in console.client.get("/v1/approvals", list) if one["state"] == "pending"])
    assert text(person.get("/waiting")) == f"{waiting} waiting"
    assert "1 request to decide" in text(person.get("/attention"))
    assert httpx2.get(f"{console.url}/waiting", trust_env=False).status_code == 401


@pytest.mark.req("R090")
def test_lost_records_are_shown_with_their_reason(console: Console, person: httpx2.Client) -> None:
    assert "Nothing was lost" in text(person.get("/recording"))
    losses = Losses("local")
    losses.add("disk", 40)
    losses.add("spool_full", 2)
    console.send(losses.told())
    until(lambda: "42 records lost" in text(person.get("/attention")))
    assert "42 records lost" in text(person.get("/"))
    page = text(person.get("/recording"))
    assert "The spool's disk was full, failed or was too slow (40)" in page.replace("&#39;", "'")
    assert "The trace store keeps up" in page


@pytest.mark.req("R068")
def test_a_person_intervenes_and_the_log_says_so(console: Console, person: httpx2.Client) -> None:
    console.register("temp", "approved")
    until(lambda: console.client.get("/v1/agents/temp", dict)["state"] == "provisioned")
    person.post("/agents/temp/to/staging", data={"reason": "try it"})
    assert "Refuses every further call at once" in text(person.get("/agents/temp/to/suspended"))
    answer = person.post("/agents/temp/to/suspended", data={"reason": "odd refunds since Tuesday"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/agents/temp?done=moved")
    assert console.client.get("/v1/agents/temp", dict)["state"] == "suspended"
    assert "odd refunds since Tuesday" in text(person.get("/agents/temp"))
    until(lambda: "operator@localhost agent transitioned staging → suspended" in text(person.get("/audit")))
    impossible = person.get("/agents/temp/to/created")
    assert impossible.status_code == 409
    assert "cannot go to created" in impossible.text


@pytest.mark.req("R068")
def test_a_tripped_breaker_is_seen_and_reset_here(console: Console, person: httpx2.Client) -> None:
    console.send(tripped(system_clock(), "clerk"))
    until(lambda: "1 breaker tripped" in text(person.get("/")))
    assert "5 violations in 300 s" in text(person.get("/agents/clerk"))
    assert "1 breaker is not closed" in text(person.get("/breakers"))
    start = {"scope": "agent", "name": "clerk", "to": "start"}
    assert "it will trip again" in text(person.get("/breakers/change", params=start))
    fields = start | {"reason": "fixed its prompt", "trials": "0"}
    assert person.post("/breakers/change", data=fields).status_code == 303
    until(lambda: "breaker tripped" not in text(person.get("/")))
    row = re.search(r"breaker tripped, every call.*?</li>", person.get("/live").text, re.DOTALL)
    assert row
    link = re.search(r'href="(/traces/[^"?]+)', row[0])
    assert link
    told = text(person.get(link[1]))
    assert told.index("breaker tripped 5 violations") < told.index(
        "breaker reset by operator@localhost fixed its prompt"
    )
    again = person.post("/breakers/change", data=start | {"reason": "once more"})
    assert again.status_code == 409


@pytest.mark.req("R055", "R068")
def test_everything_is_stopped_and_started_here(console: Console, person: httpx2.Client) -> None:
    console.register("busy", "approved")
    until(lambda: console.client.get("/v1/agents/busy", dict)["state"] == "provisioned")
    person.post("/agents/busy/to/staging", data={"reason": "try it"})
    stop = {"scope": "workspace", "name": "", "to": "stop"}
    assert "busy" in text(person.get("/breakers/change", params=stop))
    assert person.post("/breakers/change", data=stop | {"reason": " "}).status_code == 422
    answer = person.post("/breakers/change", data=stop | {"reason": "a drill"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/breakers?done=stop")
    page = text(person.get("/breakers"))
    assert "the whole workspace tripped stopped by operator@localhost: a drill" in page
    tried = stop | {"to": "start", "reason": "over", "trials": "2"}
    assert person.post("/breakers/change", data=tried | {"trials": "many"}).status_code == 422
    assert person.post("/breakers/change", data=tried).status_code == 303
    assert "half open, 0 of 2 went well" in text(person.get("/breakers"))
    assert person.post("/breakers/change", data=tried | {"trials": ""}).status_code == 303
    assert "half open" not in text(person.get("/breakers"))
    assert person.post("/breakers/change", data=tried | {"to": "nonsense"}).status_code == 422


@pytest.mark.req("R065")
def test_alike_calls_are_answered_at_once_and_what_was_decided_meanwhile_is_told(
    console: Console, person: httpx2.Client
) -> None:
    console.register("otter", "approved")
    console.send(*[held(system_clock(), {"invoice": name, "to": "otter"}, agent="otter") for name in ("O-1", "O-2")])
    batch = until(
        lambda: [
            one for one in console.client.get("/v1/approvals/batches", list, agent="otter") if len(one["calls"]) == 2
        ]
    )[0]
    page = person.get("/approvals").text
    chosen = {f"call-{call['id']}": call["digest"] for call in batch["calls"]}
    for field, value in chosen.items():
        assert f'name="{field}" value="{value}"' in page
    console.client.post(f"/v1/approvals/{batch['calls'][0]['id']}/decision", dict, {"decision": "approve"})
    answer = person.post("/approvals/answer", data={"decision": "approve", "reason": "fine", **chosen})
    told = text(person.get(answer.headers["location"]))
    assert "1 call approved" in told
    assert "1 call could not be decided any more" in told
    nothing = person.post("/approvals/answer", data={"decision": "approve"})
    assert (nothing.status_code, "No call was chosen" in nothing.text) == (422, True)


@pytest.mark.req("R065")
def test_a_rule_is_made_of_an_approval_and_put_in_force(console: Console, person: httpx2.Client) -> None:
    wait = held(system_clock(), {"invoice": "R-1", "amount": 12.5}, agent="clerk")
    console.send(replace(wait, data={**wait.data, "policies": ["system/approve"]}))
    ident = wait.data["approval_id"]
    until(lambda: [one for one in console.client.get("/v1/approvals", list) if one["id"] == ident])
    assert "No rule was made yet" in text(person.get("/precedents"))
    console.client.post(f"/v1/approvals/{ident}/decision", dict, {"decision": "approve"})
    page = person.get(f"/precedents/new?approval={ident}").text
    assert 'name="path-1" value="amount"' in page
    fields = {"approval": ident, "days": "30", "reason": "small ones are fine", "path-0": "invoice", "how-0": "free"}
    fields |= {"path-1": "amount", "how-1": "up_to", "most-1": "50"}
    made = person.post("/precedents/new", data=fields)
    where = made.headers["location"].partition("?")[0]
    shown = text(person.get(where))
    assert "Waits to be published" in shown
    assert "with another amount it waits" in shown
    person.post(where, data={"decision": "approve", "reason": "agreed"})
    assert "In force" in text(person.get(where))
    assert "amount up to 50" in text(person.get("/precedents"))
    person.post(where, data={"decision": "reject", "reason": "enough"})
    assert "revoked" in text(person.get("/precedents"))


def test_a_version_of_the_policies_says_what_it_gave_and_took(console: Console, person: httpx2.Client) -> None:
    running = console.client.get("/v1/policies", dict)
    first = running["version"]
    more = '@id("no-mail") forbid(principal, action, resource == Tool::"files/read_file");\n'
    more += '@id("quiet") forbid(principal == ?principal, action, resource == ?resource);\n@id("idle") '
    more += "permit(principal == ?principal, action, resource);\n"
    values = {
        "?principal": {"type": "Agent", "id": "clerk"},
        "?resource": {"type": "Tool", "id": "files/list_directory"},
    }
    links = json.dumps({"templateLinks": [{"templateId": "quiet", "newId": "clerk-quiet", "values": values}]})
    added = [{"name": "more.cedar", "text": more}, {"name": "more.links.json", "text": links}]
    body = {"files": [*running["files"], *added], "reason": "Nobody reads files now"}
    try:
        version = console.client.post("/v1/policies/publish", dict, body)["version"]
        page = text(person.get(f"/policies/versions/{version}"))
        assert "Nobody reads files now" in page
        assert re.search(r"Lost [^.]*clerk[^.]* files/read_file .* deny by no-mail", page), page
        assert re.search(r"quiet \(more.cedar:2\) was added: 1 policy is made of it. clerk-quiet was added", page), page
        assert re.search(r'quiet of template quiet ?: Agent::"clerk", Tool::"files/list_dir', html.unescape(page)), page
        assert "idle template with ?principal none: no link fills it" in page
        assert "rules no test decides by" in page
        assert "no-mail forbid more.cedar:1 untested" in page
        assert version[7:19] in text(person.get("/policies"))
    finally:
        console.client.post("/v1/policies/rollback", dict, {"version": first, "reason": "the test is over"})
    assert person.get("/policies/versions/sha256:0").status_code == 404


@pytest.mark.req("R076")
def test_a_call_says_why_it_was_decided_as_it_was(console: Console, person: httpx2.Client) -> None:
    world = console.app.state.world
    with world.read() as connection:
        agent = registry.agent_facts(connection)["default/clerk"]
    files = policy.show(world, "default").files
    limit = '@id("cap") forbid(principal == ?principal, action, resource == Tool::"files/read_file");'
    link = {"templateId": "cap", "newId": "clerk-cap", "values": {"?principal": {"type": "Agent", "id": "clerk"}}}
    files = (*files, ("cap.cedar", limit), ("cap.links.json", json.dumps({"templateLinks": [link]})))
    bundle = compile_bundle(policy.policies_of(files))
    policy.keep_facts(world, [agent])
    who = Principal("default", "clerk", agent.release, "i1", "why", agent.credential_epoch)
    decided = decide(Call("", CallKind.TOOL, "files/read_file"), who, agent, None, bundle)
    data = {"tenure.decision": msgspec.to_builtins(decided), "tenure.facts": fact_digest(agent)}
    data["gen_ai.tool.call.arguments"] = {}
    call = tool_call(system_clock(), "files/read_file", type="call.refused", session="why", data=data)
    first = console.client.get("/v1/policies", dict)["version"]
    body = {"files": [{"name": name, "text": text} for name, text in files], "reason": "a cap"}
    console.client.post("/v1/policies/publish", dict, body)
    console.client.post("/v1/policies/rollback", dict, {"version": first, "reason": "the test is over"})
    console.send(call)
    page = html.unescape(text(until(lambda: _found(person.get(f"/decisions/{call.id}")))))
    assert "deny Forbidden by policy clerk-cap." in page
    assert "The same, from the same policies and the same facts." in page
    assert re.search(r'clerk-cap of template cap ?: Agent::"clerk" forbid cap.links.json:1 .* hold decided', page), page
    assert f'href="/decisions/{call.id}"' in person.get(f"/traces/{call.trace_id}").text
    assert person.get("/decisions/" + "0" * 32).status_code == 404


def _found(answer: httpx2.Response) -> httpx2.Response | None:
    return answer if answer.status_code == 200 else None


@pytest.mark.req("R085", "R095")
def test_a_run_says_where_it_most_likely_went_wrong(person: httpx2.Client, console: Console) -> None:
    trace = next(one["trace_id"] for one in console.client.get("/v1/traces", dict)["traces"] if one["agent"] == "clerk")
    assert f'href="/traces/{trace}/blame"' in person.get(f"/traces/{trace}").text
    page = person.get(f"/traces/{trace}/blame")
    words = text(page)
    assert "Nobody has judged this run." in words
    assert "The first failure of the run" in words
    assert re.search(rf'href="/traces/{trace}\?span=(\w+)#s-\1"', page.text)


@pytest.mark.req("R085", "R095")
def test_a_models_opinion_stands_below_the_evidence(person: httpx2.Client, console: Console) -> None:
    trace = next(one["trace_id"] for one in console.client.get("/v1/traces", dict)["traces"] if one["agent"] == "clerk")
    assert "A model's opinion" not in text(person.get(f"/traces/{trace}/blame")), "no judge is set"
    world = console.app.state.world
    with ProviderProcess() as provider:
        config = replace(world.config, blame_judge=provider.url, blame_judge_model="judge")
        console.app.state.world = replace(world, config=config)
        try:
            page = html.unescape(text(person.get(f"/traces/{trace}/blame")))
            assert "Ask judge What was said in this run is sent to 127.0.0.1, redacted." in page
            answer = person.post(f"/traces/{trace}/blame", data={})
            assert answer.headers["location"] == f"/traces/{trace}/blame#opinions"
            page = html.unescape(text(person.get(f"/traces/{trace}/blame")))
        finally:
            console.app.state.world = world
    assert page.index("% of the blame") < page.index("A model's opinion")
    assert re.search(r"judge-2026-01-01 names step \d+, clerk ?: It said: ", page), page
    assert re.search(r"Asked with blame-1 by \S+; [\d,]+ tokens in, [\d,]+ out, no price known", page), page
    assert "Ask judge" not in page, "it is not asked twice"


@pytest.mark.req("R084")
def test_two_runs_stand_side_by_side(person: httpx2.Client, console: Console) -> None:
    console.send(replace(held(system_clock(), {"n": 1}), type="call.completed", session="other", trace_id="5" * 32))
    until(lambda: len(console.client.get("/v1/traces", dict, agent="clerk")["traces"]) > 1)
    found = console.client.get("/v1/traces", dict, agent="clerk")["traces"]
    one, other = (trace["trace_id"] for trace in found[:2])
    assert f'href="/traces/{one}/against/{other}"' in person.get(f"/traces/{one}/against").text
    page = person.get(f"/traces/{one}/against/{other}")
    assert "They part at step 1" in text(page)
    assert 'id="p-0"' in page.text
    assert "They are the same, step for step" in text(person.get(f"/traces/{one}/against/{one}"))
