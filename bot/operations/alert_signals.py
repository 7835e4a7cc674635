"""What alerts know beyond the readings: stuck queues, collapsed speed, ends of tokens and
certificates."""

from __future__ import annotations

import binascii
import math
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bot.domain import events
from bot.domain.alerts import Labels
from bot.domain.ports import Clock, Token
from bot.domain.task import ACTIVE, TaskState

#: Readings that rules can be about beside those of ``readings.READINGS``.
SIGNALS: Mapping[str, str] = {
    "queue_idle_seconds": "For how long tasks have waited, places were free and nothing moved.",
    "speed_ratio": "The speed of fetching as a part of what it was in the last minutes.",
    "token_left_seconds": "For each access token, how long it is still valid.",
    "certificate_left_seconds": "For each of ALERT_CERTIFICATES, how long it is still valid.",
}

_MEMORY = 600.0  # seconds: how far the speed of before reaches back
_SETTLED = 60.0  # seconds of fetching before there is a speed to compare with
_SLOW = 64 * 1024  # bytes a second; below, a ratio says nothing
_LONG_LIVED = 14 * 86400.0  # seconds; a token made for less is meant to end soon
_FRESH = 300.0  # seconds
_MAX_PEM = 1024 * 1024  # bytes
_LONG_WORK = frozenset({TaskState.PROCESSING, TaskState.VERIFYING, TaskState.SEEDING})


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a reading; ``labels`` say of what, where it has several. ``note`` adds words."""

    reading: str
    value: float
    labels: Labels = field(default_factory=dict)
    note: str = ""


class Signals:
    """Works out what the readings alone do not say. Hears the events of tasks."""

    def __init__(self, clock: Clock, max_active: int) -> None:
        self._clock = clock
        self._max_active = max_active
        self._active: dict[str, TaskState] = {}
        self._moved_at = clock.monotonic()
        self._speed: float | None = None
        self._fetched_for = 0.0
        self._looked_at = clock.monotonic()

    def hear(self, event: events.TaskEvent) -> None:
        """Something moves."""
        self._moved_at = self._clock.monotonic()
        if isinstance(event, events.TaskMoved):
            if event.after in ACTIVE:
                self._active[event.task] = event.after
            else:
                self._active.pop(event.task, None)

    def add_to(self, readings: Mapping[str, float]) -> dict[str, float]:
        """The readings, and what follows from them."""
        now = self._clock.monotonic()
        passed, self._looked_at = max(0.0, now - self._looked_at), now
        found = {**readings, "queue_idle_seconds": self._idle(readings, now)}
        ratio = self._ratio(readings.get("bytes_in_per_second"), passed)
        return found if ratio is None else {**found, "speed_ratio": ratio}

    def _idle(self, readings: Mapping[str, float], now: float) -> float:
        rates = ("bytes_in_per_second", "bytes_out_per_second")
        stuck = (
            readings.get("tasks_queued", 0) > 0
            and readings.get("tasks_running", 0) < self._max_active
            and all(readings.get(name, 0) <= 0 for name in rates)
            and not _LONG_WORK.intersection(self._active.values())
        )
        if not stuck:
            self._moved_at = now
        return now - self._moved_at

    def _ratio(self, speed: float | None, passed: float) -> float | None:
        """The present speed against a mean that forgets with ``_MEMORY``."""
        if speed is None or TaskState.RUNNING not in self._active.values():
            self._fetched_for = 0.0
            return None
        self._fetched_for += passed
        before = self._speed
        if before is None or self._fetched_for <= passed:
            self._speed = speed
            return None
        self._speed = before + (speed - before) * (1 - math.exp(-passed / _MEMORY))
        settled = self._fetched_for >= _SETTLED and before >= _SLOW
        return speed / before if settled else None


class Expiries:
    """How long tokens and certificates are still valid."""

    def __init__(
        self,
        tokens: Callable[[], Awaitable[Sequence[Token]]],
        certificates: Sequence[Path],
        clock: Clock,
    ) -> None:
        self._tokens = tokens
        self._certificates = certificates
        self._clock = clock
        self._found: list[Sample] = []
        self._looked_at: float | None = None

    async def sample(self) -> list[Sample]:
        """One for each, a few minutes old at most; a certificate that can't be read is as good as
        ended."""
        mono = self._clock.monotonic()
        if self._looked_at is None or mono - self._looked_at >= _FRESH:
            self._found, self._looked_at = await self._look(), mono
        return self._found

    async def _look(self) -> list[Sample]:
        now = self._clock.now()
        found = [
            Sample("token_left_seconds", left, {"token": each.name, "id": each.id})
            for each in await self._tokens()
            if each.expires_at is not None
            and each.expires_at - each.created_at >= _LONG_LIVED
            and (left := each.expires_at - now) > 0
        ]
        return [*found, *(self._of(path, now) for path in self._certificates)]

    def _of(self, path: Path, now: float) -> Sample:
        labels = {"certificate": str(path)}
        try:
            ends = certificate_end(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            return Sample("certificate_left_seconds", 0.0, labels, f"it can't be read: {reason}")
        return Sample("certificate_left_seconds", ends - now, labels)


def certificate_end(path: Path) -> float:
    """When the first certificate of a PEM file that ends does so, UNIX seconds.

    OSError where the file can't be read, ValueError where it holds no certificate.
    """
    with path.open("rb") as file:
        text = file.read(_MAX_PEM).decode("ascii", "replace")
    begin, end = ssl.PEM_HEADER, ssl.PEM_FOOTER
    blocks = [part.partition(end)[0] for part in text.split(begin)[1:]]
    if not blocks:
        raise ValueError("there is no certificate in it")
    return min(_not_after(_der(block)) for block in blocks)


def _der(block: str) -> bytes:
    try:
        return binascii.a2b_base64(block)
    except binascii.Error as error:
        raise ValueError("it is no PEM") from error


def _not_after(der: bytes) -> float:
    """RFC 5280, section 4.1: Certificate, its tbsCertificate, and of that the validity, which
    comes after an optional version, the serial number, the algorithm and the issuer."""
    try:
        _, whole = next(_elements(der))
        _, signed = next(_elements(whole))
        fields = [each for each in _elements(signed) if each[0] != 0xA0]
        _, until = list(_elements(fields[3][1]))[1]
        text = until.decode("ascii")
        # UTCTime has two digits of the year, and 50 to 99 are of 1900 (section 4.1.2.5.1).
        if len(text) == 13:
            text = ("19" if text[:2] >= "50" else "20") + text
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except (IndexError, StopIteration, UnicodeDecodeError) as error:
        raise ValueError("it is no certificate") from error


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element of DER (X.690, section 8.1) in ``data``."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if at + length > len(data):
            raise IndexError("an element is longer than what it is in")
        yield tag, data[at : at + length]
        at += length
