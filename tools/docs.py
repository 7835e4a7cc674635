"""Writes the pages of ``docs/`` that come from the code: settings, commands, errors, OpenAPI.

``python -m tools.docs`` writes them, ``pages()`` gives them to the test that compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import click

from bot import errors
from bot.cli import main as command
from bot.config import Settings, shown
from bot.services import Tasks, Tokens
from bot.web import server

DOCS = Path(__file__).resolve().parents[1] / "docs"
_NOTE = "<!-- made by `make docs`; change the code instead -->\n\n"


def pages() -> Mapping[str, str]:
    """Every generated page, by its file name."""
    return {
        "settings.md": _settings(),
        "commands.md": _commands(),
        "errors.md": _errors(),
        "rest.md": _rest(),
        "openapi.json": json.dumps(_openapi(), indent=1, sort_keys=True) + "\n",
    }


def _settings() -> str:
    lines = [
        "# Settings\n\n",
        _NOTE,
        (
            "Each can be set in the environment, in `.env` or in `config.py` of the working\n"
            "directory; the first that names it wins. `mltb config` shows the effective values.\n\n"
        ),
        "| name | default | meaning |\n|---|---|---|\n",
    ]
    for name, field in Settings.model_fields.items():
        default = shown(field.get_default(call_default_factory=True))
        value = f"`{default}`" if default else ""
        help_text = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name.upper()}` | {value} | {help_text} |\n")
    return "".join(lines)


def _commands() -> str:
    lines = ["# Commands\n\n", _NOTE, "`python -m bot` is the same as `mltb`.\n"]
    for path, found in _walk(command, ("mltb",)):
        context = click.Context(found, info_name=" ".join(path))
        lines.append(f"\n## {' '.join(path)}\n\n```\n{found.get_help(context)}\n```\n")
    return "".join(lines)


def _walk(
    found: click.Command, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, found
    if isinstance(found, click.Group):
        for name in sorted(found.commands):
            yield from _walk(found.commands[name], (*path, name))


def _errors() -> str:
    lines = [
        "# Errors\n\n",
        _NOTE,
        (
            "Every door shows the same code, with a message that says what happened and a hint\n"
            "that says what to do. *Tried again* means by itself, with growing waits.\n\n"
        ),
        "| code | HTTP status | tried again | meaning |\n|---|---|---|---|\n",
    ]
    for kind in _tree(errors.MltbError):
        again = ""
        if issubclass(kind, errors.TransferError):
            again = "yes" if kind.retryable else "no"
        first = (kind.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
        meaning = " ".join(first.split()).replace("|", "\\|")
        lines.append(f"| `{kind.code}` | {kind.status} | {again} | {meaning} |\n")
    return "".join(lines)


def _tree(kind: type[errors.MltbError]) -> Iterator[type[errors.MltbError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _tree(below)


def _openapi() -> dict[str, Any]:
    # The schema needs the routes, and no service behind them.
    nothing = cast(Any, None)
    tasks, tokens = cast(Tasks, nothing), cast(Tokens, nothing)
    schema: dict[str, Any] = server.build(tasks, tokens, ready=lambda: None).openapi()
    return schema


def _rest() -> str:
    lines = [
        "# REST\n\n",
        _NOTE,
        (
            "Send `Authorization: Bearer TOKEN` with everything but `/healthz` and `/readyz`;\n"
            "errors are problem details (RFC 9457) with the codes of [errors.md](errors.md).\n"
            "Times are RFC 3339, sizes bytes. All of it: [openapi.json](openapi.json).\n\n"
        ),
        "| call | what it does |\n|---|---|\n",
    ]
    for path, methods in _openapi()["paths"].items():
        for method, operation in methods.items():
            text = " ".join(str(operation.get("description", "")).split())
            lines.append(f"| `{method.upper()} {path}` | {text} |\n")
    return "".join(lines)


if __name__ == "__main__":
    DOCS.mkdir(exist_ok=True)
    for page, content in pages().items():
        (DOCS / page).write_text(content)
