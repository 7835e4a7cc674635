"""What OpenAPI says beyond what the routes say themselves: areas, examples, errors in one shape."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_TAGS = {
    "tasks": "Links that are mirrored: submitted, watched, moved.",
    "receipts": "What was delivered, with what was verified.",
    "access": "Logging in, users, tokens, and the record of every write.",
    "system": "The service as a whole: how it is, its settings, kept answers.",
    "metrics": "Numbers: now, over time, and as they change.",
    "profiler": "How long operations take.",
    "alerts": "What is wrong, who looks after it, who is told.",
    "backups": "Copies of the state: made, verified, put back.",
    "recovery": "Whether what was delivered is still as it was, and how starts went.",
    "plugins": "What others wrote, in its sandbox.",
    "logger": "The lines of the log.",
    "dashboard": "The page for browsers.",
    "health": "For watchmen: alive, ready, and everything that is counted.",
}
_LINK = {"source": "https://example.org/file.iso", "to": "remote:mirror"}
_PLUGIN = {"plugin_name": "checksums"}
_BACKUP = "mltb-20260102T030405Z-0123abcd.tar.zst"
_KEY = "ed25519:" + "A" * 43
_EXAMPLES: dict[str, Any] = {
    "POST /api/v3/session": {"user": "ann", "password": "correct horse battery"},
    "POST /api/v3/session/password": {
        "current_password": "correct horse battery",
        "new_password": "another horse battery",
    },
    "POST /api/v3/users": {"name": "ann", "role": "operator", "password": "correct horse battery"},
    "PATCH /api/v3/users/{name}": {"role": "viewer"},
    "POST /api/v3/tokens": {"name": "laptop", "scope": "operate", "user": "ann"},
    "POST /api/v3/tasks": _LINK,
    "POST /api/v3/tasks/batch": {"tasks": [_LINK, {"source": "magnet:?xt=urn:btih:..."}]},
    "POST /api/v3/tasks/bulk": {"ids": ["0h1k2j3"], "action": "cancel"},
    "POST /api/v3/tasks/{task_id}/move": {"before": "0h1k2j3"},
    "POST /api/v3/tasks/{task_id}/select": {"files": [0, 2]},
    "PATCH /api/v3/tasks/{task_id}": {"priority": 10},
    "POST /api/v3/plan": _LINK,
    "POST /api/v3/alerts/trigger": {"title": "The mirror moves", "severity": "low"},
    "POST /api/v3/alerts/silences": {"seconds": 3600, "rule": "disk_low", "reason": "cleaning up"},
    "POST /api/v3/alerts/{alert_id}/acknowledge": {"note": "looking"},
    "POST /api/v3/alerts/{alert_id}/resolve": {"note": "mended"},
    "POST /api/v3/backups/create": {"wait": 30},
    "POST /api/v3/backups/restore": {"name": _BACKUP, "confirm": _BACKUP},
    "POST /api/v3/backups/{name}/verify": {"wait": 30},
    "POST /api/v3/recovery/verify-integrity": {"all": True, "limit": 100, "wait": 10},
    "POST /api/v3/recovery/refetch": {"check": "0h1k2j3", "finding": 1},
    "POST /api/v3/plugins/execute": {**_PLUGIN, "data": {"text": "abc"}},
    "POST /api/v3/plugins/enable": {**_PLUGIN, "grant": True},
    "POST /api/v3/plugins/disable": _PLUGIN,
    "POST /api/v3/plugins/reload": _PLUGIN,
    "POST /api/v3/plugins/config": {**_PLUGIN, "config": {"algorithm": "sha256"}},
    "POST /api/v3/plugins/keys/trust": {"key": _KEY, "name": "the publisher"},
    "POST /api/v3/plugins/keys/revoke": {"key": _KEY},
    "POST /api/v3/profiler/profile": {"seconds": 5, "format": "text"},
    "POST /api/v3/system/query-cache/invalidate": {"tags": ["tasks"]},
}
_PROBLEM = {"schema": {"$ref": "#/components/schemas/ProblemOut"}}
_UNCHANGED = {"description": "It is what the client has, as If-None-Match says."}


def describe(app: FastAPI) -> None:
    """Let the application say all that."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _described(app: FastAPI) -> dict[str, Any]:
    tags = [{"name": name, "description": text} for name, text in _TAGS.items()]
    found: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes, tags=tags
    )
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            _complete(f"{method.upper()} {path}", operation)
    return found


def _complete(call: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    for status, answer in answers.items():
        if int(status) >= 400 and "application/problem+json" in answer.get("content", {}):
            answer["content"] = {"application/problem+json": _PROBLEM}
    if call.startswith("GET /api/v3"):
        answers["304"] = _UNCHANGED
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None and call in _EXAMPLES:
        body["example"] = _EXAMPLES[call]
