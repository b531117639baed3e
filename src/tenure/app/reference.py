"""The OpenAPI document as a page to read: no script, nothing from elsewhere."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>API · Tenure</title><link rel="stylesheet" href="/static/tokens.css">
<link rel="stylesheet" href="/static/console.css">
</head><body><main class="alone">
<header class="head"><h1>API</h1><p class="lede">Version {version}; for programs:
<a href="/openapi.json">openapi.json</a>. Programs send <code>Authorization: Bearer</code> with an API token
(<code>tenure tokens create</code>). Errors are <code>application/problem+json</code>
with code, detail and fix.</p></header>
{parts}
</main></body></html>
"""


def page(document: Mapping[str, Any]) -> str:
    """HTML that lists every operation under its tag, each with what it takes and what it answers."""
    parts: defaultdict[str, list[str]] = defaultdict(list)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts[operation["tags"][0]].append(_operation(f"{method.upper()} {path}", operation))
    listed = "\n".join(f"<h2>{escape(tag)}</h2>\n{''.join(found)}" for tag, found in parts.items())
    shapes = document["components"]["schemas"].items()
    listed += "\n<h2>Shapes</h2>\n" + "".join(_folded(name, f"schema-{name}", shape) for name, shape in shapes)
    return _PAGE.format(version=escape(document["info"]["version"]), parts=listed)


def _operation(name: str, operation: Mapping[str, Any]) -> str:
    told = {key: operation[key] for key in ("parameters", "requestBody", "responses") if operation.get(key)}
    return _folded(name, operation["operationId"], told, operation.get("description", ""), operation["summary"])


def _folded(name: str, ident: str, told: object, words: str = "", summary: str = "") -> str:
    return (
        f'<details class="panel" id="{escape(ident)}"><summary><code>{escape(name)}</code> {escape(summary)}</summary>'
        f"<p>{escape(words)}</p><pre>{escape(json.dumps(told, indent=1))}</pre></details>\n"
    )
