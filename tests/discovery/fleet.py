"""A planted fleet: agents that nobody registered, on every channel, and things that only look like them.

It was made from how these clients, frameworks and programs look in their documentation. It has what the rules do not
know by name as well as what they do: what is measured on it holds for such a fleet and for no other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY = "sk-proj-" + "Ab3dEf9hIjK2mNoPq7sTuVwXyZ1c4Fg5HiJk6LmN8"
"""Shaped like a provider's key; it opens nothing."""
SDK = "OpenAI/Python 1.99.1"


@dataclass(frozen=True)
class Planted:
    """One of the fleet. ``name``: what tells it in the results; ``channel``: how it is met; ``what``: how it looks."""

    name: str
    channel: str
    agent: bool
    what: Mapping[str, Any] = field(default_factory=dict)


def _asks(name: str, agent: bool, user_agent: str, *, key: str = "", times: int = 1, **more: Any) -> Planted:
    what = {"path": "/v1/chat/completions", "method": "POST", "user_agent": user_agent, "key": key, "times": times}
    return Planted(name, "gateway", agent, what | more)


def _token(name: str) -> str:
    return f"sk-{name.replace('-', '')}-0123456789abcdef"


GATEWAY = [
    _asks("g-openai-sdk", True, SDK, key=_token("invoices")),
    _asks("g-async-openai", True, "AsyncOpenAI/Python 1.40.0", key=_token("tickets"), times=3),
    _asks("g-anthropic", True, "Anthropic/Python 0.60.0", key=_token("legal"), path="/v1/messages"),
    _asks("g-js-sdk", True, "OpenAI/JS 5.10.1", key=_token("sales"), path="/v1/responses"),
    _asks("g-named", True, "churn-watch/2.1 python-httpx/0.28", key=_token("churn")),
    _asks("g-requests-loop", True, "python-requests/2.32.3", key=_token("scraper"), times=12),
    _asks("g-crewai", True, "crewai/0.130 python-httpx/0.28", key=_token("crew")),
    _asks(
        "g-gemini", True, "google-genai-sdk/1.20 gl-python/3.11", path="/v1beta/models/gemini-2.5-pro:generateContent"
    ),
    _asks("g-go-slow", True, "Go-http-client/1.1", key=_token("golang"), times=2),
    _asks("g-curl", False, "curl/8.5.0", key=_token("trying"), times=3),
    _asks("g-curl-models", False, "curl/8.5.0", path="/v1/models", method="GET"),
    _asks(
        "g-browser",
        False,
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0 Safari/537.36",
        method="GET",
    ),
    _asks("g-postman", False, "PostmanRuntime/7.43.0", key=_token("postman")),
    _asks("g-kube-probe", False, "kube-probe/1.31", path="/v1", method="GET", times=40),
    _asks("g-prometheus", False, "Prometheus/2.55", path="/v1/metrics", method="GET", times=40),
    _asks("g-scanner", False, "Mozilla/5.0 zgrab/0.x", path="/v1/messages", times=2),
    _asks("g-expired", False, SDK, key="EXPIRED", times=5),
    _asks("g-wrong-door", False, SDK, key="WRONG_AUDIENCE", times=2),
    _asks("g-embeddings", False, SDK, key=_token("embed"), path="/v1/embeddings", times=9),
    _asks("g-list-models", False, SDK, key=_token("lister"), path="/v1/models", method="GET"),
    _asks("g-httpie", False, "HTTPie/3.2.4", key=_token("httpie")),
    _asks("g-node-once", False, "node", path="/v1/models", method="GET"),
    _asks("g-load-test", False, "k6/0.54.0", key=_token("load"), times=30),
    _asks("g-uptime", False, "UptimeRobot/2.0", path="/v1/models", method="GET", times=10),
    _asks("g-developer-sdk-once", False, SDK, key=_token("firsttry")),
]


def _spans(name: str, agent: bool, service: str, of: str = "", *, gen_ai: bool = True) -> Planted:
    return Planted(name, "otlp", agent, {"service": service, "of": of, "gen_ai": gen_ai})


OTLP = [
    _spans("o-service", True, "refund-robot"),
    _spans("o-service-and-agent", True, "night-desk", "triage"),
    _spans("o-agent-only", True, "night-shift", "escalator"),
    _spans("o-underscored", True, "lead_scorer"),
    _spans("o-inner-agent-of-unnamed-service", True, "unknown_service", "contract-reader"),
    _spans("o-own", False, "clerk"),
    _spans("o-own-inner", False, "clerk", "planner"),
    _spans("o-unknown-service", False, "unknown_service:python"),
    _spans("o-no-model", False, "postgres-proxy", gen_ai=False),
    _spans("o-other-registered", False, "auditor"),
    _spans("o-frontend", False, "shop-frontend", gen_ai=False),
]


def _client(name: str, agent: bool, client: str, *, stranger: bool = False, user_agent: str = "") -> Planted:
    return Planted(name, "mcp", agent, {"client": client, "stranger": stranger, "user_agent": user_agent})


MCP = [
    _client("m-cursor", True, "cursor-vscode"),
    _client("m-claude", True, "claude-code"),
    _client("m-stranger", True, "warehouse-helper", stranger=True, user_agent="python-httpx/0.28"),
    _client("m-unnamed-client", True, "stock-mover"),
    _client("m-stranger-sdk", True, "mcp", stranger=True, user_agent="python-httpx2/2.0"),
    _client("m-own", False, "clerk"),
    _client("m-library", False, "mcp"),
    _client("m-adapter", False, "langchain-mcp-adapters"),
    _client("m-inspector", False, "mcp-inspector"),
    _client("m-stranger-inspector", False, "mcp-inspector", stranger=True, user_agent="node"),
    _client("m-framework", False, "openai-agents"),
]

A2A = [
    Planted("a-unknown-peer", "a2a", True, {"peer": "price-negotiator"}),
    Planted("a-card", "card", True, {"card": {"name": "Customs Broker", "description": "clears", "url": "http://x"}}),
    Planted("a-old-card", "card", True, {"card": {"name": "Route Planner", "url": "http://x"}, "old": True}),
    Planted("a-known-peer", "a2a", False, {"peer": "auditor"}),
    Planted("a-registered-card", "card", False, {"card": {"name": "auditor", "url": "http://x"}}),
    Planted("a-no-card", "card", False, {"card": {"openapi": "3.1.0", "info": {"title": "shop"}}}),
    Planted("a-html", "card", False, {"card": "<html>It works</html>"}),
]


def _process(name: str, agent: bool, command: str, *variables: str, script: str = "") -> Planted:
    return Planted(name, "process", agent, {"command": command, "variables": variables, "script": script})


_LOOP = """
import openai
client = openai.OpenAI()
messages = [{"role": "system", "content": "You are a helpful ordering agent."}]
while True:
    answer = client.chat.completions.create(model="gpt-4o", messages=messages, tools=TOOLS)
"""
PROCESSES = [
    _process("p-claude", True, "claude --dangerously-skip-permissions", "ANTHROPIC_API_KEY"),
    _process("p-codex-npx", True, "npx -y @openai/codex exec fix"),
    _process("p-agent-script", True, "python /srv/mail/mail_agent.py", "OPENAI_API_KEY"),
    _process("p-bot-node", True, "node /srv/slackbot/slack-bot.js", "ANTHROPIC_API_KEY"),
    _process("p-plain-name-with-loop", True, "python orders.py", "OPENAI_API_KEY", script=_LOOP),
    _process("p-langgraph", True, "python -m langgraph dev --port 8123", "OPENAI_API_KEY", "LANGSMITH_API_KEY"),
    _process(
        "p-traced-worker", True, "python worker.py", "OPENAI_API_KEY", "LANGFUSE_SECRET_KEY", "CREWAI_STORAGE_DIR"
    ),
    _process("p-silent-binary", True, "/opt/acme/reconciler --daemon", "OPENAI_API_KEY"),
    _process("p-shell", False, "bash", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"),
    _process("p-ssh-agent", False, "ssh-agent -s"),
    _process("p-datadog", False, "/opt/datadog-agent/bin/agent/datadog-agent run"),
    _process("p-jenkins", False, "java -jar /opt/jenkins/agent.jar -url http://ci"),
    _process("p-pytest", False, "python -m pytest tests/test_agent.py", "OPENAI_API_KEY"),
    _process("p-tenure", False, "python /srv/clerk/clerk_agent.py", "OPENAI_API_KEY", "TENURE_TOKEN"),
    _process("p-ollama", False, "ollama serve"),
    _process("p-vllm", False, "python -m vllm.entrypoints.openai.api_server", "HF_TOKEN"),
    _process("p-django", False, "python manage.py runserver", "OPENAI_API_KEY"),
    _process("p-jupyter", False, "jupyter-lab --no-browser", "OPENAI_API_KEY"),
    _process("p-vite", False, "node /srv/shop/node_modules/.bin/vite"),
    _process("p-build-agent", False, "/usr/bin/buildkite-agent start", "OPENAI_API_KEY"),
    _process("p-editor", False, "code --type=renderer", "OPENAI_API_KEY"),
    _process("p-real-estate-agent", False, "python /srv/estate/agents_list.py"),
    _process("p-nginx", False, "nginx: master process /usr/sbin/nginx"),
]


def _container(name: str, agent: bool, image: str, command: list[str], *variables: str) -> Planted:
    return Planted(name, "container", agent, {"image": image, "command": command, "variables": variables})


CONTAINERS = [
    _container("c-support-agent", True, "registry/support-agent:3", ["python", "-m", "app"], "OPENAI_API_KEY"),
    _container("c-n8n", True, "n8nio/n8n:1.80", []),
    _container("c-crew", True, "acme/research-crew", ["python", "main.py"], "ANTHROPIC_API_KEY", "LANGSMITH_API_KEY"),
    _container("c-flowise", True, "flowiseai/flowise", ["flowise", "start"]),
    _container("c-postgres", False, "postgres:16", ["postgres"], "POSTGRES_PASSWORD"),
    _container("c-ollama", False, "ollama/ollama", ["serve"]),
    _container("c-datadog", False, "gcr.io/datadoghq/agent:7", ["/bin/entrypoint.sh"], "DD_API_KEY"),
    _container("c-api", False, "acme/api", ["uvicorn", "api:app"], "OPENAI_API_KEY"),
    _container("c-tenure", False, "acme/clerk-agent", ["python", "clerk.py"], "OPENAI_API_KEY", "TENURE_TOKEN"),
]


def _config(name: str, agent: bool, path: str, content: Any) -> Planted:
    return Planted(name, "config", agent, {"path": path, "content": content})


_NPX = {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/ann"]}
CONFIGS = [
    _config("f-claude-desktop", True, ".config/Claude/claude_desktop_config.json", {"mcpServers": {"files": _NPX}}),
    _config("f-cursor", True, ".cursor/mcp.json", {"mcpServers": {"crm": {"url": "https://crm.example/mcp"}}}),
    _config(
        "f-codex", True, ".codex/config.toml", '[mcp_servers.db]\ncommand = "uvx"\nargs = ["mcp-server-postgres"]\n'
    ),
    _config(
        "f-vscode-jsonc",
        True,
        ".config/Code/User/mcp.json",
        '{ // mine\n "servers": {"gh": {"url": "https://x/mcp"},},}',
    ),
    _config("f-claude-project", True, ".claude.json", {"projects": {"/w": {"mcpServers": {"jira": _NPX}}}}),
    _config("f-no-servers", False, ".config/Claude/claude_desktop_config.json", {"mcpServers": {}, "theme": "dark"}),
    _config("f-governed", False, ".cursor/mcp.json", {"mcpServers": {"tenure": {"url": "http://127.0.0.1:7701/mcp"}}}),
    _config(
        "f-editor-settings", False, ".config/Code/User/settings.json", {"editor.fontSize": 12, "servers": {"a": {}}}
    ),
    _config(
        "f-disabled", False, ".codeium/windsurf/mcp_config.json", {"mcpServers": {"x": {**_NPX, "disabled": True}}}
    ),
    _config("f-broken", False, ".cursor/mcp.json", "{not json"),
]


def _tree(name: str, agent: bool, files: Mapping[str, str]) -> Planted:
    return Planted(name, "source", agent, {"files": files})


_GRAPH = "from langgraph.graph import StateGraph\ng = StateGraph(dict)\n"
_RAW = """
import requests
URL = 'https://api.openai.com/v1/chat/completions'
while True:
    r = requests.post(URL, json={'tools': T})
    c = r.json()['choices'][0]['message']['tool_calls']
"""
_JS = "import { Agent } from '@openai/agents';\nconst a = new Agent({ name: 'x', tools: [] });\n"
_VERCEL = (
    "import { generateText, stepCountIs } from 'ai';\nawait generateText({ model, tools, stopWhen: stepCountIs(5) });\n"
)
_CELL = ["%pip install smolagents\n", "from smolagents import CodeAgent\n", "CodeAgent(tools=[], model=m).run('x')\n"]
_EMBED = "import openai\ndef embed(t):\n    return openai.OpenAI().embeddings.create(model='e', input=t)\n"
_ONCE = "import anthropic\nc = anthropic.Anthropic()\nprint(c.messages.create(model='m', messages=[]))\n"
_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from langgraph.graph import StateGraph\n"
_CREW = "from crewai import Agent, Crew\nc = Crew(agents=[Agent(role='x')])\n"
_LIB = "x = 1\n"
SOURCES = [
    _tree("s-langgraph", True, {"graph.py": _GRAPH}),
    _tree("s-crewai", True, {"crew.py": _CREW}),
    _tree("s-openai-agents", True, {"main.py": "from agents import Agent, Runner\na = Agent(name='x', tools=[])\n"}),
    _tree("s-pydantic", True, {"bot.py": "import pydantic_ai as p\nbot = p.Agent('openai:gpt-4o')\n"}),
    _tree("s-adk", True, {"agent.py": "from google.adk.agents import LlmAgent\nroot_agent = LlmAgent(name='x')\n"}),
    _tree("s-handmade", True, {"orders.py": _LOOP}),
    _tree("s-raw-http", True, {"go.py": _RAW}),
    _tree("s-js-agents", True, {"package.json": '{"name": "lead-finder"}', "index.ts": _JS}),
    _tree("s-vercel", True, {"package.json": '{"name": "desk"}', "route.ts": _VERCEL}),
    _tree("s-notebook", True, {"run.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": _CELL}]})}),
    _tree("s-shell-script", True, {"run.sh": "curl https://api.openai.com/v1/chat/completions -d @body.json\n"}),
    _tree("s-embeddings-library", False, {"search.py": _EMBED}),
    _tree("s-test-suite", False, {"tests/test_graph.py": _GRAPH, "lib.py": _LIB}),
    _tree(
        "s-own-agents-package",
        False,
        {"agents.py": "class Agent: ...\n", "e.py": "from agents import Agent\nAgent()\n"},
    ),
    _tree("s-key-only", False, {"settings.py": f"OPENAI = '{KEY}'\n"}),
    _tree("s-summariser", False, {"sum.py": _ONCE}),
    _tree("s-mcp-server", False, {"server.py": "from mcp.server.fastmcp import FastMCP\nm = FastMCP('files')\n"}),
    _tree("s-mentions", False, {"README.md": "Use langgraph StateGraph.", "notes.py": f'"""{_CREW}"""\n'}),
    _tree(
        "s-web-shop",
        False,
        {"package.json": '{"devDependencies": {"openai": "5"}}', "app.js": "for (const t of tools) {}\n"},
    ),
    _tree("s-agent-string", False, {"ua.py": "headers = {'User-Agent': 'x'}\nclass UserAgent: ...\n"}),
    _tree("s-broken-python", False, {"old.py": "print 'langgraph'\nfrom crewai import Agent\n"}),
    _tree("s-example-of-a-library", False, {"examples/demo.py": _CREW, "lib.py": _LIB}),
    _tree("s-types-only", False, {"types.py": _TYPES}),
]

FLEET = [*GATEWAY, *OTLP, *MCP, *A2A, *PROCESSES, *CONTAINERS, *CONFIGS, *SOURCES]


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """A source tree."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
