"""The names under which agents see what upstream MCP servers offer, and the patterns by which resources are granted."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

NAME_LIMIT = 64
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]")


def exposed_name(server: str, name: str, prefix: str | None = None) -> str:
    """``<prefix><name>`` as model APIs take it: at most 64 of ``A-Za-z0-9_-``; the prefix is ``<server>__`` when the
    manifest gives none. What does not fit is replaced and told apart by a digest, and so is what would make two tools
    look alike under default prefixes; the same tool has the same name for ever. Prefixes that a manifest gives can
    make names meet, which is refused when it is applied."""
    plain = f"{server}__{name}" if prefix is None else f"{prefix}{name}"
    fitting = _FORBIDDEN.sub("_", plain)
    apart = prefix is not None or ("__" not in server and not server.endswith("_"))
    if fitting == plain and len(fitting) <= NAME_LIMIT and apart:
        return fitting
    mark = hashlib.sha256(f"{server}\x1f{name}".encode()).hexdigest()[:8]
    return f"{fitting[: NAME_LIMIT - 9]}_{mark}"


def uri_matches(pattern: str, uri: str) -> bool:
    """Whether a granted pattern covers ``uri``: each ``*`` stands for any run of characters, all else for itself.
    Nothing that climbs (``/../``, however encoded) is covered by a ``*``, so that a granted folder is not left."""
    if pattern == uri:
        return True
    return "*" in pattern and not _climbs(uri) and _compiled(pattern).fullmatch(uri) is not None


def _climbs(uri: str) -> bool:
    plain = uri
    for _ in range(3):  # a server may decode more often than once
        plain = re.sub(r"%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), plain)
    return ".." in re.split(r"[/\\?#]", plain)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    first, *middle, last = map(re.escape, re.sub(r"\*+", "*", pattern).split("*"))
    # atomic groups: what one part has found is not looked for again, so that no pattern is slow
    return re.compile("".join((first, *(f"(?>.*?{part})" for part in middle), ".*", last)), re.DOTALL)
