"""The page and what it loads: static files from memory, compressed once, cached by version."""

from __future__ import annotations

import asyncio
import base64
import functools
import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from bot.errors import NotFound
from bot.web.attached import served_of
from bot.web.routes import new_router

_STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SHORT = 1024  # bytes, below which compressing does not pay
#: What every answer to a browser says that shows a page.
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_PLAIN_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_YEAR = "public, max-age=31536000, immutable"
_IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)

router = new_router()


@dataclass(frozen=True)
class _File:
    media: str
    tag: str
    plain: bytes
    packed: bytes


@functools.cache
def _paths() -> dict[str, Path]:
    """What can be asked for, by its name; nothing else is ever opened."""
    found = (path for path in _STATIC.rglob("*") if path.suffix in _TYPES)
    return {path.relative_to(_STATIC).as_posix(): path for path in found}


@functools.cache
def _version() -> str:
    """Changes with each byte of each file, so that a browser may keep all of them for good."""
    whole = hashlib.sha256()
    for name, path in sorted(_paths().items()):
        whole.update(name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:12]


@functools.cache
def _file(name: str) -> _File:
    path = _paths()[name]
    plain = path.read_bytes()
    packed = gzip.compress(plain, 9, mtime=0) if len(plain) > _SHORT else plain
    tag = f'"{hashlib.sha256(plain).hexdigest()[:20]}"'
    return _File(_TYPES[path.suffix], tag, plain, packed)


@functools.cache
def _page() -> tuple[bytes, str]:
    """The page with the addresses of this version, and its policy: scripts and styles come from
    here alone, and the import map is known by its hash."""
    base = f"/api/v3/static/{_version()}"
    modules = sorted(name for name in _paths() if name.startswith("app/") and name.endswith(".js"))
    preload = "\n".join(f'<link rel="modulepreload" href="{base}/{name}">' for name in modules)
    text = (_STATIC / "dashboard.html").read_text()
    text = text.replace("{{static}}", base).replace("{{preload}}", preload)
    found = _IMPORT_MAP.search(text)
    assert found is not None
    known = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'self' 'sha256-{known}'; style-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
    return text.encode(), policy


def _packs(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


def _answer(request: Request, file: _File, headers: dict[str, str]) -> Response:
    headers = {"ETag": file.tag, "Vary": "Accept-Encoding", **headers}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if file.packed is not file.plain and _packs(request):
        headers["Content-Encoding"] = "gzip"
        return Response(file.packed, media_type=file.media, headers=headers)
    return Response(file.plain, media_type=file.media, headers=headers)


@functools.lru_cache(1)
def _whole(content: bytes) -> _File:
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    return _File(_TYPES[".html"], tag, content, gzip.compress(content, 9, mtime=0))


@router.get("/dashboard", response_class=HTMLResponse, tags=["dashboard"])
async def dashboard(request: Request) -> Response:
    """The page; it asks by itself who looks at it."""
    if not served_of(request.app).dashboard:
        raise NotFound("the dashboard is off", hint="ENABLE_ADVANCED_DASHBOARD turns it on")
    content, policy = _page()
    file = await asyncio.to_thread(_whole, content)
    return _answer(request, file, {**SAFE, "Content-Security-Policy": policy})


async def docs(request: Request) -> Response:
    """The description of the REST interface, for people; our application alone serves it."""
    file = await asyncio.to_thread(_file, "docs.html")
    return _answer(request, file, {**SAFE, "Content-Security-Policy": _PLAIN_POLICY})


@router.api_route("/static/{name:path}", methods=["GET", "HEAD"], include_in_schema=False)
async def static(name: str, request: Request) -> Response:
    """A file; under the version of all of them for good."""
    version, _, rest = name.partition("/")
    kept = version == _version()
    if kept:
        name = rest
    if name not in _paths():
        raise NotFound(f"there is nothing at {request.url.path}")
    file = await asyncio.to_thread(_file, name)
    cache = _YEAR if kept else "no-cache"
    return _answer(request, file, {"Cache-Control": cache, "X-Content-Type-Options": "nosniff"})
