"""Assistants of people that are set up with MCP servers, by the configuration files that their makers document. What a
server is told (arguments, values of variables, headers) is not read further than its program or its host."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tenure.base.scan.texts import look as scan
from tenure.discovery.model import Channel, Sighting

_MAC, _WIN, _LINUX = "Library/Application Support", "AppData/Roaming", ".config"
_STORED = "globalStorage/{}/settings/{}"
_CLINE = _STORED.format("saoudrizwan.claude-dev", "cline_mcp_settings.json")
_ROO = _STORED.format("rooveterinaryinc.roo-cline", "mcp_settings.json")
_CODE = tuple(f"{base}/Code/User" for base in (_MAC, _WIN, _LINUX))
PLACES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Claude Desktop", tuple(f"{base}/Claude/claude_desktop_config.json" for base in (_MAC, _WIN, _LINUX))),
    ("Claude Code", (".claude.json", ".claude/settings.json", ".mcp.json")),
    ("Cursor", (".cursor/mcp.json",)),
    ("VS Code", (*(f"{base}/{name}" for base in _CODE for name in ("mcp.json", "settings.json")), ".vscode/mcp.json")),
    ("Cline", tuple(f"{base}/{_CLINE}" for base in _CODE)),
    ("Roo Code", (*(f"{base}/{_ROO}" for base in _CODE), ".roo/mcp.json")),
    ("Windsurf", (".codeium/windsurf/mcp_config.json",)),
    ("Codex", (".codex/config.toml",)),
    ("Gemini CLI", (".gemini/settings.json",)),
    ("Zed", (".config/zed/settings.json", "AppData/Roaming/Zed/settings.json")),
    ("Continue", (".continue/config.yaml", ".continue/config.json")),
    ("Goose", (".config/goose/config.yaml", "AppData/Roaming/Block/goose/config/config.yaml")),
    ("LM Studio", (".lmstudio/mcp.json",)),
    ("Amazon Q", (".aws/amazonq/mcp.json",)),
    ("Copilot CLI", (".copilot/mcp-config.json",)),
    ("opencode", (".config/opencode/opencode.json",)),
    ("Kiro", (".kiro/settings/mcp.json",)),
)  # fmt: skip
"""Clients, and where each keeps its configuration, from a home folder or a project's: macOS, Windows, Linux."""
_KEYS = ("mcpServers", "mcp_servers", "servers", "context_servers", "extensions", "mcp")
_PACKAGE = re.compile(r"@?[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?(?:@[\w.-]+)?")
_MAX_BYTES = 4 << 20
_BUILT_IN = frozenset({"builtin", "platform", "frontend"})


def files(folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """(client, file) of every configuration under these folders, each a home or a project."""
    for folder in folders:
        for client, paths in PLACES:
            for path in paths:
                if (folder / path).is_file():
                    yield client, folder / path


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The MCP servers that a file sets up, by name; none for a file that cannot be read."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return {}
        text = path.read_text("utf-8-sig", "replace")
    except OSError:
        return {}
    found: dict[str, dict[str, Any]] = {}
    document = _parsed(text, path.suffix)
    if isinstance(document, dict):
        strict = path.name in ("settings.json", "opencode.json")  # which hold much else
        _servers(document, found, strict=strict)
        projects = document.get("projects")
        for one in projects.values() if isinstance(projects, dict) else ():
            if isinstance(one, dict):
                _servers(one, found, strict=True)
    return found


def _parsed(text: str, suffix: str) -> Any:
    try:
        if suffix == ".toml":
            return tomllib.loads(text)
        if suffix in (".yaml", ".yml"):
            return yaml.safe_load(text)
        try:
            return json.loads(text)
        except ValueError:  # with comments and commas at ends, as editors write it
            plain = re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', lambda hit: hit[1] or "", text, flags=re.DOTALL)
            return json.loads(re.sub(r",(\s*[}\]])", r"\1", plain))
    except (ValueError, yaml.YAMLError, RecursionError):
        return None


def _servers(document: Mapping[str, Any], found: dict[str, dict[str, Any]], *, strict: bool) -> None:
    for key in _KEYS:
        value = document.get(key)
        if strict and key in ("servers", "extensions"):
            continue
        if key == "mcp" and isinstance(value, dict) and isinstance(value.get("servers"), dict):
            value = value["servers"]
        if isinstance(value, list):  # as Continue has them
            value = {str(one.get("name", index)): one for index, one in enumerate(value) if isinstance(one, dict)}
        for name, server in value.items() if isinstance(value, dict) else ():
            if isinstance(server, dict) and (told := _server(server)) is not None:
                found[str(name)[:63]] = told


def _server(server: Mapping[str, Any]) -> dict[str, Any] | None:
    """What may be told of a server: its program with a package's name, or its address without what follows the path."""
    if server.get("disabled") is True or server.get("enabled") is False or server.get("type") in _BUILT_IN:
        return None
    command = server.get("command") or server.get("cmd")
    arguments = server.get("args") or server.get("arguments") or []
    if isinstance(command, dict):  # as Zed has it
        arguments, command = command.get("args") or [], command.get("path")
    if isinstance(command, list):
        command, arguments = (command[0], command[1:]) if command else ("", [])
    url = server.get("url") or server.get("serverUrl") or server.get("httpUrl") or server.get("uri")
    if isinstance(url, str) and url:
        try:
            parts = urlsplit(url)
            where = f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
        except ValueError:
            return None
        return {"url": "" if scan(where) else where[:200]}
    if isinstance(command, str) and command:
        return {"command": [re.split(r"[\\/]", command)[-1][:100], *_package(arguments)]}
    return None


def _package(arguments: Any) -> list[str]:
    """The first argument that is the name of a package and nothing else."""
    texts = [one for one in arguments if isinstance(one, str)] if isinstance(arguments, list) else []
    for text in texts:
        if text in ("run", "exec", "-y", "--yes", "tool", "x", "-m", "-i", "--rm"):
            continue
        if not text.startswith("-") and len(text) <= 100 and _PACKAGE.fullmatch(text) and not scan(text):
            return [text]
        if not text.startswith("-"):
            return []
    return []


def look(folders: Sequence[Path], host: str, user: str, at: datetime, governed: Sequence[str] = ()) -> list[Sighting]:
    """Assistants that are set up with servers of their own. ``governed``: addresses of gateways; a client that has no
    other server works under a registration and is not told."""
    found = []
    for client, path in files(folders):
        servers = read(path)
        own = {name: one for name, one in servers.items() if not _is_governed(one, governed)}
        if not own:
            continue
        said = ", ".join(f"{name} ({one.get('url') or ' '.join(one['command'])})" for name, one in own.items())
        found.append(
            Sighting(
                channel=Channel.CONFIG,
                name=f"{client} of {user} on {host}",
                where=f"{host}:{path}"[:500],
                what=f"{client} with {len(own)} MCP {'server' if len(own) == 1 else 'servers'}: {said}"[:500],
                marks=(f"client:{client} {user}@{host}"[:300],),
                signs=("assistant-with-tools",),
                at=at,
                hints={
                    "framework": client,
                    "servers": {name: one for name, one in own.items() if one.get("url") != ""},
                },
            )
        )
    return found


def _is_governed(server: Mapping[str, Any], governed: Sequence[str]) -> bool:
    url = str(server.get("url", "")).rstrip("/")
    return bool(url) and any(url == one.rstrip("/") or url.startswith(f"{one.rstrip('/')}/") for one in governed)
