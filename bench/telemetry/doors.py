"""Three installations that take OTLP over HTTP on this machine, each as its own documentation starts it there.

Phoenix and MLflow come from environments of their own (``scripts/peers phoenix mlflow``) and keep what they get in
SQLite, which is what both do unless they are told of a database server. Phoenix: https://arize.com/docs/phoenix/self-hosting;
MLflow: https://mlflow.org/docs/latest/genai/tracing/opentelemetry/ingest.
"""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import psutil

from bench.telemetry.processes import tree
from bench.telemetry.wire import PROCESSES, PROJECT
from demo.processes import Process, free_port, listening, until
from tenure import __version__
from tests.sim.installation import Installation, clean_environment
from tests.sim.manifests import manifest

ROOT = Path(__file__).resolve().parents[2]
NO_SUCH = "no such question"
_QUIET = {
    "PHOENIX_TELEMETRY_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "ANONYMIZED_TELEMETRY": "false",
}
"""They reach for nobody but us."""


def python_of(peer: str) -> Path:
    """The Python of a peer's environment."""
    return ROOT / ".peers" / peer / "bin" / "python"


def is_here(peer: str) -> bool:
    """Whether its environment is there as its lock has it."""
    made, lock = (folder / peer / "requirements.lock" for folder in (ROOT / ".peers", ROOT / "tests" / "peers"))
    return made.exists() and made.read_bytes() == lock.read_bytes()


def _locked(peer: str, package: str) -> str:
    lines = (ROOT / "tests" / "peers" / peer / "requirements.lock").read_text().splitlines()
    return next(line.split("==")[1].split()[0] for line in lines if line.startswith(f"{package}=="))


class Door(ABC):
    """An installation in ``folder``; ``until`` is when the last span is."""

    name: str
    path: str
    """Of its OTLP."""
    figures_are: str
    """What it is asked for figures."""
    search_is: str
    """What it is asked for text."""
    note: str
    """What an answer to an export means, and what is kept how."""

    def __init__(self, folder: Path, until: datetime) -> None:
        self.folder, self.until = folder, until
        self.port = free_port(0)
        self.client = httpx2.Client(timeout=600, trust_env=False)

    @property
    @abstractmethod
    def version(self) -> str:
        """What was installed."""

    @property
    @abstractmethod
    def process(self) -> Process:
        """The process that all others came of."""

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    @abstractmethod
    def start(self) -> None:
        """Starts it, again too; returns when it takes spans."""

    @abstractmethod
    def headers(self, process: int) -> dict[str, str]:
        """What a process of the fleet sends along."""

    @abstractmethod
    def trace(self, trace_id: str) -> int:
        """Opens a trace, whole: how many spans it has; 0 when it is not there."""

    @abstractmethod
    def newest(self) -> int:
        """Lists the fifty newest traces: how many came."""

    @abstractmethod
    def figures(self) -> Any:
        """Latencies of what was called in 30 days."""

    @abstractmethod
    def search(self, word: str) -> int:
        """Looks for a word in what was said in seven days, for fifty hits: how many came."""

    def url(self, path: str) -> str:
        """Of its API."""
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str, params: Mapping[str, Any], missing: int = 404) -> Any:
        """What it answers; None for ``missing``."""
        answer = self.client.get(self.url(path), params=dict(params))
        return None if answer.status_code == missing else answer.raise_for_status().json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What it answers."""
        return self.client.post(self.url(path), json=body).raise_for_status().json()

    def stop(self) -> None:
        """Ends it as SIGTERM does, all of it."""
        found = tree(self.pid)
        self.process.stop()
        self._kill(found)
        self.client.close()

    def kill(self) -> None:
        """SIGKILL for all of its processes at once."""
        found = tree(self.pid)
        for one in found:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGSTOP)  # so that none of them sees another go
        self._kill(found)

    def _kill(self, found: list[psutil.Process]) -> None:
        for one in found:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(found, 30)
        self.process.stop()

    def bytes_on_disk(self) -> int:
        """Of everything in its folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


class Tenure(Door):
    """``tenure up``: a control plane and a gateway."""

    name, path = "Tenure", "/otlp/v1/traces"
    figures_are = (
        "how often each step was, how it ended and its median, in the newest 1,000 traces (`GET /v1/paths`); by tool "
        f"over all of them: {NO_SUCH}, figures count the calls that a gateway saw"
    )
    search_is = "whole words, in content that lies sealed (`GET /v1/traces/search`)"
    note = (
        "An answer means: on disk, synced. Secrets and personal data are taken out, calls are priced, content lies "
        "under the key of its subject. The processes are a control plane and a gateway, which has nothing to do here."
    )

    def __init__(self, folder: Path, until: datetime) -> None:
        super().__init__(folder, until)
        self._house = Installation(folder)
        self._tokens: list[dict[str, str]] = []

    @property
    def version(self) -> str:
        return __version__

    @property
    def process(self) -> Process:
        assert self._house.up is not None
        return self._house.up

    def start(self) -> None:
        self._house.start()
        self.port = self._house.control_port
        self.client.headers["authorization"] = f"Bearer {self._house.token}"
        if not self._tokens:
            self._house.employ(manifest("fleet", "http://127.0.0.1:9"))
            for _ in range(PROCESSES):
                given = self._house.instance("fleet")["env"]["OTEL_EXPORTER_OTLP_HEADERS"]
                self._tokens.append(dict(pair.split("=", 1) for pair in given.replace("%20", " ").split(",")))

    def headers(self, process: int) -> dict[str, str]:
        return self._tokens[process]

    def trace(self, trace_id: str) -> int:
        found = self.get(f"/v1/traces/{trace_id}", {"decisions": "false"})
        return sum(span["type"] == "otlp.span" for span in found["spans"]) if found else 0

    def newest(self) -> int:
        return len(self.get("/v1/traces", {"limit": 50})["traces"])

    def figures(self) -> Any:
        return self.get("/v1/paths", {"hours": 720, "limit": 1000})["traces"]

    def search(self, word: str) -> int:
        return len(self.get("/v1/traces/search", {"q": word, "window": 7 * 86400, "limit": 50})["hits"])


class _Peer(Door):
    """One that is a command of an environment of its own."""

    command: tuple[str, ...]
    _process: Process

    def environment(self) -> dict[str, str]:
        """What it is told besides its command."""
        return {}

    @property
    def process(self) -> Process:
        return self._process

    def start(self) -> None:
        python = python_of(self.name.lower())
        env = {"HOME": str(self.folder), "PATH": f"{python.parent}:{os.environ['PATH']}", **_QUIET}
        env |= {"TMPDIR": clean_environment().get("TMPDIR", "/tmp")} | self.environment()  # noqa: S108 (the system's own)
        self.folder.mkdir(exist_ok=True)
        words = [word.format(port=self.port, folder=self.folder) for word in self.command]
        self._process = Process((str(python.parent / words[0]), *words[1:]), env)
        until(lambda: self.process.status() is not None or (listening(self.port) and self._serves()), self.name, 300)
        assert self.process.status() is None, "\n".join(self.process.lines[-40:])

    def _serves(self) -> bool:
        try:
            return self.client.get(self.url("/")).status_code < 500
        except httpx2.HTTPError:
            return False


class Phoenix(_Peer):
    """``phoenix serve``."""

    name, path, command = "Phoenix", "/v1/traces", ("phoenix", "serve")
    figures_are = "p50 and p99 of all spans; by tool or agent: no such question (GraphQL, `spanLatencyMsQuantile`)"
    search_is = "a part of a text, in input or output (GraphQL, `spans(filterCondition)`)"
    note = (
        "An answer means: in memory, to be written a hundred at a time; SQLite runs with `synchronous = OFF`. "
        "Content lies as it came."
    )

    @property
    def version(self) -> str:
        return _locked("phoenix", "arize-phoenix")

    def environment(self) -> dict[str, str]:
        place = {"PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(self.port)}
        return place | {"PHOENIX_GRPC_PORT": str(free_port(0)), "PHOENIX_WORKING_DIR": str(self.folder)}

    def headers(self, process: int) -> dict[str, str]:  # noqa: ARG002 (the same for all)
        return {}

    def trace(self, trace_id: str) -> int:
        found = self.get(f"/v1/projects/{PROJECT}/spans", {"trace_id": trace_id, "limit": 1000})
        return len(found["data"]) if found else 0

    def newest(self) -> int:
        return len(self.get(f"/v1/projects/{PROJECT}/traces", {"limit": 50})["data"])

    def _project(self, fields: str) -> Any:
        query = f'{{getProjectByName(name: "{PROJECT}") {{{fields}}}}}'
        return self.post("/graphql", {"query": query})["data"]["getProjectByName"]

    def _since(self, days: int) -> str:
        return f'timeRange: {{start: "{(self.until - timedelta(days=days)).isoformat()}"}}'

    def figures(self) -> Any:
        time = self._since(30)
        asked = [f"p{share}: spanLatencyMsQuantile(probability: 0.{share}, {time})" for share in (50, 99)]
        return self._project(" ".join([*asked, f"recordCount({time})"]))

    def search(self, word: str) -> int:
        condition = f"'{word}' in input.value or '{word}' in output.value"
        spans = (
            f'spans(first: 50, {self._since(7)}, sort: {{col: startTime, dir: desc}}, filterCondition: "{condition}")'
        )
        return len(self._project(f"{spans} {{edges {{node {{name spanId startTime}}}}}}")["spans"]["edges"])


class MLflow(_Peer):
    """``mlflow server``."""

    name, path = "MLflow", "/v1/traces"
    command = (
        *("mlflow", "server", "--host", "127.0.0.1", "--port", "{port}"),
        # Uvicorn ends workers that do not answer in 5 s; on a machine that others use they never would.
        *("--uvicorn-opts", "--timeout-worker-healthcheck 120"),
        *("--backend-store-uri", "sqlite:///{folder}/mlflow.db", "--artifacts-destination", "{folder}/artifacts"),
    )
    figures_are = "mean, p50 and p99 of each name of spans (`POST /api/3.0/mlflow/traces/metrics`)"
    search_is = "a part of a text, in a span as it is kept (`span.content LIKE`)"
    note = (
        "An answer means: on disk, synced. Content lies as it came. The processes are a server, four workers and those "
        "of its jobs."
    )

    def __init__(self, folder: Path, until: datetime) -> None:
        super().__init__(folder, until)
        self._experiment = ""

    @property
    def version(self) -> str:
        return _locked("mlflow", "mlflow")

    def start(self) -> None:
        super().start()
        if not self._experiment:
            made = self.post("/api/2.0/mlflow/experiments/create", {"name": PROJECT})
            self._experiment = made["experiment_id"]

    def headers(self, process: int) -> dict[str, str]:  # noqa: ARG002 (the same for all)
        return {"x-mlflow-experiment-id": self._experiment}

    def trace(self, trace_id: str) -> int:
        found = self.get("/api/3.0/mlflow/traces/get", {"trace_id": f"tr-{trace_id}", "allow_partial": "true"})
        return len(found["trace"]["spans"]) if found else 0

    def _search(self, **terms: Any) -> int:
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": self._experiment}}
        body = {"locations": [place], "max_results": 50, "order_by": ["timestamp_ms DESC"], **terms}
        return len(self.post("/api/3.0/mlflow/traces/search", body).get("traces", []))

    def newest(self) -> int:
        return self._search()

    def figures(self) -> Any:
        since, until = ((self.until - timedelta(days=days)).timestamp() * 1000 for days in (30, -1))
        shares = [{"aggregation_type": "PERCENTILE", "percentile_value": share} for share in (50, 99)]
        asked = {"metric_name": "latency", "aggregations": [{"aggregation_type": "AVG"}, *shares]}
        where = {"experiment_ids": [self._experiment], "view_type": "SPANS", "dimensions": ["span_name"]}
        times = {"start_time_ms": int(since), "end_time_ms": int(until)}
        return self.post("/api/3.0/mlflow/traces/metrics", {**where, **asked, **times})["data_points"]

    def search(self, word: str) -> int:
        since = int((self.until - timedelta(days=7)).timestamp() * 1000)
        return self._search(filter=f"trace.timestamp_ms > {since} AND span.content LIKE '%{word}%'")


DOORS: Mapping[str, type[Door]] = {"tenure": Tenure, "phoenix": Phoenix, "mlflow": MLflow}
