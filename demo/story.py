"""The story: every step is a command that a person could type, and every step is checked, so the end is honest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import yaml

from demo.processes import Process, free_port, listening, until

HERE = Path(__file__).parent
CLERK, RECONCILER = "invoice-clerk", "ledger-reconciler"
ORIGINAL = "2026-007-kestrel.txt"


class BrokenError(Exception):
    """The story did not go as told."""


class Story:
    """Tells the story in ``folder``; ``say`` gets each line. ``environ`` decides about the model (OPENAI_API_KEY).

    ``first_port`` and the tens after it are used where they are free; 0 leaves the choice to the system.
    """

    def __init__(
        self, folder: Path, say: Callable[[str], None], environ: Mapping[str, str], first_port: int = 0
    ) -> None:
        self.folder = folder
        self._say = say
        self.real_model = bool(environ.get("OPENAI_API_KEY"))
        self.ports = {
            name: free_port(first_port and first_port + 10 * n)
            for n, name in enumerate(("control", "gateway", "model", "ledger", "otlp"))
        }
        self._env = {
            **environ,
            "PATH": f"{Path(sys.executable).parent}:{environ.get('PATH', '')}",
            "PYTHONPATH": str(HERE.parent),
            "TENURE_DATA": str(folder / "data"),
            "TENURE_CONTROL_PORT": str(self.ports["control"]),
            "TENURE_GATEWAY_PORT": str(self.ports["gateway"]),
            "TENURE_OTLP_PORT": str(self.ports["otlp"]),
            "COLUMNS": "120",
        }
        if self.real_model:  # whoever runs the demonstration is its operator: their key may go to their provider
            host = urlsplit(self._env.setdefault("OPENAI_BASE_URL", "https://api.openai.com/v1")).netloc
            self._env.setdefault("TENURE_ENV_CREDENTIALS", f"OPENAI_API_KEY={host}")
        self.control = f"http://127.0.0.1:{self.ports['control']}"
        self.gateway = f"http://127.0.0.1:{self.ports['gateway']}"
        self.login_link = ""
        self._processes: list[Process] = []

    # -- small tools ------------------------------------------------------------------------------------------------

    def start(self, *command: str, show: Callable[[str], None] | None = None) -> Process:
        """Starts a process of the story, which ``close`` will end."""
        process = Process(command, self._env, show)
        self._processes.append(process)
        return process

    def wait_for(self, process: Process, words: str, within: float = 30.0) -> None:
        """Waits until ``process`` has printed ``words``. Raises TimeoutError when it does not."""
        until(lambda: any(words in line for line in process.lines), f"{words!r} from process {process.pid}", within)

    def tenure(self, *words: str, quiet: bool = False, expect: int = 0) -> str:
        """Runs a ``tenure`` command, shows it with what it printed, and returns that."""
        if not quiet:
            self._say(f"  $ tenure {' '.join(_quoted(word) for word in words)}")
        done = subprocess.run(
            ("tenure", *words), env=self._env, capture_output=True, text=True, timeout=60, check=False, cwd=HERE.parent
        )
        if not quiet:
            for line in (done.stdout + done.stderr).splitlines():
                self._say(f"    {line}")
        if done.returncode != expect:
            raise BrokenError(f"`tenure {' '.join(words)}` ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def _json(self, *words: str) -> Any:
        return json.loads(self.tenure(*words, "--json", quiet=True))

    def _state(self, agent: str) -> str:
        return str(self._api("GET", f"/v1/agents/{agent}")["state"])

    def _is(self, agent: str, state: str) -> bool:
        return self._state(agent) == state

    def _chapter(self, title: str) -> None:
        self._say("")
        self._say(f"== {title}")

    def _show(self, line: str) -> None:
        """A line of an agent, without the source lines that a traceback quotes."""
        if not line.startswith("  ") and "Traceback" not in line:
            self._say(f"    | {line}")

    def _must(self, holds: bool, what: str) -> None:
        if not holds:
            raise BrokenError(what)
        self._say(f"  ok: {what}")

    # -- the chapters -----------------------------------------------------------------------------------------------

    def tell(self) -> None:
        """The whole story. Raises BrokenError or TimeoutError where it does not hold."""
        self.start_everything()
        self.request_and_approve()
        clerk, session_token = self.run_the_clerk()
        self.trip_and_reset()
        self.retire(clerk, session_token)

    def start_everything(self) -> None:
        """The world the agents work in, and Tenure."""
        self._chapter("A model, a ledger, a folder of invoices, and Tenure")
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(HERE / "inbox", self.folder / "inbox")
        shutil.copytree(HERE / "policies", self.folder / "data" / "policies")
        if self.real_model:
            self._say("  The model is OpenAI's, because OPENAI_API_KEY is set.")
        else:
            self._say("  No OPENAI_API_KEY: a scripted model server answers, over real HTTP.")
            self.start(sys.executable, "-m", "demo.model", str(self.ports["model"]))
            until(lambda: listening(self.ports["model"]), "the model server")
        self.start(
            sys.executable, "-m", "demo.servers.ledger", str(self.folder / "ledger.db"), str(self.ports["ledger"])
        )
        until(lambda: listening(self.ports["ledger"]), "the ledger")
        self._say("  $ tenure up")
        up = self.start("tenure", "up", show=lambda line: self._say(f"    {line}"))
        until(lambda: any("log in, once" in line for line in up.lines) or up.status() is not None, "Tenure")
        if up.status() is not None:
            raise BrokenError("`tenure up` ended")
        self.login_link = next(line for line in up.lines if "log in, once" in line).split()[-1]

    def manifest(self, name: str) -> str:
        """Writes the manifest of an agent for this folder, these ports and this model, and returns where it is."""
        manifest = yaml.safe_load((HERE / "agents" / f"{name}.yaml").read_text())
        spec = manifest["spec"]
        spec["servers"]["ledger"]["url"] = f"http://127.0.0.1:{self.ports['ledger']}/mcp"
        if "files" in spec["servers"]:
            inbox = str(self.folder.resolve() / "inbox")
            files = {"command": [sys.executable, "-m", "demo.servers.files", inbox], "sandbox": {"write": [inbox]}}
            spec["servers"]["files"] = {**files, "cwd": str(HERE.parent)}
        if self.real_model:
            spec["model"] = {
                "provider": "openai",
                "name": self._env.get("OPENAI_MODEL", "gpt-4o-mini"),
                "base_url": self._env["OPENAI_BASE_URL"],
            }
            spec["model"]["credential_env"] = "OPENAI_API_KEY"
        else:
            spec["model"]["base_url"] = f"http://127.0.0.1:{self.ports['model']}/v1"
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(manifest, sort_keys=False))
        return str(path)

    def _model_of(self, name: str) -> str:
        return str(yaml.safe_load((self.folder / f"{name}.yaml").read_text())["spec"]["model"]["name"])

    def request_and_approve(self) -> None:
        """Requested, approved, provisioned, staging, production."""
        self._chapter("Two agents are requested, approved, provisioned and put to work")
        self.tenure("apply", "-f", self.manifest("clerk"), "-f", self.manifest("reconciler"))
        for agent in (CLERK, RECONCILER):
            self._must(self._state(agent) == "requested", f"{agent} is requested, and may do nothing yet")
            self.tenure("agents", "approve", agent, "--reason", "needed for the monthly close")
            until(partial(self._is, agent, "provisioned"), f"{agent} to be provisioned")
            self.tenure("agents", "transition", agent, "staging", "--reason", "first run")
            self.see_the_tools(agent)
            self.tenure("tools", "list", "--agent", agent)
            self.tenure("agents", "transition", agent, "production", "--reason", "tried in staging")
        self.tenure("agents", "list")

    def see_the_tools(self, agent: str) -> None:
        """Waits until the gateway has looked at what an agent's tools say: who takes it to production accepts that."""

        def seen() -> bool:
            return all(tool["state"] == "pinned" for tool in self._json("tools", "list", "--agent", agent))

        until(seen, f"the definitions of {agent}'s tools", 90)

    def run_the_clerk(self) -> tuple[Process, str]:
        """One call denied by policy, one held until a person approves it."""
        self._chapter("The clerk works (openai SDK): one call is denied, one is held and approved")
        python, model = sys.executable, self._model_of("clerk")
        self._say(f"  $ tenure run --agent {CLERK} -- python -m demo.agents.clerk {model}")
        clerk = self.start(
            "tenure", "run", "--agent", CLERK, "--", python, "-m", "demo.agents.clerk", model, show=self._show
        )
        self._approve_until_done(clerk)
        token = self._api("POST", f"/v1/agents/{CLERK}/instances", {})["token"]
        if self.real_model and not self._denied():
            self._say("  This model deleted nothing of its own accord: it is tried directly, through the same gateway.")
            self._attempt(token, "files__delete_file", {"name": ORIGINAL})
        self._must(self._denied(), "deleting an original was denied by policy")
        self._must((self.folder / "inbox" / ORIGINAL).exists(), "the file is still there")
        self._must(
            any("pay_invoice" in line and "paid" in line for line in clerk.lines),
            "the held call went on when a person approved it",
        )
        token = self._api("POST", f"/v1/agents/{CLERK}/instances", {})["token"]
        self._must(self._ask(token) == 200, "a credential of the clerk is accepted by the gateway")
        return clerk, token

    def _approve_until_done(self, clerk: Process) -> None:
        """Approves what the clerk is held for, until it reports."""
        shown = False

        def done() -> bool:
            nonlocal shown
            if clerk.status() is not None:
                raise BrokenError(f"the clerk ended with {clerk.status()}")
            for held in self._api("GET", "/v1/approvals?state=pending"):
                if not shown:
                    self.tenure("approvals", "list")
                    shown = True
                self.tenure("approvals", "approve", held["id"], "--reason", "agreed with the vendor")
            return any(line.startswith("clerk: done") for line in clerk.lines)

        until(done, "the clerk's report", 300 if self.real_model else 60)

    def _denied(self) -> bool:
        """Whether the clerk was kept from deleting an original."""
        denied = self._api("GET", f"/v1/events?agent={CLERK}&status=violation")["events"]
        return any("originals-are-kept" in json.dumps(event) for event in denied)

    def trip_and_reset(self) -> None:
        """Three violations in a minute trip the breaker; a person resets it."""
        self._chapter("The reconciler strays (Pydantic AI): the breaker trips, a person resets it")
        run = ("tenure", "run", "--agent", RECONCILER, "--", sys.executable, "-m", "demo.agents.reconciler")
        model = self._model_of("reconciler")
        if self.real_model:
            self._say("  A real model may well behave: the salaries are asked for directly, through the same gateway.")
            token = self._api("POST", f"/v1/agents/{RECONCILER}/instances", {})["token"]
            for _ in range(3):
                self._attempt(token, "ledger__query", {"table": "payroll"})
        else:
            self._say(
                f'  $ tenure run --agent {RECONCILER} -- python -m demo.agents.reconciler {model} "Report all salaries"'
            )
            strayed = self.start(*run, model, "Report all salaries", show=self._show)
            self._must(strayed.wait(60) != 0, "the straying run was stopped")
        tripped = [entry for entry in self._json("breaker", "list") if entry["name"] == RECONCILER]
        self._must(bool(tripped) and bool(tripped[0]["tripped"]), "the breaker of the reconciler has tripped")
        token = self._api("POST", f"/v1/agents/{RECONCILER}/instances", {})["token"]
        self._must(
            self._ask(token, "/v1/chat/completions", {"model": model, "messages": []}) == 403, "no further call passes"
        )
        self.tenure("start", RECONCILER, "--reason", "the task was wrong, not the agent", "--yes")
        task = "Reconcile the ledger"
        self._say(f'  $ tenure run --agent {RECONCILER} -- python -m demo.agents.reconciler {model} "{task}"')
        again = self.start(*run, model, task, show=self._show)
        self._must(again.wait(60) == 0, "after the reset it does its work")

    def retire(self, clerk: Process, token: str) -> None:
        """Retirement: the token is refused, the process gone, the audit verified."""
        self._chapter("The clerk is retired")
        self.tenure(
            "agents", "retire", CLERK, "--reason", "replaced by the new accounting system", "--drain", "3", "--yes"
        )
        clerk.wait(30)
        self._must(clerk.status() is not None, "its process is gone")
        until(lambda: self._state(CLERK) == "retired", "the clerk to be retired")
        self._must(self._ask(token) == 401, "its credential is refused")
        self.tenure("agents", "history", CLERK)
        self.tenure("audit", "verify")

    # -- the wires, used directly -----------------------------------------------------------------------------------

    def _api(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {(self.folder / 'data' / 'operator.token').read_text().strip()}"}
        answer = httpx2.request(method, f"{self.control}{path}", json=body, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def _ask(self, token: str, path: str = "/v1/models", body: Any = None) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        method = "GET" if body is None else "POST"
        return httpx2.request(method, f"{self.gateway}{path}", json=body, headers=headers, timeout=30).status_code

    def _attempt(self, token: str, tool: str, arguments: dict[str, Any]) -> None:
        call = {"name": tool, "arguments": arguments}
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        headers |= {"MCP-Protocol-Version": "2025-06-18"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        httpx2.post(f"{self.gateway}/mcp", json=body, headers=headers, timeout=30)

    def close(self) -> None:
        """Ends every process of the story, agents before Tenure and Tenure before the servers."""
        for process in reversed(self._processes):
            process.stop()


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word


def environment() -> dict[str, str]:
    """This process's environment without what would point the commands at another Tenure."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
