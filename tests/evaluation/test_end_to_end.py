"""The commands against a whole running Tenure: import, a kill in the middle, figures, replay."""

from __future__ import annotations

import json
import lzma
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import until
from tenure.kernel.ids import session_trace
from tests.sim.installation import COMMAND, Installation


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
