"""Which request and which task the present code works for, for whoever writes a log line or
records a deed.

Both are inherited by the coroutines and threads (``asyncio.to_thread``) that are started from
there, as ``contextvars`` are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

REQUEST: ContextVar[str | None] = ContextVar("request", default=None)
#: From where the request came, None where it is not known or the machine itself.
ADDRESS: ContextVar[str | None] = ContextVar("address", default=None)
TASK: ContextVar[str | None] = ContextVar("task", default=None)


@contextmanager
def within_request(request_id: str) -> Iterator[None]:
    """The block answers that request."""
    token = REQUEST.set(request_id)
    try:
        yield
    finally:
        REQUEST.reset(token)


@contextmanager
def within_task(task_id: str) -> Iterator[None]:
    """The block works on that task."""
    token = TASK.set(task_id)
    try:
        yield
    finally:
        TASK.reset(token)


@contextmanager
def turn_of(task_id: str) -> Iterator[None]:
    """The block is that task's turn; the request that happened to start it is another matter."""
    token = REQUEST.set(None)
    try:
        with within_task(task_id):
            yield
    finally:
        REQUEST.reset(token)
