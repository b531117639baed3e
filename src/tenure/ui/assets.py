"""Static files, read once: style, scripts, fonts. An address carries the file's digest, so a browser may keep it."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".woff2": "font/woff2"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served."""

    body: bytes
    media_type: str
    etag: str


def _read() -> dict[str, Asset]:
    assets = {}
    for path in sorted(_FOLDER.rglob("*")):
        if path.is_file():
            body = path.read_bytes()
            kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain; charset=utf-8"
            assets[path.relative_to(_FOLDER).as_posix()] = Asset(body, kind, hashlib.sha256(body).hexdigest()[:16])
    return assets


ASSETS = _read()


def asset_url(name: str) -> str:
    """Where a page finds a file. A name that does not exist is our own bug."""
    return f"/static/{name}?v={ASSETS[name].etag}"


def create_router() -> APIRouter:
    """GET /static/..."""
    router = APIRouter(include_in_schema=False)

    @router.get("/static/{name:path}")
    async def static(name: str, request: Request) -> Response:
        asset = ASSETS.get(name)
        if asset is None:
            raise Refused("no_such_file", f"There is no file {name}.", status=404)
        kept = "public, max-age=31536000, immutable" if request.query_params.get("v") == asset.etag else "no-cache"
        headers = {"ETag": f'"{asset.etag}"', "Cache-Control": kept}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(asset.body, media_type=asset.media_type, headers=headers)

    return router
