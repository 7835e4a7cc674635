"""Whatever gives access is taken out of a log line, wherever in the line it stands."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bot.domain.redaction import MASK, Redactor, names_secret, redact
from bot.operations.log_files import LogFile
from bot.operations.logs import log_to_file, log_to_terminal
from tests.rig import ManualClock

_SETTING = "value-of-a-secret-setting"
#: A text with a secret, and the part of it that must not be seen again.
LEAKS = {
    "password in a URL": ("GET https://ann:hunter22@example.org/x", "hunter22"),
    "password with an at sign": ("ftp://ann:p@ss:word@example.org/x", "p@ss:word"),
    "token as user": ("https://ghs-abcdef123456@example.org/x", "ghs-abcdef123456"),
    "parameter token": ("https://example.org/x?a=1&token=abc123xyz&b=2", "abc123xyz"),
    "parameter key": ("https://example.org/x?api_key=abc123xyz", "abc123xyz"),
    "parameter signature": ("https://example.org/x?Signature=abc%2F123xyz", "abc%2F123xyz"),
    "signed URL": (
        "https://s3.example.org/x?X-Amz-Credential=AKIDEXAMPLE%2F2026&X-Amz-Signature=f00ba4",
        "f00ba4",
    ),
    "authorization": ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    "bearer": ("sent Authorization: Bearer abcdef.ghijkl-123", "abcdef.ghijkl-123"),
    "bearer alone": ("the bearer abcdefghijkl123 was refused", "abcdefghijkl123"),
    "cookie": ("Cookie: session=abc123xyz; other=def456", "def456"),
    "set-cookie": ("Set-Cookie: sid=abc123xyz; HttpOnly", "abc123xyz"),
    "quoted cookie": ('Cookie: sid="abc123xyz"; a="def456"', "abc123xyz"),
    "digest": ('Authorization: Digest username="ann", response="f00ba4f00ba4"', "f00ba4f00ba4"),
    "header in a table": ("{'Cookie': 'sid=\"abc123xyz\"', 'a': 1}", "abc123xyz"),
    "words written together": ("dbpassword=hunter22", "hunter22"),
    "words in capitals": ("APIToken=hunter22", "hunter22"),
    "parameter of a path": ("https://example.org/x;jsessionid=abc123xyz", "abc123xyz"),
    "our token": ("mltb_S3cr3tS3cr3tS3cr3tS3cr3t is unknown", "S3cr3tS3cr3t"),
    "telegram bot": (
        "https://api.example.org/bot123456789:AAF-abcdefghijklmnopqrstuvwxyz12345/x",
        "AAF-abcdefghijklmnopqrstuvwxyz12345",
    ),
    "params of a step": ("{'name': 'extract', 'params': {'password': 'hunter22'}}", "hunter22"),
    "json": ('{"password": "hunter22", "a": 1}', "hunter22"),
    "dotenv": ("DATABASE_PASSWORD=hunter22", "hunter22"),
    "slack": ("https://hooks.slack.com/services/T000/B000/XXXXabcd", "XXXXabcd"),
    "discord": ("https://discord.example/api/webhooks/123/abc-DEF_ghi", "abc-DEF_ghi"),
    "json web token": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "c2lnbmF0dXJl"),
    "age key": ("AGE-SECRET-KEY-1QQQQQQQQQQQQ", "1QQQQQQQQQQQQ"),
    "value of a setting": (f"connected with {_SETTING} to it", _SETTING),
}
HARMLESS = [
    "magnet:?xt=urn:btih:c12fe1c06bba254a9dc9f519b335aa7c1367a88a&dn=Film&tr=udp://t.example:80",
    "task 06h12hq9dnrcp81f: fetched https://example.org:8443/film.mkv?id=7#part in 3.2 s",
    "the key of example.org is not known: SFTP_KNOWN_HOSTS is not set",
    "/srv/media/My Password Manager/keys.txt was delivered",
    "12:30:45 2 of 3 stages are done, 10:1 is the ratio",
]


class Written:
    """A log in a terminal and in a file."""

    def __init__(self, stream: io.StringIO, directory: Path) -> None:
        self._stream, self._directory = stream, directory

    @property
    def terminal(self) -> str:
        return self._stream.getvalue()

    @property
    def file(self) -> str:
        return "".join(path.read_text() for path in sorted(self._directory.iterdir()))


@contextmanager
def pipeline(directory: Path) -> Iterator[tuple[logging.Logger, Written]]:
    """The real handlers, as the service has them; the root logger is as it was afterwards."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # those of the test runner would be closed
    hidden = Redactor([_SETTING])
    log_to_terminal(stream, hidden, level="debug")
    file = LogFile(
        directory / "logs", ManualClock(), max_size=1 << 20, max_age=3600, total_size=4 << 20
    )
    try:
        with log_to_file(file, hidden):
            yield logging.getLogger("tests.redaction"), Written(stream, directory / "logs")
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)


def _message(log: logging.Logger, text: str) -> None:
    log.warning(text)


def _argument(log: logging.Logger, text: str) -> None:
    log.warning("it said %s", text)


def _extra(log: logging.Logger, text: str) -> None:
    log.warning("it said", extra={"said": text, "nested": {"deeper": [text]}})


def _exception(log: logging.Logger, text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("it failed")


def _cause(log: logging.Logger, text: str) -> None:
    try:
        try:
            raise OSError(text)
        except OSError as error:
            raise RuntimeError("another") from error
    except RuntimeError as error:
        log.warning("it failed", exc_info=error)


@pytest.mark.parametrize("way", [_message, _argument, _extra, _exception, _cause])
@pytest.mark.parametrize("kind", LEAKS)
def test_no_secret_is_written(tmp_path: Path, kind: str, way: object) -> None:
    text, secret = LEAKS[kind]
    assert callable(way)
    with pipeline(tmp_path) as (log, written):
        way(log, text)
        assert written.terminal
        assert written.file
        assert secret not in written.terminal
        assert secret not in written.file
        assert MASK in written.file


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor([_SETTING])(text) == text


@pytest.mark.parametrize(
    "name", ["password", "API_KEY", "X-Amz-Signature", "Authorization", "torrentPass", "auth_token"]
)
def test_names_of_secrets(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize("name", ["monkey", "compass", "path", "author", "keyboard", "design"])
def test_names_that_only_look_like_it(name: str) -> None:
    assert not names_secret(name)


@pytest.mark.parametrize(
    "unit", ["token=", "://a:", "Cookie: ", '"password": "', "eyJ.", "bearer ", "a@", "key:key:"]
)
def test_a_long_hostile_text_does_not_hold_it_up(unit: str) -> None:
    """An expression that looks again and again would take hours, and not the time of a test."""
    assert redact((unit * (1_000_000 // len(unit)))[:1_000_000])


@pytest.mark.parametrize(
    "hostile",
    [
        "film\n2026-01-01T00:00:00.000+00:00 ERROR root: forged",
        "film\r\nforged",
        "film\x1b[2J\x1b]0;title\x07",
        "film\u202eexe.vkm",
        "film\x00\x08\x9b31m",
        "film\u2028forged",
    ],
)
@pytest.mark.parametrize("way", [_message, _argument, _extra, _exception])
def test_a_hostile_name_neither_forges_a_line_nor_moves_a_cursor(
    tmp_path: Path, hostile: str, way: object
) -> None:
    assert callable(way)
    with pipeline(tmp_path) as (log, written):
        way(log, hostile)
        for line in written.terminal.splitlines():
            assert line.isprintable()
            assert line.startswith(("1970-", "20", "  | "))
            assert not re.match(r"2026-01-01.* ERROR root", line)
        lines = written.file.splitlines()
        assert len(lines) == 1
        assert json.loads(lines[0])["logger"] == "tests.redaction"
