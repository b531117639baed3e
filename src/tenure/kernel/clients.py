"""What a client says it is: the products of its ``User-Agent`` and the name of an MCP client. Whoever writes a client
chooses both, so they find what nobody hides and prove nothing."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

MARKED = 20
"""A key that is shorter has no mark: one could be found by trying."""
_COMMENT = re.compile(r"\([^()]*\)")
_NAME = re.compile(r"[^a-z0-9]+")
_VERSION = re.compile(r"v?\d[\w.+-]*")
_LONGEST = 300

SDKS = frozenset(
    {"openai", "asyncopenai", "azureopenai", "asyncazureopenai", "anthropic", "asyncanthropic", "anthropic-ai-sdk"}
    | {"google-genai-sdk", "google-generativeai", "genai-py", "mistral-client-python", "mistralai", "cohere", "groq"}
    | {"asyncgroq", "ollama-python", "ollama", "litellm", "ai-sdk", "ai", "together", "fireworks", "openrouter"}
)
"""Products by which the client libraries of model providers name themselves."""
FRAMEWORKS = frozenset(
    {"agents", "openai-agents", "langchain", "langchain-openai", "langgraph", "pydantic-ai", "crewai", "autogen", "ag2"}
    | {"smolagents", "llama-index", "llamaindex", "semantic-kernel", "google-adk", "mastra", "strands-agents", "agno"}
    | {"haystack", "letta", "dify", "flowise", "n8n"}
)
"""Products by which agent frameworks name themselves."""
HTTP_LIBRARIES = frozenset(
    {"python-requests", "python-httpx", "python-httpx2", "httpx", "aiohttp", "python-urllib", "urllib3", "python"}
    | {"node", "node-fetch", "undici", "axios", "got", "bun", "deno", "go-http-client", "java", "okhttp", "reqwest"}
    | {"apache-httpclient", "ruby", "faraday", "guzzlehttp", "php", "dart", "libwww-perl", "hyper", "fasthttp"}
)
PEOPLE_AND_PROBES = frozenset(
    {"curl", "wget", "httpie", "postmanruntime", "insomnia", "bruno", "mozilla", "lynx", "powershell", "hoppscotch"}
    | {"kube-probe", "prometheus", "blackbox-exporter", "uptimerobot", "uptime-kuma", "pingdom", "datadog", "zgrab"}
    | {"googlehc", "elb-healthchecker", "nmap", "masscan", "nuclei", "nikto", "googlebot", "bingbot", "consul", "gatus"}
    | {"statuscake", "newrelicpinger", "checkly", "k6", "ab", "hey", "wrk", "vegeta", "locust", "apachebench"}
)
"""What people type into or look around with, and what asks whether a service is alive."""
_PLATFORM = frozenset(
    {"linux", "darwin", "windows", "cpython", "pypy", "gl-python", "gl-node", "x86-64", "arm64", "os"}
)
GENERIC = SDKS | FRAMEWORKS | HTTP_LIBRARIES | PEOPLE_AND_PROBES | _PLATFORM
"""Products that say nothing of which program it is: to refuse one of them would be to refuse everybody's."""

_NO_NAMES = frozenset(
    {"", "agent", "agents", "app", "application", "main", "server", "service", "client", "src", "test", "tests", "bot"}
    | {"my", "demo", "example", "default", "unknown", "unknown-service", "unknown-service-python", "work", "workspace"}
    | {"mcp", "mcp-client", "mcp-server", "python", "node", "index", "run", "start", "worker", "web", "api", "backend"}
    | {"frontend", "tmp", "home", "root", "code", "project", "repo", "assistant", "chat", "script", "local", "tenure"}
)
"""Names that many programs have: two that share one are not the same for it."""


@lru_cache(maxsize=4096)
def products(user_agent: str) -> tuple[str, ...]:
    """The product names of a ``User-Agent`` (RFC 9110 section 10.1.5), lower case, without versions and comments."""
    plain = _COMMENT.sub(" ", user_agent[:_LONGEST])
    names = (token.partition("/")[0] for token in plain.split())
    return tuple(dict.fromkeys(name_of(name) for name in names if not _VERSION.fullmatch(name) and name_of(name)))


def own_name(user_agent: str) -> str:
    """The first product that is of one program and not of its library; empty where there is none."""
    return next((name for name in products(user_agent) if name not in GENERIC and telling(name)), "")


def name_of(text: str) -> str:
    """``text`` as names are compared: lower case, words joined by single hyphens, at most 63 characters."""
    return _NAME.sub("-", text[:_LONGEST].lower()).strip("-")[:63].rstrip("-")


def telling(name: str) -> bool:
    """Whether a name (``name_of``) is one that two programs hardly share by chance."""
    return len(name) > 2 and name not in _NO_NAMES and name not in GENERIC and not name.isdigit()


def key_mark(key: str) -> str:
    """What tells one long random key from another and leads nobody back to it: 12 hexadecimal digits of a digest;
    empty for what may be short enough to be guessed."""
    return hashlib.sha256(b"tenure key mark\0" + key.encode()).hexdigest()[:12] if len(key) >= MARKED else ""
