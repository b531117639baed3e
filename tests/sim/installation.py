"""A whole Tenure, as a person would start it: ``tenure up`` on free ports and a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil

from demo.processes import Process, free_port, until
from tenure.client import Client

COMMAND = (sys.executable, "-m", "tenure.app.main")


def clean_environment() -> dict[str, str]:
    """This process's environment without any setting of Tenure."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}


class Installation:
    """``with Installation(folder) as tenure:`` is a running Tenure."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.control_port, self.gateway_port = free_port(0), free_port(0)
        self.control = f"http://127.0.0.1:{self.control_port}"
        self.gateway = f"http://127.0.0.1:{self.gateway_port}"
        self.env = {
            **clean_environment(),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "TENURE_DATA": str(folder),
            "TENURE_CONTROL_PORT": str(self.control_port),
            "TENURE_GATEWAY_PORT": str(self.gateway_port),
            "TENURE_OTLP_PORT": "0",
            "TENURE_DRAIN": "3",
            "COLUMNS": "200",
            **(settings or {}),
        }
        self.up: Process | None = None

    def start(self) -> Process:
        """Starts it and waits until it is ready."""
        up = self.up = Process((*COMMAND, "up"), self.env)
        until(lambda: any("ready in" in line for line in up.lines) or up.status() is not None, "Tenure", 40)
        assert up.status() is None, "\n".join(up.lines)
        return up

    def stop(self) -> None:
        """Ends it as Ctrl-C would."""
        if self.up is not None:
            self.up.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: object) -> None:
        self.stop()
        if kind is not None and self.up is not None:
            print("\n".join(self.up.lines[-60:]))

    @property
    def token(self) -> str:
        """The first operator's credential for this machine's commands."""
        return (self.folder / "operator.token").read_text().strip()

    def client(self) -> Client:
        """A client of the first operator."""
        return Client(self.control, self.token)

    def run(self, *words: str, expect: int = 0) -> str:
        """Runs a ``tenure`` command and returns what it printed."""
        done = subprocess.run((*COMMAND, *words), env=self.env, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == expect, f"tenure {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def employ(self, manifest: dict[str, Any], state: str = "staging") -> None:
        """Takes an agent from its manifest to ``staging`` or ``production``."""
        name = manifest["metadata"]["name"]
        with self.client() as client:
            client.put(f"/v1/agents/{name}", dict[str, Any], manifest)
            self.move(name, "approved")
            until(lambda: self.state(name) == "provisioned", f"{name} to be provisioned")
            for to in ("staging", "production")[: 1 + (state == "production")]:
                self.move(name, to)

    def move(self, name: str, to: str) -> None:
        """One lifecycle transition."""
        with self.client() as client:
            client.post(f"/v1/agents/{name}/transitions", dict[str, Any], {"to": to, "reason": "a test needs it"})

    def state(self, name: str) -> str:
        """The lifecycle state of an agent."""
        with self.client() as client:
            return str(client.get(f"/v1/agents/{name}", dict[str, Any])["state"])

    def instance(self, name: str) -> dict[str, Any]:
        """Starts an instance of an agent: its token, its session and its environment."""
        with self.client() as client:
            return client.post(f"/v1/agents/{name}/instances", dict[str, Any], {})

    def child(self, name: str) -> psutil.Process:
        """The supervised process that serves as ``control`` or ``gateway``."""
        found = self._find(name)
        assert found is not None, f"no process serves as {name}"
        return found

    def pid(self, name: str) -> int:
        """Its process id, 0 while there is none."""
        found = self._find(name)
        return found.pid if found else 0

    def _find(self, name: str) -> psutil.Process | None:
        assert self.up is not None
        module = {"control": "tenure.app.server", "gateway": "tenure.gateway"}[name]
        for process in psutil.Process(self.up.pid).children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if module in process.cmdline():
                    return process
        return None
