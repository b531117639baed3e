"""Tools of CrewAI, AutoGen and ADK under the same decisions as any other: let pass, denied, held, without a gateway."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from demo.processes import free_port, until
from tests.peers.conftest import ROOT, House, needs

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tenure as the developer of a crew installs it: without what it requires, which is for the control plane."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", str(target), str(ROOT)], check=True)
    return target


def _ran(house: House, installed: Path, peer: str, *words: str, **env: str) -> dict[str, Any]:
    spool = {"TENURE_SPOOL": str(house.home / "spool"), "PYTHONPATH": str(installed)}
    ran = house.run(peer, *words, env=spool | env, agent="teller", script="governed.py")
    found: dict[str, Any] = json.loads(ran.said.splitlines()[-1])
    return found | {"trace": ran.trace}


def _crew(house: House, installed: Path, *words: str, **env: str) -> dict[str, Any]:
    found = _ran(house, installed, "crewai", *words, **env)
    assert Path(found["from"]).is_relative_to(installed)
    return found


def _calls(house: House, trace: str, count: int) -> list[dict[str, Any]]:
    """What is on record of the tools of a trace."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        with house.tenure.client() as client:
            spans = client.get(f"/v1/traces/{trace}", dict[str, Any])["spans"]
        mine = [span for span in spans if str(span["attributes"].get("tenure.resource", "")).startswith("local/")]
        found[:] = [span for span in mine if span["type"].startswith("call.")]
        return len(found) >= count

    until(there, f"{count} calls on record", 120)
    return found


@needs("crewai")
@pytest.mark.req("R048", "R054")
def test_a_crews_tools_run_when_they_may_and_the_model_hears_why_not(house: House, installed: Path) -> None:
    found = _crew(house, installed, "0", "Pay 5.", "Pay 500.", "Pay 13.", "Pay 66.", "note it", "look a")
    ran, cut, left = found["ran"]
    assert (ran, left) == ("refund 5", "look a"), "what is not named in `only` is left alone"
    assert cut.startswith("note to [redacted:"), "what policy takes out never reaches the tool"
    paid, denied, failed, undecided, _noted, seen = found["answers"]
    assert (paid, seen) == ("You said: paid 5", "You said: seen a")
    assert denied == "You said: refund was not called: Refunds end at 100."
    assert "no luck" in failed
    assert undecided == "You said: refund was not called: it could not be decided: KeyError('local/refund')"
    told = [(span["type"], span["attributes"]) for span in _calls(house, found["trace"], 4)]
    assert [kind for kind, _ in told] == ["call.completed", "call.refused", "call.completed", "call.completed"]
    assert told[0][1]["gen_ai.tool.call.arguments"] == {"amount": 5}
    assert told[0][1]["gen_ai.tool.call.result"] == "paid 5"
    assert told[0][1]["tenure.justification"] == "the customer asked for {'amount': 5}"
    assert told[0][1]["tenure.confidence"] == 90
    assert told[2][1]["error.type"] == "tool_error"
    assert "no luck" in told[2][1]["error.message"]


@needs("crewai")
@pytest.mark.req("R063")
def test_a_held_call_of_a_crew_waits_for_its_person(house: House, installed: Path) -> None:
    def waiting() -> list[str]:
        with house.tenure.client() as client:
            found = client.get("/v1/approvals", list[dict[str, Any]], state="pending")
        return [str(one["id"]) for one in found if one["resource"] == "local/delete"]

    with ThreadPoolExecutor(1) as pool:
        crew = pool.submit(_crew, house, installed, "300", "delete a")
        until(lambda: len(waiting()) == 1 or crew.done(), "the call to wait", 300)
        assert not crew.done(), crew.result()
        with house.tenure.client() as client:
            word = {"decision": "approve", "reason": "said once"}
            client.post(f"/v1/approvals/{waiting()[0]}/decision", dict[str, Any], word)
        found = crew.result(300)
    assert (found["answers"], found["ran"]) == (["You said: deleted a"], ["delete a"])
    held = _crew(house, installed, "0", "delete a")
    assert held["ran"] == [], "one approval, one call"
    assert held["answers"][0].startswith("You said: delete was not called: ")


@needs("crewai")
def test_without_a_gateway_a_crew_goes_on_where_the_workspace_says_so(house: House, installed: Path) -> None:
    _crew(house, installed, "0", "Pay 5.")  # hears that refunds may go on
    nobody = f"http://127.0.0.1:{free_port(0)}/mcp"
    alone = _crew(house, installed, "0", "Pay 5.", "delete a", TENURE_MCP_URL=nobody)
    assert alone["ran"] == ["refund 5"]
    assert "No gateway answered" in alone["answers"][1]
    back = _crew(house, installed, "0", "Pay 5.")

    def told() -> bool:
        with house.tenure.client() as client:
            events = client.get("/v1/events", dict[str, Any], agent="teller", limit=200)["events"]
        found = [one["event"] for one in events if one["event"]["data"].get("tenure.alone")]
        kinds = [(one["type"], one["data"]["tenure.resource"]) for one in found]
        return kinds == [("call.completed", "local/refund"), ("call.refused", "local/delete")]

    until(told, "what was decided alone to be on record", 120)
    assert back["ran"] == ["refund 5"]


@pytest.mark.req("R048", "R054")
@pytest.mark.parametrize("peer", [pytest.param(peer, marks=needs(peer)) for peer in ("autogen", "adk")])
def test_the_decorator_governs_what_autogen_and_adk_take_for_tools(house: House, installed: Path, peer: str) -> None:
    found = _ran(house, installed, peer, "Pay 5.", "Pay 500.")
    assert found["ran"] == ["refund 5"]
    assert "paid 5" in found["answers"][0]
    assert "Refunds end at 100." in found["answers"][1]
    told = _calls(house, found["trace"], 2)
    assert [span["type"] for span in told] == ["call.completed", "call.refused"]
    assert told[0]["attributes"]["gen_ai.tool.call.arguments"] == {"amount": 5}


@pytest.mark.parametrize("peer", ["crewai", "adk"])
def test_what_the_docs_show_is_what_runs_here(peer: str) -> None:
    script = (ROOT / "tests" / "peers" / peer / "governed.py").read_text()
    (shown,) = re.findall(rf"```python\n# {peer}\n(.*?)```", (ROOT / "docs" / "sdk.md").read_text(), re.DOTALL)
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    assert lines
    assert [line for line in lines if line not in (own.strip() for own in script.splitlines())] == []
