"""What every format shares: plain or xz bytes, the identity of their content, and a refusal that tells every fault."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Sequence

from pydantic import ValidationError

from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonObject

_XZ_MAGIC = b"\xfd7zXZ\x00"
_LIMIT = 1 << 30
_SHOWN = 20


def plain(raw: bytes) -> bytes:
    """``raw``, decompressed when it is an xz file. Raises Refused for a damaged file and beyond 1 GiB."""
    if not raw.startswith(_XZ_MAGIC):
        return raw
    decompressor = lzma.LZMADecompressor()
    try:
        text = decompressor.decompress(raw, max_length=_LIMIT)
    except lzma.LZMAError as error:
        raise refused([fault("", f"damaged xz data: {error}")]) from error
    if not decompressor.eof:
        why = f"more than {_LIMIT} bytes" if len(text) >= _LIMIT else "the xz data ends too early"
        raise refused([fault("", why)])
    return text


def identity(content: bytes) -> str:
    """The digest of a file's content, the same whether it was compressed or not."""
    return hashlib.sha256(content).hexdigest()


def fault(path: str, problem: str) -> JsonObject:
    """One thing wrong with a file: ``path`` names the record by its index from 0, then the field."""
    return {"path": path, "problem": problem}


def faults_of(error: ValidationError, prefix: str = "") -> list[JsonObject]:
    """A validation's complaints as faults."""
    out = []
    for item in error.errors(include_url=False, include_input=False):
        path = prefix
        for part in item["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        out.append(fault(path, item["msg"]))
    return out


def refused(faults: Sequence[JsonObject]) -> Refused:
    """The refusal of a whole file: nothing of it may be sent."""
    first = faults[0]
    where = f" at {first['path']}" if first["path"] else ""
    more = f" ({len(faults)} faults in all)" if len(faults) > 1 else ""
    return Refused(
        "bad_recording",
        f"Not imported: {first['problem']}{where}{more}.",
        fix="Nothing was sent. Mend the records that are named, or give the file as its authors published it.",
        status=422,
        details={"faults": list(faults[:_SHOWN]), "count": len(faults)},
    )


def parse_json(content: bytes, path: str = "") -> Json:
    """JSON (RFC 8259: no NaN) or a Refused that says where it breaks."""
    try:
        return json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise refused([fault(path, f"not JSON: {error}")]) from error


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not a JSON number")
