"""The commands against a whole running Tenure: import, a kill in the middle, figures, replay."""

from __future__ import annotations

import json
import lzma
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.processes import until
from tenure.client.http import Client
from tenure.kernel.errors import Refused
from tenure.kernel.ids import session_trace
from tests.sim import model_clients, shopkeeper
from tests.sim.gateway import ProviderProcess
from tests.sim.installation import COMMAND, Installation
from tests.sim.manifests import manifest
from tests.sim.tool_server import ToolServer


@pytest.fixture(scope="module")
def tenure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A running Tenure."""
    with Installation(tmp_path_factory.mktemp("evaluation") / "data") as installation:
        yield installation


def _run(tenure: Installation, *words: str, expect: int = 0) -> Any:
    """What a command printed as JSON."""
    command = (*COMMAND, *words, "--json")
    done = subprocess.run(command, env=tenure.env, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return json.loads(done.stdout) if done.stdout else done.stderr


def _sessions(tenure: Installation, source: str = "tau-bench") -> int:
    with tenure.client() as client:
        return len(client.get("/v1/sessions", dict[str, Any], source=source, limit=500)["sessions"])


@pytest.mark.req("R114")
def test_an_import_that_was_killed_is_completed_by_doing_it_again(tenure: Installation, shared_data: Path) -> None:
    file = str(shared_data / "tau-bench" / "gpt-4o-airline.json.xz")
    killed = subprocess.Popen((*COMMAND, "import", "tau-bench", file), env=tenure.env, stderr=subprocess.DEVNULL)
    until(lambda: _sessions(tenure) > 0, "the first sessions", 30)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    [partial] = _run(tenure, "report", "reliability")["reports"]
    assert 0 < partial["sessions"] < 200

    completed = _run(tenure, "import", "tau-bench", file)
    assert (completed["sessions"], completed["events"]) == (200, 3818)
    assert 0 < completed["new"] < 3818
    assert _run(tenure, "import", "tau-bench", file)["new"] == 0
    assert _sessions(tenure) == 200

    [report] = _run(tenure, "report", "reliability", "--source", "tau-bench")["reports"]
    assert [f"{item['value']:.3f}" for item in report["estimates"]] == ["0.420", "0.273", "0.220", "0.200"]
    assert all(item["low"] < item["value"] < item["high"] for item in report["estimates"])
    printed = tenure.run("report", "reliability")
    for figure in (".420", ".273", ".220", ".200", "pass^4", "200 sessions of 50 tasks", "gpt-4o"):
        assert figure in printed


@pytest.mark.req("R085")
def test_who_said_what_to_whom_can_be_read_back(tenure: Installation, shared_data: Path) -> None:
    file = shared_data / "who-and-when" / "algorithm-generated.jsonl.xz"
    first = _run(tenure, "import", "who-and-when", str(file))
    assert (first["sessions"], first["events"], first["new"]) == (126, 1225, 1225)
    assert _run(tenure, "import", "who-and-when", str(file))["new"] == 0
    records = [json.loads(line) for line in lzma.decompress(file.read_bytes()).splitlines()]
    with tenure.client() as client:
        listed = client.get("/v1/sessions", dict[str, Any], source="who-and-when", limit=500)["sessions"]
        ends = {item["outcome"]["task"]: item for item in listed}
        for record in records[:10]:
            end = ends[record["question_ID"]]
            blamed = end["outcome"]["detail"]
            assert (blamed["mistake_agent"], blamed["mistake_step"]) == (
                record["mistake_agent"],
                int(record["mistake_step"]),
            )
            trace, _ = session_trace("default", end["session"])
            spans = client.get(f"/v1/traces/{trace}", dict[str, Any])["spans"]
            told = [span["attributes"] for span in spans if span["type"] == "import.message"]
            assert [(item["tenure.sender"], item["tenure.message"]["parts"][0]["content"]) for item in told] == [
                (message["name"], message["content"]) for message in record["history"]
            ]
            everyone = set(record["system_prompt"]) | {message["name"] for message in record["history"]}
            for item in told:
                assert {item["tenure.sender"], *item["tenure.recipients"]} == everyone


def test_a_damaged_file_is_refused_before_anything_is_sent(tenure: Installation, tmp_path: Path) -> None:
    message = {"role": "user", "content": "hi"}
    good = {"task_id": 0, "trial": 0, "reward": 1, "info": {}, "traj": [message, message]}
    bad = {**good, "trial": 1, "traj": [{"role": "user"}]}
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps([good, bad]))
    before = _sessions(tenure)
    told = _run(tenure, "import", "tau-bench", str(path), expect=2)
    assert "[1].traj[0].content" in told
    assert "Traceback" not in told
    assert _sessions(tenure) == before
    assert "No such file" in _run(tenure, "import", "tau-bench", str(tmp_path / "none"), expect=2)


@pytest.mark.req("R084")
def test_sessions_replayed_through_the_gateway_come_out_as_they_went_in(
    tenure: Installation, shared_data: Path
) -> None:
    file = str(shared_data / "tau-bench" / "gpt-4o-airline.json.xz")
    found = _run(tenure, "replay", "tau-bench", file, "--sessions", "6")
    assert (found["sessions"], found["equal"]) == (6, 6)
    assert found["decisions"] == {"allow": found["calls"]}
    assert found["calls"] == found["chats"] + found["tools"] == sum(item["steps"] for item in found["verdicts"]) > 80
    assert found["sessions_per_second"] > 0
    assert tenure.state(found["agent"]) == "retired"


@pytest.mark.req("R084")
def test_a_replay_that_is_not_allowed_a_tool_says_where_and_exits_with_1(
    tenure: Installation, shared_data: Path
) -> None:
    file = str(shared_data / "tau-bench" / "gpt-4o-airline.json.xz")
    policy = tenure.folder / "policies" / "90-no-sums.cedar"
    policy.write_text(
        '@id("no-sums")\n@reason("No sums today.")\n'
        'forbid (principal, action, resource == Tool::"recording/calculate");\n'
    )
    with tenure.client() as client:
        until(
            lambda: any(item["name"] == policy.name for item in client.get("/v1/policies", dict[str, Any])["files"]),
            "the policy",
        )
    try:
        found = _run(tenure, "replay", "tau-bench", file, "--sessions", "1", expect=1)
    finally:
        policy.unlink()
    [verdict] = found["verdicts"]
    assert found["equal"] == 0
    assert "no-sums" in verdict["problem"]
    assert found["decisions"]["deny"] == 1
    assert tenure.state(found["agent"]) == "retired"


@dataclass(frozen=True)
class Shop:
    """An agent that has run once: its run, the server of its tools, and its models."""

    trace: str
    tools: ToolServer
    models: ProviderProcess
    client: Client

    def fork(self, step: int, **otherwise: Any) -> dict[str, Any]:
        """A fork of the run, when it has ended."""
        return _ended(self.client, self.trace, {"step": step, **otherwise})


def _ended(client: Client, trace: str, body: dict[str, Any]) -> dict[str, Any]:
    made = client.post(f"/v1/traces/{trace}/forks", dict[str, Any], body)
    states: list[dict[str, Any]] = []

    def over() -> bool:
        states.append(client.get(f"/v1/forks/{made['id']}", dict[str, Any]))
        return bool(states[-1]["state"] != "running")

    until(over, "the fork to end")
    return states[-1]


@pytest.fixture(scope="module")
def shop(tenure: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """What is forked."""
    rules = shopkeeper.rules(tmp_path_factory.mktemp("shop") / "rules.json")
    with ToolServer(shopkeeper.TOOLS) as server, ProviderProcess(rules) as provider, tenure.client() as client:
        shopkeeper.employ(tenure, provider.url, server.url)
        assert shopkeeper.run(tenure, "recorded") == 5

        def runs() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = client.get("/v1/traces", dict[str, Any], session="recorded")["traces"]
            return found

        until(lambda: [one["calls"] for one in runs()] == [5], "the run to be told")
        yield Shop(runs()[0]["trace_id"], server, provider, client)


@pytest.mark.req("R084")
def test_a_run_is_played_again_with_the_same_model_and_comes_out_the_same_with_nothing_done(
    tenure: Installation, shop: Shop
) -> None:
    figures = shop.client.get("/v1/stats", dict[str, Any])["agents"]
    found = _run(tenure, "runs", "fork", shop.trace, "--from-step", "1")
    assert (found["state"], found["turns"], found["agent"]) == ("finished", 3, shopkeeper.NAME), found
    compared = shop.client.get(f"/v1/traces/{shop.trace}/against/{found['trace_id']}", dict[str, Any])
    assert compared["parting"] is None, compared["because"]
    assert len(compared["pairs"]) == 5
    assert shop.client.get("/v1/stats", dict[str, Any])["agents"] == figures, "a fork is no work of the agent's"
    [session] = shop.client.get("/v1/sessions", dict[str, Any], agent=shopkeeper.NAME, limit=1)["sessions"]
    assert session["session"] == f"fork-{found['id']}"
    assert session["input_tokens"] > 0, "what it cost is told as the fork's"
    assert len(shop.tools.calls) == 2
    assert [one["id"] for one in shop.client.get("/v1/forks", list[dict[str, Any]], trace=shop.trace)] == [found["id"]]


@pytest.mark.req("R084")
def test_another_model_or_prompt_parts_from_the_record_and_what_it_does_not_hold_is_never_called(shop: Shop) -> None:
    slow = shop.fork(1, model=shopkeeper.MODELS[1])
    assert (slow["state"], slow["turns"], slow["changed"]) == ("finished", 2, ["model"])
    compared = shop.client.get(f"/v1/traces/{shop.trace}/against/{slow['trace_id']}", dict[str, Any])
    assert compared["parting"] == 2, "both look the order up, one pays it back"
    assert "The model answered the same question otherwise." in compared["because"]

    later = shop.fork(3, model=shopkeeper.MODELS[1])
    assert later["turns"] == 1, "what was before step 3 is the record's"
    assert shop.client.get(f"/v1/traces/{shop.trace}/against/{later['trace_id']}", dict[str, Any])["parting"] == 2

    other = shop.fork(1, prompt="another order")
    assert (other["state"], other["turns"]) == ("diverged", 1)
    assert "no answer for shop__look_up" in other["detail"]
    assert "Policy says allow to shop/look_up" in other["detail"]
    made_up = shop.fork(1, prompt="another order", stand_in="It was paid yesterday.")
    assert (made_up["state"], made_up["turns"]) == ("finished", 3)
    told = shop.client.get(f"/v1/traces/{made_up['trace_id']}", dict[str, Any])["spans"]
    answers = [one["attributes"] for one in told if one["type"] == "fork.answered"]
    assert [one["tenure.fork.answered"] for one in answers] == ["stand-in", "record"]
    assert len(shop.tools.calls) == 2


_NO_REFUNDS = """
@id("no-refunds") @reason("Refunds have ended.")
forbid (principal, action == Action::"call_tool", resource == Tool::"shop/refund");
@id("all-else") permit (principal, action, resource);
"""


@pytest.mark.req("R084")
def test_with_another_policy_alone_no_model_is_called_and_the_run_ends_where_it_says_no(shop: Shop) -> None:
    before = shop.models.seen()["requests"]
    files = [{"name": "mine.cedar", "text": _NO_REFUNDS}]
    denied = shop.fork(1, policy=files)
    assert (denied["state"], denied["turns"]) == ("refused", 0)
    assert "Refunds have ended. (no-refunds)" in denied["detail"]
    assert shop.models.seen()["requests"] == before
    compared = shop.client.get(f"/v1/traces/{shop.trace}/against/{denied['trace_id']}", dict[str, Any])
    assert (compared["parting"], len(compared["pairs"])) == (3, 5)
    assert compared["because"][0].startswith("It was decided otherwise (allow")
    same = shop.fork(1, policy=[{"name": "mine.cedar", "text": '@id("all") permit (principal, action, resource);'}])
    assert (same["state"], same["detail"]) == ("finished", "Every call of the record is decided as it was.")

    both = shop.fork(1, policy=files, model=shopkeeper.MODELS[0])
    assert (both["state"], both["turns"]) == ("refused", 2), "the model asks for what policy then denies"
    assert len(shop.tools.calls) == 2


@pytest.mark.req("R084")
def test_an_imported_run_is_played_again_on_the_model_of_an_agent_that_is_named(
    tenure: Installation, shop: Shop, shared_data: Path, tmp_path: Path
) -> None:
    records = json.loads(lzma.decompress((shared_data / "tau-bench" / "gpt-4o-airline.json.xz").read_bytes()))
    path = tmp_path / "one.json"
    path.write_text(json.dumps(records[:1]))
    _run(tenure, "import", "tau-bench", str(path))
    [session] = [
        one
        for one in shop.client.get("/v1/sessions", dict[str, Any], source="tau-bench", limit=1)["sessions"]
        if one["calls"]
    ]
    trace = session["trace_id"]
    steps = shop.client.get(f"/v1/traces/{trace}/steps", list[dict[str, Any]])
    at = [one["number"] for one in steps if one["kind"] == "chat"][2]
    with pytest.raises(Refused, match="imported"):
        shop.client.post(f"/v1/traces/{trace}/forks", dict[str, Any], {"step": at})
    named = {"agent": shopkeeper.NAME, "system": "Say nothing of value."}
    found = _ended(shop.client, trace, {"step": at, **named})
    assert (found["state"], found["turns"], found["model"]) == ("finished", 1, shopkeeper.MODELS[0]), found
    compared = shop.client.get(f"/v1/traces/{trace}/against/{found['trace_id']}", dict[str, Any])
    assert compared["parting"] == at - 1
    assert compared["because"][0].startswith("It was given something else (messages[0]")
    decided = _ended(shop.client, trace, {"step": 1, "agent": shopkeeper.NAME, "policy": [_PERMIT_ALL]})
    assert decided["state"] == "refused", "that agent was granted none of the tools"
    assert "was not granted" in decided["detail"]


_POLYGLOT = {"openai": "tool-gpt", "anthropic": "tool-claude", "gemini": "tool-gemini"}


@pytest.mark.req("R084")
def test_a_run_is_played_again_over_its_own_api_and_over_each_other(tenure: Installation, shop: Shop) -> None:
    """The real clients record, two of them streams with a call of a tool in it; each run is then asked for over all."""
    models = [{"provider": kind, "name": name, "base_url": shop.models.url} for kind, name in _POLYGLOT.items()]
    body = manifest("polyglot", shop.models.url, models=models[1:])
    body["spec"]["model"] = models[0]
    tenure.employ(body)
    for own, client in zip(_POLYGLOT.values(), model_clients.CLIENTS, strict=True):
        started = tenure.instance("polyglot")
        peer = client(str(started["gateway_url"]).rstrip("/"), str(started["token"]))
        assert peer.use_tool(own)[0] == {"city": "Paris"}
        peer.close()

    def runs() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = shop.client.get("/v1/traces", dict[str, Any], agent="polyglot")["traces"]
        return [one for one in found if one["calls"] == 2]

    until(lambda: len(runs()) == 3, "the runs to be told")
    own_paths = {"tool-gpt": "/v1/responses", "tool-claude": "/v1/messages"}
    own_paths["tool-gemini"] = "/v1beta/models/tool-gemini:generateContent"
    for run in runs():
        told = shop.client.get(f"/v1/traces/{run['trace_id']}", dict[str, Any])["spans"]
        [own] = {one["attributes"]["gen_ai.request.model"] for one in told if one["type"] == "call.completed"}
        for model in _POLYGLOT.values():
            made = _ended(shop.client, run["trace_id"], {"step": 1, "model": model})
            assert (made["state"], made["turns"]) == ("finished", 2), (own, model, made)
            seen = shop.models.seen()
            wanted = own_paths[model] if own == model or model != "tool-gpt" else "/v1/chat/completions"
            assert seen["path"] == wanted, own
            assert all(word in seen["body"] for word in ("weather", "Paris", "rain")), "the tool's answer was said"
            against = f"/v1/traces/{run['trace_id']}/against/{made['trace_id']}"
            if own == model:
                compared = shop.client.get(against, dict[str, Any])
                assert compared["parting"] is None, (own, compared["because"], compared["pairs"][compared["parting"]])


_PERMIT_ALL = {"name": "all.cedar", "text": '@id("all") permit (principal, action, resource);'}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"step": 2}, "no model is called in it"),
        ({"step": 9}, "has 5 steps"),
        ({"step": 1, "model": "gpt-nobody"}, "may not call gpt-nobody"),
        ({"step": 1, "agent": "nobody"}, "nobody"),
        ({"step": 1, "policy": [{"name": "a.cedar", "text": "permit ("}]}, "a.cedar line 1"),
    ],
)
def test_what_cannot_be_played_again_is_refused_with_the_reason(shop: Shop, body: dict[str, Any], says: str) -> None:
    with pytest.raises(Refused, match=says):
        shop.client.post(f"/v1/traces/{shop.trace}/forks", dict[str, Any], body)
