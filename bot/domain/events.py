"""The one event stream: what happened, as frozen values, and the hub that hands them out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Self

import msgspec

from bot.domain.task import StageKind, TaskState


class Event(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True):
    """Base of every event; ``at`` is UNIX time in seconds."""

    at: float


class TaskEvent(Event, frozen=True, omit_defaults=True):
    """Base of the events of one task."""

    task: str
    user: str


class TaskSubmitted(TaskEvent, frozen=True, tag="task.submitted"):
    """A task was stored."""

    source: str
    destination: str


class TaskStarted(TaskEvent, frozen=True, tag="task.started"):
    """A task got one of the places, after ``waited`` seconds for which it could have run."""

    waited: float


class TaskPlanned(TaskEvent, frozen=True, tag="task.planned", omit_defaults=True):
    """The plan of a task is known."""

    engine: str
    name: str
    size: int | None


class TaskMoved(TaskEvent, frozen=True, tag="task.moved", omit_defaults=True):
    """A task went from one state to another. ``engine`` is None before it is planned."""

    before: TaskState
    after: TaskState
    engine: str | None = None


class StageStarted(TaskEvent, frozen=True, tag="stage.started", omit_defaults=True):
    """A stage began; ``attempt`` counts from 1.

    ``phase`` is its kind and ``worker`` the engine or step that does it; ``fetcher`` is the engine
    whose bytes it hands on as they arrive. ``resumed`` says that it goes on from what an earlier
    try left.
    """

    stage: str
    attempt: int
    phase: StageKind | None = None
    worker: str = ""
    fetcher: str | None = None
    resumed: bool = False


class StageFinished(TaskEvent, frozen=True, tag="stage.finished", omit_defaults=True):
    """A stage ended well after ``seconds``; ``phase`` and ``worker`` as in ``StageStarted``."""

    stage: str
    seconds: float
    size: int
    phase: StageKind | None = None
    worker: str = ""


class StageFailed(TaskEvent, frozen=True, tag="stage.failed", omit_defaults=True):
    """A stage failed; ``retry_at`` is None when it will not be tried again by itself.

    ``phase`` and ``worker`` as in ``StageStarted``; ``phase`` is None where planning failed.
    """

    stage: str
    code: str
    message: str
    attempt: int
    retry_at: float | None
    phase: StageKind | None = None
    worker: str = ""


class TaskDone(TaskEvent, frozen=True, tag="task.done", omit_defaults=True):
    """A task was delivered and verified."""

    path: str | None
    size: int
    sha256: str | None


class TaskChanged(TaskEvent, frozen=True, tag="task.changed"):
    """The priority of a task, or its place in the queue, is another."""


class TaskRemoved(TaskEvent, frozen=True, tag="task.removed"):
    """A finished task was forgotten."""


class ServiceStarted(Event, frozen=True, tag="service.started"):
    """The service is about to take work."""


class ServiceStopping(Event, frozen=True, tag="service.stopping"):
    """The service ends; no task runs any more."""


class AlertRaised(Event, frozen=True, tag="alert.raised"):
    """An alert began to fire. ``severity`` is ``critical``, ``high``, ``medium`` or ``low``."""

    alert: str
    rule: str
    severity: str
    message: str


class AlertAcknowledged(Event, frozen=True, tag="alert.acknowledged"):
    """Somebody (``by``) looks after an alert."""

    alert: str
    rule: str
    by: str


class AlertSilenced(Event, frozen=True, tag="alert.silenced"):
    """An alert fires, and the silence of that id keeps it quiet."""

    alert: str
    rule: str
    silence: str


class AlertResolved(Event, frozen=True, tag="alert.resolved"):
    """What an alert was about is over."""

    alert: str
    rule: str


class BackupMade(Event, frozen=True, tag="backup.made"):
    """A backup is complete at its destination; ``size`` in bytes, after compression."""

    name: str
    path: str
    size: int
    seconds: float


class BackupFailed(Event, frozen=True, tag="backup.failed"):
    """A backup could not be made."""

    code: str
    message: str


class BackupVerified(Event, frozen=True, tag="backup.verified"):
    """A backup was restored into a scratch place and opened; ``ok`` is False where it is bad."""

    name: str
    ok: bool


class BackupRestored(Event, frozen=True, tag="backup.restored"):
    """The state of a backup took the place of the one before; or, where not ``ok``, did not, and
    the one before is back. ``message`` says why."""

    name: str
    ok: bool
    message: str


class IntegrityChecked(Event, frozen=True, tag="integrity.checked"):
    """Files were compared with what is known of them; ``wrong`` of ``files`` differ or are gone."""

    check: str
    files: int
    wrong: int


class OperationExecuted(Event, frozen=True, tag="operation.executed"):
    """A GraphQL operation was executed; a kept answer is none.

    ``operation`` is ``query``, ``mutation`` or ``subscription``; ``outcome`` is ``ok``, ``error``
    or ``refused`` (by a limit, before it ran).
    """

    operation: str
    outcome: str
    seconds: float


class PluginKilled(Event, frozen=True, tag="plugin.killed"):
    """The process of a plugin was ended by force, for ``reason``."""

    plugin: str
    reason: str


class PluginCrashed(Event, frozen=True, tag="plugin.crashed"):
    """The process of a plugin ended by itself with an error."""

    plugin: str
    message: str


class ClientConnected(Event, frozen=True, tag="client.connected"):
    """A WebSocket client came; ``client`` tells it from the others."""

    client: str


class ClientLeft(Event, frozen=True, tag="client.left"):
    """A WebSocket client is gone."""

    client: str


class DebrisSwept(Event, frozen=True, tag="debris.swept", omit_defaults=True):
    """A sweep is over: the tasks whose workspaces it removed, how many leftovers (half uploads
    among them) each engine removed, and what could not be cleaned, with the reason."""

    workspaces: list[str]
    leftovers: dict[str, int]
    failed: list[str]


Listener = Callable[[Event], None]


class EventHub:
    """Hands every event to listeners (at once, in order) and to subscribers (through a queue).

    A listener must be quick and must not raise. A subscriber that falls more than ``buffer``
    events behind loses the oldest; ``Subscription.lost`` counts them.
    """

    def __init__(self, buffer: int = 4096) -> None:
        self._listeners: list[Listener] = []
        self._buffer = buffer

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with every event from now on; the result ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def publish(self, event: Event) -> None:
        """Hand out ``event``. Only for changes that are durable already."""
        for listener in tuple(self._listeners):
            listener(event)

    def subscribe(self) -> Subscription:
        """A new subscription; use it as a context manager and iterate over it."""
        return Subscription(self, self._buffer)


class Subscription:
    """An async iterator over the events since it was entered."""

    def __init__(self, hub: EventHub, buffer: int) -> None:
        self._hub = hub
        self._queue: deque[Event] = deque(maxlen=buffer)
        self._ready = asyncio.Event()
        self._end: Callable[[], None] | None = None
        self.lost = 0

    def __enter__(self) -> Self:
        self._end = self._hub.listen(self._push)
        return self

    def __exit__(self, *_: object) -> None:
        if self._end:
            self._end()
            self._end = None

    def _push(self, event: Event) -> None:
        if len(self._queue) == self._queue.maxlen:
            self.lost += 1
        self._queue.append(event)
        self._ready.set()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()
