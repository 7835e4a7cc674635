"""Writes the pages that come from the code: settings, commands, errors, OpenAPI.

``python -m tools.docs`` writes them, ``pages()`` gives them to the test that compares.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin

import click
from annotated_types import Ge, Le
from pydantic import ByteSize, SecretStr
from pydantic.fields import FieldInfo

from bot import errors
from bot.cli import main as command
from bot.config import Settings, shown
from bot.config_sources import Declared
from bot.graphql.schema import sdl
from bot.operations.metrics_declared import DECLARED, of_reading
from bot.operations.readings import READINGS
from bot.services import Services
from bot.web import server
from bot.web.attached import Served

DOCS = Path(__file__).resolve().parents[1] / "docs"
_NOTE = "<!-- made by `make docs`; change the code instead -->\n\n"


def pages() -> Mapping[str, str]:
    """Every generated page, by its file name."""
    return {
        "settings.md": _settings(),
        "../config_enhancements_phase3.py": _config_py(),
        "commands.md": _commands(),
        "errors.md": _errors(),
        "rest.md": _rest(),
        "metrics.md": _metrics(),
        "schema.graphql": sdl(),
        "openapi.json": json.dumps(_openapi(), indent=1, sort_keys=True) + "\n",
    }


def _settings() -> str:
    lines = [
        "# Settings\n\n",
        _NOTE,
        (
            "Each can be set in the environment, in `.env` or in `config.py` of the working\n"
            "directory; the first that names it wins. An empty value counts as none. Sizes and\n"
            "rates take a unit: `10M` and `10MiB` count in 1024, `10MB` in 1000. A setting\n"
            "`GROUP__KEY` is written so in the environment and in `.env`, and as\n"
            '`GROUP["key"] = value` in `config.py`. An unknown name or a wrong value stops the\n'
            "start. `mltb config` shows the effective values, with secrets as stars.\n\n"
        ),
        "| name | value | default | meaning |\n|---|---|---|---|\n",
    ]
    for name, field in Declared(Settings).leaves().items():
        default = _default(field)
        cells = (f"`{name.upper()}`", _kind(field), f"`{default}`" if default else "")
        lines.append(f"| {' | '.join(cells)} | {_cell(field.description or '')} |\n")
    return "".join(lines)


def _config_py() -> str:
    """A ``config.py`` with every setting at its default."""
    lines = [
        '"""Every setting with its default: a config.py to begin with (made by `make docs`)."""\n'
    ]
    declared = Declared(Settings)
    for name, field in declared.fields.items():
        lines += ["\n", *_remark(field)]
        if name in declared.groups:
            lines.append(f"{name.upper()} = {{\n")
            for key, inner in declared.groups[name].model_fields.items():
                lines += [f"    {line}" for line in _remark(inner)]
                lines.append(f'    "{key}": {_literal(inner)},\n')
            lines.append("}\n")
        else:
            lines.append(f"{name.upper()} = {_literal(field)}\n")
    return "".join(lines)


def _remark(field: FieldInfo) -> list[str]:
    lines = textwrap.wrap(" ".join((field.description or "").split()), 90)
    return [f"# {line}\n" for line in lines]


def _literal(field: FieldInfo) -> str:
    """The default of a setting, in Python."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, (ByteSize, Path, str)):
        return json.dumps(_default(field))
    return repr(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


_KINDS: Mapping[object, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    ByteSize: "size",
    SecretStr: "text, kept secret",
    Path: "path",
}


def _kind(field: FieldInfo) -> str:
    """The type of a setting in words, and the range of a number."""
    kind: Any = field.annotation
    inner = [each for each in get_args(kind) if each is not type(None)]
    if get_origin(kind) is Literal:
        return " or ".join(f"`{each}`" for each in inner)
    if get_origin(kind) is list:
        return "list of paths" if _bare(inner[0]) is Path else "list"
    limits = {type(each): each for each in field.metadata}
    least, most = (getattr(limits.get(each), each.__name__.lower(), None) for each in (Ge, Le))
    text = _KINDS[_bare(inner[0] if inner else kind)]
    if least is not None and most is not None:
        return f"{text}, {least} to {most}"
    return text if least is None else f"{text}, at least {least}"


def _bare(kind: Any) -> object:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _default(field: FieldInfo) -> str:
    """As one would write it."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, ByteSize):
        power = max((n for n in range(5) if value and value % 1024**n == 0), default=0)
        return f"{value // 1024**power}{' KMGT'[power].strip()}"
    return f"{value:.12g}" if isinstance(value, float) else shown(value)


def _commands() -> str:
    lines = ["# Commands\n\n", _NOTE, "`python -m bot` is the same as `mltb`.\n"]
    for context in contexts():
        text = context.command.get_help(context)
        lines.append(f"\n## {context.command_path}\n\n```\n{text}\n```\n")
    return "".join(lines)


def contexts() -> Iterator[click.Context]:
    """One for each command, the groups before what is in them."""
    return _walk(command, "mltb", None)


def _walk(found: click.Command, name: str, parent: click.Context | None) -> Iterator[click.Context]:
    # The width of the terminal that writes the page must not show in it.
    settings = {**found.context_settings, "terminal_width": 78}
    context = click.Context(found, info_name=name, parent=parent, **settings)
    yield context
    if isinstance(found, click.Group):
        for below in sorted(found.commands):
            yield from _walk(found.commands[below], below, context)


#: What to do about each error that a user can meet, by its code.
_ADVICE: Mapping[str, str] = {
    "config_invalid": "Mend the settings that the message names; `mltb config` lists all.",
    "bad_request": "Send what [rest.md](rest.md) describes.",
    "invalid_input": "The hint says what is allowed.",
    "unauthenticated": "Send a token; `mltb token create` makes one.",
    "forbidden": "Use a token with a wider scope, or of the user whose task it is.",
    "csrf": "Send the header `X-CSRF-Token`, with what `GET /api/v3/session` answers.",
    "not_found": "Look at the id; `mltb list` shows the tasks there are.",
    "conflict": "Ask for the task again: it changed meanwhile.",
    "illegal_move": "The hint says where the task can go from its state.",
    "duplicate": 'Go on with the task in `details["task"]`, or ask with `again`.',
    "body_too_large": "Send fewer tasks at once.",
    "too_many": "Wait until some tasks are finished, or ask for a higher limit.",
    "unavailable": "Start the service (`mltb serve`), or wait until it is ready.",
    "network": "Nothing, at first. If it lasts, look at the connection and the source.",
    "refused": "Nothing, at first. If it lasts, ask less of that server at once.",
    "source_not_found": "Look at the link: it is wrong, or the file is gone.",
    "unauthorised": "Give the user name, password, header or cookies that the source wants.",
    "no_space": "Make room, deliver elsewhere, or lower `DISK_RESERVE`; then retry.",
    "quota": "Wait, or ask for a higher `USER_DAILY_BYTES`.",
    "corrupt": "Compare the checksum that you gave; the source may hold a damaged file.",
    "unsupported": "The hint says what is missing, or what else would do.",
    "policy": "An operator can widen `EGRESS_ALLOW` or `LOCAL_ROOTS`, or raise a limit.",
    "plugin": "The message names the plugin; its operator has its log.",
    "internal": "Report it, with what the log says under the id in the hint.",
}


def _errors() -> str:
    lines = [
        "# Errors\n\n",
        _NOTE,
        (
            "Every door shows the same code, with a message that says what happened and a hint\n"
            "that says what is allowed. *Tried again* means by itself, with growing waits; a\n"
            "code without a word there is of a request and not of a task.\n\n"
        ),
        "| code | HTTP status | tried again | meaning | what to do |\n|---|---|---|---|---|\n",
    ]
    for kind in _tree(errors.MltbError):
        if kind in {errors.MltbError, errors.TransferError}:
            continue  # Only what is derived from them is met.
        again = ""
        if issubclass(kind, errors.TransferError):
            again = "yes" if kind.retryable else "no"
        meaning = _cell((kind.__doc__ or "").split("\n\n")[0]).replace("``", "`")
        advice = _ADVICE[kind.code]
        lines.append(f"| `{kind.code}` | {kind.status} | {again} | {meaning} | {advice} |\n")
    return "".join(lines)


def _tree(kind: type[errors.MltbError]) -> Iterator[type[errors.MltbError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _tree(below)


def _openapi() -> dict[str, Any]:
    # The schema needs the routes, and no service behind them.
    services = cast(Services, None)
    schema: dict[str, Any] = server.build(Served(services), ready=lambda: None).openapi()
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
            text = _cell(str(operation.get("description", ""))).replace("``", "`")
            lines.append(f"| `{method.upper()} {path}` | {text} |\n")
    return "".join(lines)


def _metrics() -> str:
    lines = [
        "# Metrics\n\n",
        _NOTE,
        (
            "`GET /metrics` shows them to Prometheus, with a token of the scope `view`, as\n"
            "OpenMetrics where the `Accept` header asks for it, else in the older text format.\n"
            "Counters begin at 0 with each start. The values of labels come from lists that the\n"
            "service knows; what is in no list counts as `other`, and nothing that a user wrote\n"
            "is ever a label. How to scrape and export them: [monitoring.md](monitoring.md).\n\n"
        ),
        "## For Prometheus\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n",
    ]
    for each in (*DECLARED, *(of_reading(each) for each in READINGS if not each.total)):
        labels = ", ".join(f"`{label}`" for label in each.labels)
        lines.append(f"| `{each.name}` | {each.kind} | {labels} | {_cell(each.help)} |\n")
    lines += [
        "\n## Readings\n\n",
        "`GET /api/v3/metrics/current` answers with these; alerts and the history take them by\n",
        "the same names.\n\n| reading | unit | meaning |\n|---|---|---|\n",
    ]
    lines += [f"| `{each.name}` | {each.unit} | {_cell(each.help)} |\n" for each in READINGS]
    return "".join(lines)


if __name__ == "__main__":
    DOCS.mkdir(exist_ok=True)
    for page, content in pages().items():
        (DOCS / page).write_text(content)
