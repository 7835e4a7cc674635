"""When a failed stage is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.retry import RetryPolicy
from bot.errors import Corrupt, NetworkFailed, Refused

policies = st.builds(
    RetryPolicy, attempts=st.integers(1, 100), base=st.floats(0, 100), longest=st.floats(0, 1000)
)
jitters = st.floats(0, 1, exclude_max=True)


@given(policies, st.integers(1, 10_000), jitters)
def test_a_wait_lies_in_the_upper_half_of_what_it_may_be(
    policy: RetryPolicy, attempt: int, jitter: float
) -> None:
    wait = policy.delay(NetworkFailed("x"), attempt, jitter)
    if attempt >= policy.attempts:
        assert wait is None
        return
    assert wait is not None
    assert 0 <= wait <= policy.longest
    full = min(policy.longest, policy.base * 2.0 ** min(attempt - 1, 32))
    assert full / 2 <= wait <= full


def test_waits_double_up_to_the_longest() -> None:
    policy = RetryPolicy(attempts=8, base=2, longest=30)
    waits = [policy.delay(NetworkFailed("x"), attempt, 0.0) for attempt in range(1, 9)]
    assert waits == [1, 2, 4, 8, 15, 15, 15, None]


def test_jitter_spreads_tasks_that_failed_together() -> None:
    policy = RetryPolicy(attempts=5, base=10, longest=100)
    assert policy.delay(NetworkFailed("x"), 1, 0.0) == 5
    assert policy.delay(NetworkFailed("x"), 1, 0.5) == 7.5


@given(policies, st.integers(1, 100), jitters)
def test_some_failures_are_final(policy: RetryPolicy, attempt: int, jitter: float) -> None:
    assert policy.delay(Corrupt("x"), attempt, jitter) is None


@pytest.mark.parametrize(("asked", "wait"), [(0.0, 1.0), (0.5, 1.0), (90.0, 90.0), (1e9, 86400.0)])
def test_what_the_server_asks_for_is_the_least_up_to_a_day(asked: float, wait: float) -> None:
    policy = RetryPolicy(attempts=5, base=2, longest=60)
    assert policy.delay(Refused("later", retry_after=asked), 1, 0.0) == wait
    assert policy.delay(Refused("later", retry_after=asked), 5, 0.0) is None
