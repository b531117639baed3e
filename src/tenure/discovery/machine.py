"""Agents among the processes and containers of a machine. Of an environment only the names of variables are looked at,
and of a command line only which program and which script it runs: values and other arguments go nowhere."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tenure.discovery import signs, source
from tenure.discovery.model import Channel, Sighting, name_mark
from tenure.kernel.clients import name_of, telling

PROVIDER_VARIABLES: Mapping[str, str] = {
    "OPENAI_API_KEY": "openai", "AZURE_OPENAI_API_KEY": "openai", "ANTHROPIC_API_KEY": "anthropic",
    "GEMINI_API_KEY": "google", "GOOGLE_API_KEY": "google", "GOOGLE_GENAI_USE_VERTEXAI": "google",
    "MISTRAL_API_KEY": "mistral", "GROQ_API_KEY": "groq", "COHERE_API_KEY": "cohere", "OPENROUTER_API_KEY": "openai",
    "DEEPSEEK_API_KEY": "openai", "XAI_API_KEY": "openai", "TOGETHER_API_KEY": "openai",
    "AWS_BEARER_TOKEN_BEDROCK": "anthropic", "CLAUDE_CODE_OAUTH_TOKEN": "anthropic",
    "ANTHROPIC_AUTH_TOKEN": "anthropic",
}  # fmt: skip
_TRACING = re.compile(
    r"^(LANGCHAIN_TRACING|LANGSMITH_|LANGFUSE_|AGENTOPS_|CREWAI_|TRACELOOP_|LANGGRAPH_|ARIZE_|BRAINTRUST_)"
)
_PROGRAMS = frozenset(
    {
        "claude",
        "codex",
        "cursor-agent",
        "aider",
        "goose",
        "gemini",
        "opencode",
        "openhands",
        "autogpt",
        "crush",
        "gptme",
    }
    | {
        "interpreter",
        "open-interpreter",
        "plandex",
        "sweagent",
        "swe-agent",
        "langgraph",
        "crewai",
        "letta",
        "kiro-cli",
    }
    | {
        "autogenstudio",
        "n8n",
        "flowise",
        "openclaw",
        "amp",
        "droid",
        "qwen",
        "agent-zero",
        "adk",
        "metagpt",
        "langflow",
    }
)
"""Programs, modules and packages that are agents or run them."""
_PACKAGES: Mapping[str, str] = {
    "@anthropic-ai/claude-code": "claude", "@openai/codex": "codex", "@google/gemini-cli": "gemini",
    "@sourcegraph/amp": "amp", "opencode-ai": "opencode", "@qwen-code/qwen-code": "qwen", "aider-chat": "aider",
    "n8n": "n8n", "flowise": "flowise",
}  # fmt: skip
_MODEL_SERVERS = frozenset(
    {"ollama", "vllm", "llama-server", "lmstudio", "text-generation-launcher", "litellm", "sglang"}
)
_TESTS = frozenset({"pytest", "py.test", "tox", "nox", "jest", "vitest", "mocha", "unittest", "playwright", "ava"})
_MACHINERY = frozenset(
    {"ssh-agent", "gpg-agent", "datadog-agent", "zabbix-agentd", "zabbix-agent2", "telegraf", "amazon-ssm-agent"}
    | {"walinuxagent", "google-osconfig-agent", "buildkite-agent", "gitlab-runner", "elastic-agent", "newrelic-infra"}
    | {"polkit-agent-helper-1", "spice-vdagent", "qemu-ga", "lxd-agent", "snmpd", "puppet", "salt-minion", "consul"}
    | {
        "node-exporter",
        "fluent-bit",
        "filebeat",
        "vector",
        "k3s",
        "nomad",
        "teamcity-agent",
        "dd-agent",
        "grafana-agent",
    }
    | {"bash", "zsh", "fish", "sh", "dash", "tmux", "screen", "sshd", "login", "sudo", "su", "code", "vim", "nvim"}
    | {"emacs", "jupyter-lab", "jupyter", "ipython", "docker", "dockerd", "containerd", "podman", "systemd", "make"}
    | {"git", "systemd-tty-ask-password-agent", "chrome-crashpad-handler", "xdg-desktop-portal"}
)
_WORD = re.compile(r"(^|[-_./])(agents?|bot|copilot|assistant|chatbot|crew|autopilot|swarm)([-_./0-9]|$)")
_INTERPRETER = re.compile(
    r"^(python|pypy|node|bun|deno|ruby|java|tsx|ts-node|npx|uvx|uv|poetry|pipx|npm|pnpm|yarn|sh)[\d.]*$"
)
_VALUED = frozenset({"-W", "-X", "--loader", "--import", "-r", "--require", "--env-file", "--directory", "--project"})
_RUNNERS = frozenset({"run", "exec", "x", "dlx", "--"})
_OURS = "TENURE_"
_SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
_MOST = 200


@dataclass(frozen=True, slots=True)
class Running:
    """A process, or what a container runs. ``variables``: the names of its environment."""

    name: str
    command: tuple[str, ...]
    variables: frozenset[str] = frozenset()
    cwd: str = ""
    ident: str = ""


def processes() -> Iterator[Running]:
    """The processes of this machine that this user may look at, but for this one."""
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid():
                continue
            with process.oneshot():
                command = tuple(process.cmdline())
                if command:
                    yield Running(
                        process.name(), command, _variables(process), _folder(process), ident=f"pid {process.pid}"
                    )
        except psutil.Error:
            continue  # it has ended, or is somebody else's


def _variables(process: psutil.Process) -> frozenset[str]:
    try:
        return frozenset(process.environ())
    except (psutil.Error, OSError):
        return frozenset()


def _folder(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except (psutil.Error, OSError):
        return ""


def _program(running: Running) -> tuple[str, str]:
    """(the program, the script or module that it runs): what is behind interpreters and runners."""
    words = list(running.command)
    first = _base(words[0])
    if not _INTERPRETER.match(first):
        return first, ""
    rest = iter(words[1:])
    for word in rest:
        if word in ("-m", "-p", "--package"):
            return first, next(rest, "")
        if word in ("-c", "-e", "--eval"):
            return first, ""
        if word in _VALUED:
            next(rest, None)
        elif word not in _RUNNERS and not word.startswith("-") and not _INTERPRETER.match(_base(word)):
            return first, word
    return first, ""


def _base(word: str) -> str:
    base = re.split(r"[\\/]", word.rstrip(":"))[-1]
    return re.sub(r"\.(exe|cmd|bat)$", "", base)


def sighting(running: Running, host: str, at: datetime, channel: Channel = Channel.PROCESS) -> Sighting | None:
    """What a process shows of an agent; None for one that shows nothing, and for what Tenure itself runs or started
    (``tenure run``), which is registered."""
    if any(name.startswith(_OURS) for name in running.variables):
        return None
    program, script = _program(running)
    stem = re.sub(r"\.(py|js|mjs|cjs|ts|jar|pyz)$", "", _base(script))
    package = _PACKAGES.get(re.sub(r"(?<=.)@[^/]*$", "", script), "")
    known = {name_of(program), name_of(stem), name_of(running.name), script.partition(".")[0].replace("_", "-")}
    found: list[str] = []
    hints: dict[str, Any] = {}
    agent = package or next((name for name in sorted(known) if name in _PROGRAMS), "")
    if agent:
        found.append("agent-program")
    if word := _WORD.search("/".join(script.split("/")[-3:]) if script else program):
        found += ["agent-word"] if word and not agent else []
    providers = [PROVIDER_VARIABLES[name] for name in sorted(running.variables) if name in PROVIDER_VARIABLES]
    if providers:
        found.append("provider-key-name")
        hints["provider"] = providers[0]
    if any(map(_TRACING.match, running.variables)):
        found.append("tracing-name")
    file = _file(script, running.cwd)
    read = source.Read()
    if file is not None:
        source.file_signs(file, read, local={path.stem for path in file.parent.glob("*.py")})
        found += list(read.places)
        hints |= {key: value for key, value in (("framework", read.framework), ("model", read.model)) if value}
    found += _against(known, running.command)
    if not found:
        return None
    name = agent or (stem if telling(name_of(stem)) else "") or _base(running.cwd) or program
    marks = _marks(running, host, name, file, at_home=bool(agent))
    shown = " ".join(filter(None, (program, "-m" if "-m" in running.command else "", script[-160:])))
    names = ", ".join(sorted(set(running.variables) & PROVIDER_VARIABLES.keys()))
    return Sighting(
        channel=channel,
        name=f"{agent} on {host}" if agent else name,
        where=f"{host} {running.ident}".strip() if channel is Channel.CONTAINER else f"{host}:{running.cwd or '?'}",
        what=(shown + (f" with {names} set" if names else ""))[:500],
        marks=marks,
        signs=signs.known(found),
        at=at,
        hints=hints,
    )


def _against(known: Iterable[str], command: Sequence[str]) -> list[str]:
    names = set(known)
    found = ["test-run"] if names & _TESTS or any(_base(word) in _TESTS for word in command[:4]) else []
    found += ["machinery"] if names & _MACHINERY or "agent.jar" in " ".join(command[:4]) else []
    return found + (["model-server"] if names & _MODEL_SERVERS else [])


def _file(script: str, cwd: str) -> Path | None:
    if not script.endswith((".py", ".js", ".mjs", ".cjs", ".ts")):
        return None
    path = Path(cwd or "/", script)
    return path if path.is_file() else None


def _marks(running: Running, host: str, name: str, file: Path | None, *, at_home: bool) -> tuple[str, ...]:
    """A person's assistant is told by where it runs; another program by its name and its script's project."""
    if at_home:
        return (f"path:{host}:{running.cwd or running.ident}#{name}"[:300],)
    marks = [*name_mark(name)]
    if file is not None:
        folder = source.project_of(file, file.parent)
        marks.append(f"path:{host}:{folder}"[:300])
    return tuple(marks) or (f"path:{host}:{running.cwd or running.ident}#{name}"[:300],)


# -- containers
def sockets(environ: Mapping[str, str]) -> list[str]:
    """Where a container engine may listen on this machine."""
    given = environ.get("DOCKER_HOST", "")
    mine = environ.get("XDG_RUNTIME_DIR", "")
    wanted = [given.removeprefix("unix://")] if given.startswith("unix://") else []
    wanted += [*_SOCKETS, *([f"{mine}/podman/podman.sock"] if mine else [])]
    return [path for path in dict.fromkeys(wanted) if Path(path).is_socket()]


def containers(socket: str) -> Iterator[Running]:
    """What runs in the containers of an engine, by its API (the Docker Engine API, which Podman serves as well);
    nothing where it does not answer."""
    try:
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=socket), base_url="http://engine", timeout=10) as client:
            listed = client.get("/containers/json").json()
            for one in listed[:_MOST] if isinstance(listed, list) else []:
                whole = client.get(f"/containers/{one['Id']}/json").json()
                if (found := _container(whole)) is not None:
                    yield found
    except (httpx2.HTTPError, json.JSONDecodeError, KeyError, TypeError):
        return


def _container(whole: Any) -> Running | None:
    config = whole.get("Config") if isinstance(whole, dict) else None
    if not isinstance(config, dict):
        return None
    labels = config.get("Labels") or {}
    named = labels.get("com.docker.compose.service") or str(whole.get("Name", "")).lstrip("/")
    command = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    variables = frozenset(str(one).partition("=")[0] for one in config.get("Env") or ())
    image = _base(str(config.get("Image", "")).partition("@")[0]).partition(":")[0]
    ident = f"container {named} ({image}, {str(whole.get('Id', ''))[:12]})"
    return Running(image, tuple(map(str, command)) or (image,), variables, "", ident)


def container_sighting(running: Running, host: str, at: datetime) -> Sighting | None:
    """As ``sighting``, for a container: the name of the container and its image count as names of the program."""
    found = sighting(running, host, at, Channel.CONTAINER)
    service = running.ident.removeprefix("container ").partition(" ")[0]
    image = running.name
    words = [] if any(name.startswith(_OURS) for name in running.variables) else [image, service]
    more = ["agent-word"] if any(map(_WORD.search, words)) else []
    more += ["agent-program"] if words and name_of(image) in _PROGRAMS else []
    more += _against({name_of(image)}, ()) if words else []
    if not words or (found is None and not more):
        return None
    name = service if telling(name_of(service)) else image
    base = found or Sighting(Channel.CONTAINER, name, f"{host} {running.ident}", f"image {image}", (), (), at)
    marks = (
        *name_mark(name),
        f"container:{host}:{running.ident[-13:-1]}",
        *(m for m in base.marks if m[:5] == "path:"),
    )
    return Sighting(
        channel=Channel.CONTAINER,
        name=name,
        where=base.where,
        what=base.what,
        marks=tuple(marks),
        signs=signs.known([*base.signs, *more]),
        at=at,
        hints=base.hints,
    )
