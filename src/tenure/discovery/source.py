"""Agents in source trees: frameworks that are used, models that are given tools, keys in code. Reads files, runs none.

Python is parsed; JavaScript and TypeScript are searched. A key is told by its kind and its place, never by its value.
"""

from __future__ import annotations

import ast
import json
import os
import re
import tomllib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from tenure.base.scan.texts import spans
from tenure.discovery import signs
from tenure.discovery.model import MAX_MARKS, Channel, Sighting, name_mark
from tenure.kernel.clients import key_mark, name_of, telling

MAX_FILES = 20_000
MAX_BYTES = 512 * 1024
_SKIPPED = frozenset(
    {"node_modules", "site-packages", "__pycache__", "dist", "build", "venv", "env", "vendor", "third_party", "target"}
)
_MANIFESTS = ("pyproject.toml", "package.json", "requirements.txt", "setup.py", "setup.cfg", "Pipfile")
_TRIALS = re.compile(r"(^|/)(tests?|__tests__|specs?|fixtures|examples?|samples?|docs?|conftest\.py)(/|$)")
_TRIAL_FILES = re.compile(r"(^test_.*|.*_test|.*\.(test|spec))\.\w+$")
_KEYS = {
    "secret/openai-key": "openai",
    "secret/anthropic-key": "anthropic",
    "secret/google-api-key": "google",
    "secret/model-provider-key": "model provider",
}

BUILDERS: dict[str, frozenset[str]] = {
    "langgraph": frozenset({"StateGraph", "MessageGraph", "create_react_agent", "create_supervisor", "entrypoint"}),
    "langchain": frozenset(
        {"create_agent", "create_react_agent", "AgentExecutor", "initialize_agent", "create_tool_calling_agent"}
        | {"create_openai_functions_agent", "create_openai_tools_agent", "create_structured_chat_agent"}
    ),
    "crewai": frozenset({"Agent", "Crew", "CrewBase", "Flow"}),
    "autogen": frozenset({"AssistantAgent", "ConversableAgent", "UserProxyAgent", "GroupChat", "GroupChatManager"}),
    "autogen_agentchat": frozenset({"AssistantAgent", "RoundRobinGroupChat", "SelectorGroupChat", "Swarm"}),
    "agents": frozenset({"Agent", "Runner"}),
    "pydantic_ai": frozenset({"Agent"}),
    "google.adk": frozenset({"Agent", "LlmAgent", "SequentialAgent", "LoopAgent", "ParallelAgent"}),
    "smolagents": frozenset({"CodeAgent", "ToolCallingAgent", "MultiStepAgent"}),
    "llama_index": frozenset({"ReActAgent", "FunctionAgent", "AgentWorkflow", "OpenAIAgent"}),
    "semantic_kernel": frozenset({"ChatCompletionAgent", "OpenAIAssistantAgent", "AgentGroupChat"}),
    "strands": frozenset({"Agent"}),
    "haystack": frozenset({"Agent"}),
    "agno": frozenset({"Agent", "Team"}),
    "camel": frozenset({"ChatAgent", "RolePlaying"}),
    "claude_agent_sdk": frozenset({"query", "ClaudeSDKClient"}),
    "claude_code_sdk": frozenset({"query", "ClaudeSDKClient"}),
    "qwen_agent": frozenset({"Assistant", "FnCallAgent"}),
    "metagpt": frozenset({"Team", "Role"}),
    "swarm": frozenset({"Swarm", "Agent"}),
    "browser_use": frozenset({"Agent"}),
    "letta": frozenset({"create_client"}),
    "letta_client": frozenset({"Letta"}),
    "beeai_framework": frozenset({"ReActAgent", "RequirementAgent"}),
    "dspy": frozenset({"ReAct"}),
    "livekit.agents": frozenset({"AgentSession", "Agent"}),
}
"""Frameworks by their module, and what in them makes an agent."""
PROVIDERS = {
    "openai": "openai", "anthropic": "anthropic", "google.genai": "google", "google.generativeai": "google",
    "mistralai": "mistral", "cohere": "cohere", "groq": "groq", "ollama": "ollama", "litellm": "openai",
    "together": "together", "langchain_openai": "openai", "langchain_anthropic": "anthropic",
}  # fmt: skip
_JS_FRAMEWORKS = {
    "@langchain/langgraph": r"new StateGraph|createReactAgent|createAgent", "langchain": r"createAgent|AgentExecutor",
    "@openai/agents": r"new Agent\s*[(<]", "@mastra/core": r"new Agent\s*\(", "@google/adk": r"new LlmAgent",
    "@anthropic-ai/claude-agent-sdk": r"query\s*\(", "@anthropic-ai/claude-code": r"query\s*\(",
    "@voltagent/core": r"new Agent\s*\(", "beeai-framework": r"new ReActAgent", "llamaindex": r"agent\s*\(|ReActAgent",
    "ai": r"stopWhen|maxSteps|new (?:Experimental_)?(?:ToolLoop)?Agent\s*\(", "@cloudflare/agents": r"extends Agent",
}  # fmt: skip
_JS_PROVIDERS = {"openai": "openai", "@anthropic-ai/sdk": "anthropic", "@google/genai": "google", "ollama": "ollama"}
_JS_IMPORT = re.compile(r"""(?:from\s+|import\s*\(?\s*|require\s*\(\s*)['"]([^'"\n]{1,100})['"]""")
_LOOPS = re.compile(r"\b(?:while|for)\s*(?:await\s*)?\(|\.forEach\(")
_RAW = re.compile(r"api\.openai\.com/v1/(?:chat|responses)|/chat/completions|api\.anthropic\.com/v1/messages")
_PROMPT = re.compile(r"(?i)\byou are (?:an?|the) [\w ,-]{3,80}(?:agent|assistant|bot|expert|copilot)\b")
_PROMPT_NAME = re.compile(r"(?i)(^|_)(system_)?prompt$|^instructions$")


@dataclass(slots=True)
class Read:
    """What one file shows: signs with their places, and hints for a manifest."""

    places: dict[str, str] = field(default_factory=dict)
    framework: str = ""
    provider: str = ""
    model: str = ""
    keys: set[str] = field(default_factory=set)

    def note(self, sign: str, place: str) -> None:
        """The first place of a sign."""
        self.places.setdefault(sign, place)


def projects(root: Path) -> dict[Path, list[Path]]:
    """The source files under ``root`` by the project that each belongs to. Links are not followed."""
    found: dict[Path, list[Path]] = {}
    for path in islice(_walk(root), MAX_FILES):
        found.setdefault(project_of(path, root), []).append(path)
    return found


def _walk(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in _SKIPPED and not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if _is_source(name))


def _is_source(name: str) -> bool:
    return name.endswith((".py", ".ipynb", ".js", ".mjs", ".cjs", ".ts", ".tsx", ".jsx"))


def project_of(path: Path, root: Path) -> Path:
    """The nearest folder with a project's manifest between a file and ``root``; else ``root`` where it holds source
    itself, else the folder right under it."""
    for folder in path.parents:
        if any((folder / name).exists() for name in _MANIFESTS):
            return folder
        if folder in (root, folder.parent):
            break
    if not root.is_dir():
        return root.parent
    inside = path.relative_to(root).parts if path.is_relative_to(root) else ()
    many = len(inside) > 1 and not any(_is_source(one.name) for one in root.iterdir())
    return root / inside[0] if many else root


def look(root: Path, host: str, at: datetime) -> list[Sighting]:
    """What is seen of agents in the projects under ``root``, one sighting for each that has any sign."""
    seen = (project(folder, files, host, at) for folder, files in projects(root.resolve()).items())
    return [one for one in seen if one is not None]


def project(folder: Path, files: Sequence[Path], host: str, at: datetime) -> Sighting | None:
    """What one project shows; None without a sign. Tests and examples count only where there is nothing else."""
    real, trial = Read(), Read()
    local = (
        {path.stem if path.suffix == ".py" else path.name for path in folder.iterdir()} if folder.is_dir() else set()
    )
    for path in files:
        inside = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        is_trial = bool(_TRIALS.search(inside) or _TRIAL_FILES.match(path.name))
        file_signs(path, trial if is_trial else real, inside, local)
    found = real if signs.confidence(real.places) >= signs.confidence(trial.places) or real.framework else trial
    if not found.places:
        return None
    codes = [*found.places, *(["test-code"] if found is trial else [])]
    name = _name_of(folder)
    marks = [*name_mark(name), f"path:{host}:{folder}"[:300], *sorted(f"key:{mark}" for mark in found.keys)]
    words = "; ".join(f"{place}" for place in list(found.places.values())[:8])
    hints = {"framework": found.framework, "provider": found.provider, "model": found.model}
    return Sighting(
        channel=Channel.SOURCE,
        name=name,
        where=f"{host}:{folder}"[:500],
        what=words[:500],
        marks=tuple(marks[:MAX_MARKS]),
        signs=signs.known(codes),
        at=at,
        hints={key: value for key, value in hints.items() if value},
    )


def _name_of(folder: Path) -> str:
    try:
        named = tomllib.loads((folder / "pyproject.toml").read_text("utf-8")).get("project", {}).get("name", "")
    except (OSError, ValueError):
        named = ""
    if not named:
        try:
            read = json.loads((folder / "package.json").read_text("utf-8"))
            named = read.get("name", "") if isinstance(read, dict) else ""
        except (OSError, ValueError):
            named = ""
    text = str(named).rpartition("/")[2]
    return text if telling(name_of(text)) else folder.name or "source"


def file_signs(path: Path, read: Read, inside: str = "", local: set[str] | None = None) -> None:
    """Adds what one file shows to ``read``; nothing for one that cannot be read. ``local``: names of the project's own
    modules."""
    try:
        if path.is_symlink() or path.stat().st_size > MAX_BYTES:
            return
        text = path.read_text("utf-8", "replace")
    except OSError:
        return
    inside = inside or path.name
    if path.suffix == ".ipynb":
        text = _cells(text)
    for start, _, rule in spans(text, _KEYS):
        read.note("provider-key", f"{inside}:{_line(text, start)} a key of {_KEYS[rule]} (redacted)")
    for start, end, rule in spans(text, _KEYS):
        read.keys |= {mark for mark in (key_mark(text[start:end].strip("\"' ")),) if mark}
        read.provider = read.provider or (_KEYS[rule] if " " not in _KEYS[rule] else "")
    if path.suffix in (".py", ".ipynb"):
        _python(text, read, inside, local or set())
    else:
        _javascript(text, read, inside)
    if "asks-model" in read.places and (found := _PROMPT.search(text)):
        read.note("system-prompt", f"{inside}:{_line(text, found.start())} a system prompt")


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _cells(text: str) -> str:
    try:
        cells = json.loads(text).get("cells", [])
        sources = ("".join(one.get("source", "")) for one in cells if one.get("cell_type") == "code")
        return "\n".join("\n".join("" if line[:1] in "%!" else line for line in s.split("\n")) for s in sources)
    except (ValueError, AttributeError, TypeError):
        return ""


# -- Python
def _python(text: str, read: Read, inside: str, local: set[str]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    visitor = _Visitor(read, inside, local)
    try:
        visitor.visit(tree)
    except RecursionError:
        return
    visitor.end(text)


class _Visitor(ast.NodeVisitor):
    """One pass over a file: what is imported, what is built, and what is called in a loop."""

    def __init__(self, read: Read, inside: str, local: set[str]) -> None:
        self._read, self._inside, self._local = read, inside, local
        self._names: dict[str, str] = {}  # a name in this file -> the framework that it builds an agent of
        self._modules: dict[str, str] = {}  # a name in this file -> framework, for framework.Agent(...)
        self._loops = self._gives = 0
        self._looped = False
        self._sdk = False

    def _place(self, node: ast.AST, what: str) -> str:
        return f"{self._inside}:{getattr(node, 'lineno', 0)} {what}"

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._imported(node, alias.name, "", alias.asname or alias.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level == 0 and node.module:
            for alias in node.names:
                self._imported(node, node.module, alias.name, alias.asname or alias.name)

    def _imported(self, node: ast.AST, module: str, name: str, known_as: str) -> None:
        full = f"{module}.{name}" if name else module
        framework = next((one for one in BUILDERS if full == one or full.startswith(f"{one}.")), "")
        ambiguous = framework == "agents" and ("agents" in self._local or name not in ("Agent", "Runner"))
        if framework and not ambiguous:
            builds = BUILDERS[framework]
            self._read.framework = self._read.framework or framework.replace("_", "-")
            self._read.note("imports-framework", self._place(node, f"imports {framework}"))
            if name in builds:
                self._names[known_as] = framework
            elif name[:1].islower() or not name:
                self._modules[known_as] = framework
        provider = next((one for one in PROVIDERS if full == one or full.startswith(f"{one}.")), "")
        if provider:
            self._sdk = True
            self._read.provider = self._read.provider or PROVIDERS[provider]
            self._read.note("asks-model", self._place(node, f"imports {provider}"))
        if full.startswith("mcp.client") or full in ("mcp.ClientSession", "fastmcp.Client"):
            self._read.note("uses-mcp", self._place(node, "uses MCP"))
        elif full.startswith("mcp.server") or full == "fastmcp.FastMCP":
            self._read.note("serves-mcp", self._place(node, "offers tools over MCP"))

    def _loop(self, node: ast.AST) -> None:
        self._loops += 1
        self.generic_visit(node)
        self._loops -= 1

    visit_While = visit_For = visit_AsyncFor = _loop  # noqa: N815 (the names that ast asks for)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            self._built(node, base)
        for decorator in node.decorator_list:
            self._built(node, decorator)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self._built(node, node.func)
        words = {keyword.arg for keyword in node.keywords}
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        asks = method in ("create", "parse", "stream", "generate_content", "chat", "completion", "acompletion", "run")
        asks = asks or (isinstance(node.func, ast.Name) and node.func.id in ("completion", "acompletion"))
        if asks and words & {"tools", "functions"}:
            self._gives = self._gives or node.lineno
            self._looped = self._looped or self._loops > 0
        for keyword in node.keywords:
            if keyword.arg == "model" and isinstance(keyword.value, ast.Constant) and (asks or words & {"tools"}):
                self._read.model = self._read.model or str(keyword.value.value)[:100]
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            long = isinstance(node.value, ast.Constant) and len(str(node.value.value)) > 40
            if long and isinstance(target, ast.Name) and _PROMPT_NAME.search(target.id) and self._sdk:
                self._read.note("system-prompt", self._place(node, "a system prompt"))
        self.generic_visit(node)

    def _built(self, node: ast.AST, func: ast.AST) -> None:
        name = framework = ""
        while isinstance(func, ast.Subscript | ast.Call):
            func = func.value if isinstance(func, ast.Subscript) else func.func
        if isinstance(func, ast.Name):
            name, framework = func.id, self._names.get(func.id, "")
        elif isinstance(func, ast.Attribute):
            root: ast.AST = func
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name):
                found = self._names.get(root.id) or self._modules.get(root.id, "")
                framework = found if found and (func.attr in BUILDERS[found] or root.id in self._names) else ""
                name = func.attr
        if framework:
            self._read.note("builds-agent", self._place(node, f"{framework} {name}"))

    def end(self, text: str) -> None:
        """What the whole file comes to."""
        raw = _RAW.search(text)
        if self._gives and (self._sdk or raw):
            place = f"{self._inside}:{self._gives} gives a model tools"
            self._read.note("handmade-loop" if self._looped else "gives-tools", place)
        elif raw and not self._sdk:
            self._read.note("asks-model", f"{self._inside}:{_line(text, raw.start())} asks a model's API")
            if re.search(r"""["'](?:tools|functions|tool_calls)["']""", text):
                looped = re.search(r"^\s*(?:while|for) .*:", text, re.MULTILINE)
                sign = "handmade-loop" if looped else "gives-tools"
                self._read.note(sign, f"{self._inside}:{_line(text, raw.start())} gives a model tools")


# -- JavaScript and TypeScript
def _javascript(text: str, read: Read, inside: str) -> None:
    modules = {found[1]: found.start() for found in _JS_IMPORT.finditer(text)}
    for module, at in modules.items():
        base = "/".join(module.split("/")[: 2 if module.startswith("@") else 1])
        framework = base if base in _JS_FRAMEWORKS else ""
        if framework:
            read.framework = read.framework or framework.lstrip("@").replace("/", "-")
            if framework != "ai":
                read.note("imports-framework", f"{inside}:{_line(text, at)} imports {framework}")
            if built := re.search(_JS_FRAMEWORKS[framework], text):
                read.note("builds-agent", f"{inside}:{_line(text, built.start())} {framework}")
        provider = base in _JS_PROVIDERS or base.startswith("@ai-sdk/") or base == "ai"
        if provider:
            read.provider = read.provider or _JS_PROVIDERS.get(base, base.removeprefix("@ai-sdk/").replace("ai", ""))
            read.note("asks-model", f"{inside}:{_line(text, at)} imports {base}")
        if module.startswith("@modelcontextprotocol/sdk/client"):
            read.note("uses-mcp", f"{inside}:{_line(text, at)} uses MCP")
        elif module.startswith("@modelcontextprotocol/sdk/server"):
            read.note("serves-mcp", f"{inside}:{_line(text, at)} offers tools over MCP")
    gives = re.search(r"\b(?:tools|functions)\s*(?::\s*[\[\w{]|,|\})", text)
    if gives and "asks-model" in read.places and re.search(r"tool_calls|tool_use|toolCalls|function_call", text):
        sign = "handmade-loop" if _LOOPS.search(text) else "gives-tools"
        read.note(sign, f"{inside}:{_line(text, gives.start())} gives a model tools")
