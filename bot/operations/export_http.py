"""Sends points by POST, in batches, to an endpoint that may be down.

What can't be sent waits in a buffer of a fixed number of points, and the oldest make room. After a
failure the next try comes later and later, by chance and never before the endpoint wants it
(``Retry-After``). A batch may come twice where its answer was lost; its points have the same times
then. The operator chose the address: private ones are fine. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from itertools import islice

from bot.domain.ports import Clock
from bot.engines.curl import CurlLoop
from bot.engines.curl_handle import Response
from bot.errors import MltbError
from bot.operations.export import Sent
from bot.operations.export_points import Point

log = logging.getLogger(__name__)

#: The body of a batch.
Encode = Callable[[Sequence[Point]], bytes]
#: How many points of a batch that was accepted the endpoint refused all the same.
Refusals = Callable[[bytes], int]

_TIMEOUT = 15.0  # seconds for one request
_FIRST_WAIT, _LONGEST_WAIT, _ASKED_AT_MOST = 1.0, 300.0, 3600.0
_MAX_ANSWER = 1024 * 1024
#: Statuses that are about the batch: the same one would be refused again.
_UNFIT = frozenset({400, 413, 415, 422})


class HttpExporter:
    """One endpoint. ``buffer`` and ``batch`` are in points."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        curl: CurlLoop,
        clock: Clock,
        encode: Encode,
        headers: Mapping[str, str],
        batch: int,
        buffer: int,
        refusals: Refusals = lambda _: 0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.stats = Sent()
        self._url = url
        self._curl = curl
        self._clock = clock
        self._encode = encode
        self._headers = {"User-Agent": "mltb", **headers}
        self._batch = batch
        self._room = buffer
        self._refusals = refusals
        self._jitter = jitter
        self._buffer: deque[Point] = deque()
        self._some = asyncio.Event()
        self._failures = 0
        self._asked: float | None = None
        self._sending: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Points that are still to be sent."""
        return len(self._buffer)

    def take(self, batch: Sequence[Point]) -> None:
        """Keep them until they are sent; where there is no room, the oldest go."""
        self._buffer.extend(batch)
        self._trim()
        if self._buffer:
            self._some.set()

    def start(self) -> None:
        """Begin to send."""
        self._sending = asyncio.ensure_future(self._run())

    async def flush(self) -> None:
        """Send what waits, until one try fails."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        while self._buffer and await self._send():
            pass

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            while self._buffer:
                if not await self._send():
                    await self._clock.sleep(self._wait())
            self._some.clear()

    async def _send(self) -> bool:
        """Try to send the oldest batch; whether it is dealt with."""
        batch = list(islice(self._buffer, self._batch))
        for _ in batch:
            self._buffer.popleft()
        settled = False
        try:
            settled = await self._post(batch)
        finally:
            if not settled:
                self._buffer.extendleft(reversed(batch))
                self._trim()
        return settled

    async def _post(self, batch: Sequence[Point]) -> bool:
        body = await asyncio.to_thread(self._encode, batch)
        try:
            answer = await self._curl.request(
                "POST",
                self._url,
                body=body,
                headers=self._headers,
                timeout=_TIMEOUT,
                max_size=_MAX_ANSWER,
            )
        except MltbError as error:
            return self._failed(error.message, None)
        if answer.status in _UNFIT:
            self._drop(len(batch), answer.status)
        elif not 200 <= answer.status < 300:
            return self._failed(f"it answered {answer.status}", _retry_after(answer, self._clock))
        else:
            refused = min(len(batch), max(0, self._refusals(answer.body)))
            self.stats.refused += refused
            self.stats.sent += len(batch) - refused
        self._succeeded()
        return True

    def _drop(self, count: int, status: int) -> None:
        self.stats.refused += count
        log.warning("metrics to %s: %d points were refused with %d", self.name, count, status)

    def _failed(self, reason: str, asked: float | None) -> bool:
        if not self._failures:
            log.warning("metrics to %s can't be sent for now: %s", self.name, reason)
        self._failures += 1
        self._asked = asked
        return False

    def _succeeded(self) -> None:
        if self._failures:
            log.info("metrics to %s are sent again; %d were lost", self.name, self.stats.dropped)
        self._failures, self._asked = 0, None

    def _wait(self) -> float:
        """Seconds until the next try."""
        grown = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self._failures - 1, 16))
        return max(grown * (0.5 + self._jitter() / 2), min(self._asked or 0.0, _ASKED_AT_MOST))

    def _trim(self) -> None:
        while len(self._buffer) > self._room:
            self._buffer.popleft()
            self.stats.dropped += 1


def _retry_after(answer: Response, clock: Clock) -> float | None:
    """Seconds, from a number of them or a date (RFC 9110, section 10.2.3)."""
    text = answer.headers.get("retry-after", "")
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - clock.now())
    except (ValueError, OverflowError):
        return None
