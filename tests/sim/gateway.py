"""Real gateway and model provider processes for tests and benchmarks, and what their agents are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tenure.base.config import Config, environment
from tenure.kernel.snapshot import AgentFact, BreakerFact, ModelFact, ToolFact, Upstream
from tenure.kernel.values import LifecycleState
from tests.sim.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = ROOT / "src" / "tenure" / "policy" / "defaults"


def default_policies() -> tuple[tuple[str, str], ...]:
    """The policies that a new installation starts with."""
    return tuple((path.name, path.read_text()) for path in sorted(DEFAULTS.glob("*.cedar")))


def agent_fact(
    base_url: str,
    models: tuple[str, ...],
    *,
    name: str = "clerk",
    breaker: BreakerFact | None = None,
    hold_timeout_s: float = 20.0,
    tools: tuple[ToolFact, ...] = (),
    credential_env: str | None = "PROVIDER_KEY",
) -> AgentFact:
    """An agent in production that may ask ``base_url`` for ``models``."""
    return AgentFact(
        workspace="default",
        name=name,
        state=LifecycleState.PRODUCTION,
        release="sha256:r1",
        credential_epoch=1,
        owner="owner@example.com",
        purpose="answers letters",
        models=tuple(ModelFact(model, Upstream(base_url, credential_env)) for model in models),
        tools=tools,
        breaker=breaker or BreakerFact(threshold=1000),
        hold_timeout_s=hold_timeout_s,
    )


class Process:
    """A child process that says in its first line where it listens (the line's last word)."""

    def __init__(self, arguments: list[str], env: dict[str, str] | None = None, log: Path | None = None) -> None:
        self._log = log.open("ab") if log is not None else None
        self.child = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        assert "ready" in line, f"{arguments} did not start (status {self.child.wait(5)})"
        self.url = line.split()[-1]

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def stop(self) -> int:
        """Asks it to end, and waits."""
        if self.child.poll() is None:
            self.child.terminate()
        return self._reap()

    def kill(self) -> int:
        """Ends it without asking (SIGKILL)."""
        self.child.kill()
        return self._reap()

    def _reap(self) -> int:
        status = self.child.wait(20)
        if self.child.stdout is not None:
            self.child.stdout.close()
        if self._log is not None:
            self._log.close()
        return status


class ProviderProcess(Process):
    """The scripted model provider. ``url`` is its base URL, with ``/v1``."""

    def __init__(self, rules: Path | None = None) -> None:
        super().__init__(["tests.sim.model_provider", *(["--rules", str(rules)] if rules else [])])

    def seen(self) -> dict[str, Any]:
        """What has arrived there."""
        return _get_json(self.url.removesuffix("/v1") + "/_seen")[1]


class GatewayProcess(Process):
    """A gateway on the data folder ``data_dir`` and the control plane at ``control_port``."""

    def __init__(self, data_dir: Path, control_port: int, env: dict[str, str] | None = None, **settings: Any) -> None:
        values: dict[str, Any] = {"control_port": control_port, "gateway_port": free_port(), "drain_s": 3.0}
        values["env_credentials"] = "PROVIDER_KEY=127.0.0.1:*,OTHER_KEY=127.0.0.1:*"
        values |= settings
        config = Config(data_dir=data_dir, **values)
        variables = {**environment(config), "PROVIDER_KEY": "provider-secret", **(env or {})}
        super().__init__(["tenure.gateway"], variables, data_dir / "gateway.log")

    def acts_on(self, version: int) -> bool:
        """Whether it has the facts of that version, and they are confirmed."""
        status, health = self.health()
        return status == 200 and health["snapshot"] == version

    def health(self) -> tuple[int, dict[str, Any]]:
        """(HTTP status, body) of ``/healthz``."""
        return _get_json(self.url + "/healthz")


def _get_json(url: str) -> tuple[int, dict[str, Any]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
