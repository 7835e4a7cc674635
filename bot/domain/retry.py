"""When a failed stage is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from bot.errors import PolicyRefused, TransferError

_ASKED_AT_MOST = 86400.0  # seconds: a server that asks for years must not hold a task for years


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``attempts`` tries in all; the waits double from ``base`` up to ``longest`` seconds."""

    attempts: int
    base: float
    longest: float

    def delay(self, error: TransferError, attempt: int, jitter: float) -> float | None:
        """Seconds to wait after the failed try number ``attempt`` (from 1); None: no more tries.

        ``jitter`` in [0, 1) spreads the wait over its upper half, so that tasks which failed
        together do not come back together. What the other side asked for is a lower bound, of up
        to a day.
        """
        if not error.retryable or attempt >= self.attempts:
            return None
        wait = min(self.longest, self.base * 2.0 ** min(attempt - 1, 32))
        return max(wait * (0.5 + jitter / 2), _asked_for(error))

    def may_be_wished(self, error: TransferError, attempt: int) -> bool:
        """Whether somebody else may have a say in it: tries are left, and no rule forbids it."""
        return attempt < self.attempts and not isinstance(error, PolicyRefused)

    def wished(self, error: TransferError, wait: float) -> float:
        """The wait that somebody wishes, within what is allowed."""
        return max(min(wait, self.longest), _asked_for(error))


def _asked_for(error: TransferError) -> float:
    return min(error.retry_after or 0.0, _ASKED_AT_MOST)
