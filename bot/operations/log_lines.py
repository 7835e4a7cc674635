"""A log line: what it holds, how it is made of a record, and its two looks.

Every text in a line is without secrets (``bot.domain.redaction``), without characters that a
terminal obeys, and short. So a hostile name can neither forge a line nor move a cursor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from bot.domain.context import REQUEST, TASK
from bot.domain.redaction import MASK, redact_value
from bot.operations.structured import (
    EventDict,
    ExtraAdder,
    ProcessorFormatter,
    WrappedLogger,
    format_exc_info,
)

LEVELS = ("debug", "info", "warning", "error", "critical")

_TAKEN = 64 * 1024  # characters of a text that are looked at
_MESSAGE, _ERROR, _FIELD = 4096, 16_384, 1024  # characters of a text that are kept
_FIELDS = 32  # extra fields that are kept, and what nested ones may have in all
_COLOURS = {"warning": "33", "error": "31", "critical": "1;31"}

Redact = Callable[[str], str]


class LogLine(msgspec.Struct, omit_defaults=False):
    """One line. ``time`` is RFC 3339 in UTC, always of the same length; ``error`` a traceback."""

    time: str
    level: str
    logger: str
    message: str
    request: str | None = None
    task: str | None = None
    fields: dict[str, Any] = {}
    error: str | None = None


_DECODER = msgspec.json.Decoder(LogLine)


def stamp(at: float) -> str:
    """UNIX seconds as the ``time`` of a line."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def moment(time: str) -> float:
    """The UNIX seconds of a line's ``time``."""
    return datetime.fromisoformat(time).timestamp()


def parsed(data: bytes) -> LogLine | None:
    """The line that ``data`` is, or None where it is none."""
    try:
        line = _DECODER.decode(data)
        datetime.fromisoformat(line.time)
    except (msgspec.MsgspecError, ValueError):
        return None
    return line


def printable(text: str) -> str:
    """``text`` with an escape for each character that is not shown as itself."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def clean(text: str, most: int, redact: Redact, *, lines: bool = False) -> str:
    """At most ``most`` printable characters of ``text``, without secrets; of several ``lines``
    where that is wanted."""
    if len(text) > _TAKEN:
        # A word that the cut goes through may be half a secret that nobody knows any more.
        whole, _, _ = text[:_TAKEN].rpartition(" ")
        text = f"{whole} …"
    text = redact(text)
    if len(text) > most:
        text = text[:most] + "…"
    return "\n".join(map(printable, text.split("\n"))) if lines else printable(text)


class _Described:
    """A structlog processor: the line of a record, of any library's."""

    def __init__(self, redact: Redact) -> None:
        self._redact = redact
        self._add_extra = ExtraAdder()

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        record: logging.LogRecord = event["_record"]
        event = format_exc_info(logger, name, event)
        error = event.get("exception") or event.get("stack_info")
        extra = dict(self._add_extra(logger, name, {"_record": record}))
        del extra["_record"]
        # What our own calls have to say in a table of its own can't hide an attribute of a record.
        if isinstance(extra.get("fields"), Mapping):
            extra |= extra.pop("fields")
        task = extra.pop("task", None) or TASK.get()
        line = LogLine(
            time=stamp(record.created),
            level=record.levelname.lower(),
            logger=printable(record.name),
            message=clean(event["event"], _MESSAGE, self._redact),
            request=REQUEST.get(),
            task=None if task is None else clean(str(task), _FIELD, self._redact),
            fields=_fields(extra, self._redact) if extra else extra,
            error=None if error is None else clean(str(error), _ERROR, self._redact, lines=True),
        )
        return {"line": line}


def _fields(extra: Mapping[str, Any], redact: Redact) -> dict[str, Any]:
    def short(text: str) -> str:
        return clean(text, _FIELD, redact)

    found: dict[str, Any] = redact_value(dict(list(extra.items())[:_FIELDS]), redact=short)
    # What is large although each of its texts is short.
    return {
        key: value if not isinstance(value, (dict, list)) or _is_small(value) else MASK
        for key, value in found.items()
    }


def _is_small(value: dict[str, Any] | list[Any]) -> bool:
    return len(msgspec.json.encode(value)) <= _FIELD


def as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    """A structlog renderer: the line for programs."""
    return msgspec.json.encode(event["line"]).decode()


class ForPeople:
    """A structlog renderer: the line for a person."""

    def __init__(self, *, coloured: bool = False) -> None:
        self._coloured = coloured

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> str:
        """Render."""
        return told(event["line"], coloured=self._coloured)


def told(line: LogLine, *, coloured: bool = False) -> str:
    """A line for a person. A traceback is indented, so that nothing in it looks like a line."""
    level = line.level.upper()
    if coloured and (colour := _COLOURS.get(line.level)):
        level = f"\x1b[{colour}m{level}\x1b[0m"
    marks = {"request": line.request, "task": line.task, **line.fields}
    behind = " ".join(f"{name}={value}" for name, value in marks.items() if value is not None)
    text = f"{line.time} {level} {line.logger}: {line.message}" + (f"  {behind}" if behind else "")
    if line.error is None:
        return text
    return "\n".join([text, *(f"  | {each}" for each in line.error.split("\n"))])


def formatter(
    redact: Redact, render: Callable[[WrappedLogger, str, EventDict], str]
) -> ProcessorFormatter:
    """What makes texts of records, whoever logged them."""
    return ProcessorFormatter(processors=[_Described(redact), render])
