"""rclone's daemon (``rclone rcd``) and its remote control API on a unix socket.

One child, started by the first call and ended when nothing was asked of it for a minute: idle it
holds 60 MB. Long work runs as an asynchronous job of rclone; one look at all jobs notices their
ends, ten times a second and more often at first. Source: rclone's documentation of the remote
control API.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bot.engines.curl import CurlLoop
from bot.engines.rclone_errors import transfer_error
from bot.engines.rclone_process import DaemonProcess
from bot.errors import InternalFailure, NetworkFailed, TransferError

_FIRST_LOOK, _LAST_LOOK, _SLOWER = 0.01, 0.1, 1.25
_SAMPLE_SECONDS = 1.0
_STOP_SECONDS = 30.0
_BATCH = 500
_LARGEST_ANSWER = 256 * 1024 * 1024

Params = dict[str, Any]


class Daemon:
    """One ``rclone rcd``. ``limit`` is in bytes a second, None for none; ``idle`` in seconds."""

    def __init__(
        self,
        loop: CurlLoop,
        directory: Path,
        *,
        binary: Path | None,
        config: Path | None,
        transfers: int,
        idle: float = 60.0,
        limit: int | None = None,
    ) -> None:
        self._curl = loop
        self._process = DaemonProcess(directory, binary=binary, config=config, transfers=transfers)
        self._idle = idle
        self._limit = limit
        self._limit_set: int | None = None
        self._starting: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._users = 0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._jobs: dict[int, asyncio.Future[Params]] = {}
        self._groups: dict[str, int] = {}
        self._new_job = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self.secrets: set[str] = set()
        #: What rclone counts for each group of jobs under way, a second old at most.
        self.stats: dict[str, Params] = {}

    @property
    def pid(self) -> int | None:
        """The process, None while it does not run."""
        return self._process.pid

    # Calls

    async def call(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        what: str = "rclone",
        timeout: float = 120.0,
    ) -> Params:
        """One call of the API; ``what`` begins the message of a failure. ``timeout`` in seconds.

        Raises the TransferError that fits what rclone says.
        """
        async with self._in_use():
            return await self._post(path, params or {}, what, timeout)

    async def run(self, path: str, params: Mapping[str, Any], *, what: str, group: str) -> Params:
        """Run a call as a job and wait for its end, however long it takes; its output.

        Cancelling stops the job, and waits until rclone has let go of the files. ``stats`` has
        the figures of its ``group`` meanwhile.
        """
        async with self._in_use():
            with self.counting(group):
                return await self._run(path, {**params, "_async": True, "_group": group}, what)

    @contextlib.contextmanager
    def counting(self, group: str) -> Iterator[None]:
        """What rclone counts for the jobs of ``group`` adds up as long as one of these is open."""
        self._groups[group] = self._groups.get(group, 0) + 1
        try:
            yield
        finally:
            self._groups[group] -= 1
            if self._groups[group] == 0:
                del self._groups[group]
                self.stats.pop(group, None)
                if self._process.socket is not None:
                    self._later(self._forget_group(group))

    async def batch(
        self,
        inputs: Sequence[Params],
        *,
        what: str,
        group: str,
        config: Mapping[str, Any] | None = None,
        width: int | None = None,
    ) -> list[Params]:
        """Run many calls (each with its ``_path``), ``width`` at a time; their outputs in order.

        All of them are run; then the first failure is raised.
        """
        results: list[Params] = []
        for start in range(0, len(inputs), _BATCH):
            params: Params = {"inputs": list(inputs[start : start + _BATCH])}
            if config:
                params["_config"] = dict(config)
            if width:
                params["concurrency"] = width
            output = await self.run("job/batch", params, what=what, group=group)
            results += output["results"]
        for given, result in zip(inputs, results, strict=True):
            if "error" in result and "status" in result:
                name = given.get("remote") or given.get("dstRemote") or ""
                raise self._failure(str(result["error"]), f"{what} {name}".strip())
        return results

    def set_limit(self, limit: int | None) -> None:
        """Limit everything that this daemon moves, in bytes a second; at once where it runs."""
        self._limit = limit
        if self._process.socket is not None and self._limit_set != limit:
            self._later(self._apply_limit())

    async def stop(self) -> None:
        """End the child."""
        background = tuple(self._background)
        for task in background:
            task.cancel()
        waiting = [task for task in (self._starting, self._ending) if task is not None]
        await asyncio.gather(*background, *waiting, return_exceptions=True)
        await self._end()

    # How a job runs

    async def _run(self, path: str, params: Params, what: str) -> Params:
        start = asyncio.ensure_future(self._post(path, params, what, 120.0))
        try:
            answer = await asyncio.shield(start)
        except asyncio.CancelledError:
            with contextlib.suppress(TransferError):
                answer = await start
                await self._stop_job(int(answer["jobid"]), self._add_job(int(answer["jobid"])))
            raise
        number = int(answer["jobid"])
        ended = self._add_job(number)
        try:
            status = await asyncio.shield(ended)
        except asyncio.CancelledError:
            await self._stop_job(number, ended)
            raise
        finally:
            self._jobs.pop(number, None)
        if not status.get("success"):
            raise self._failure(str(status.get("error") or "it failed without a word"), what)
        output: Params = status.get("output") or {}
        return output

    def _add_job(self, number: int) -> asyncio.Future[Params]:
        ended: asyncio.Future[Params] = asyncio.get_running_loop().create_future()
        self._jobs[number] = ended
        self._new_job.set()
        if self._watching is None or self._watching.done():
            self._watching = asyncio.ensure_future(self._watch())
        return ended

    async def _stop_job(self, number: int, ended: asyncio.Future[Params]) -> None:
        """Stop a job and wait for its end; a daemon that does not obey is ended itself."""
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._post("job/stop", {"jobid": number}, "stopping", 10.0)
                await asyncio.wait({ended})
        except (TransferError, TimeoutError):
            await self._end()
        finally:
            if ended.done() and not ended.cancelled():
                ended.exception()

    async def _watch(self) -> None:
        """Look after the jobs until there are none: their ends, and a sample every second."""
        pause, sampled = _FIRST_LOOK, 0.0
        clock = asyncio.get_running_loop().time
        while self._jobs:
            if self._new_job.is_set():
                self._new_job.clear()
                pause = _FIRST_LOOK
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._new_job.wait()
            pause = min(pause * _SLOWER, _LAST_LOOK)
            try:
                await self._look()
                if clock() - sampled >= _SAMPLE_SECONDS:
                    sampled = clock()
                    await self._sample()
            except TransferError as error:
                self._fail_jobs(error)

    async def _look(self) -> None:
        running = set((await self._post("job/list", {}, "rclone", 30.0)).get("runningIds") or ())
        for number in [n for n in self._jobs if n not in running]:
            status = await self._post("job/status", {"jobid": number}, "rclone", 30.0)
            ended = self._jobs.get(number)
            if status.get("finished") and ended is not None and not ended.done():
                ended.set_result(status)
                self._jobs.pop(number, None)

    async def _sample(self) -> None:
        groups = list(self._groups)
        inputs = [{"_path": "core/stats", "group": group, "short": True} for group in groups]
        answer = await self._post("job/batch", {"inputs": inputs}, "rclone", 30.0)
        for group, figures in zip(groups, answer.get("results") or (), strict=False):
            if group in self._groups and "error" not in figures:
                self.stats[group] = figures

    async def _forget_group(self, group: str) -> None:
        with contextlib.suppress(TransferError):
            await self._post("core/stats-delete", {"group": group}, "rclone", 10.0)

    def _fail_jobs(self, error: TransferError) -> None:
        for ended in self._jobs.values():
            if not ended.done():
                ended.set_exception(error)
        self._jobs.clear()

    async def _post(
        self, path: str, params: Mapping[str, Any], what: str, timeout: float
    ) -> Params:
        socket = self._process.socket
        if socket is None:
            raise _stopped()
        try:
            answer = await self._curl.request(
                "POST",
                f"http://rclone/{path}",
                body=msgspec.json.encode(params),
                headers={"Content-Type": "application/json"},
                unix_socket=socket,
                timeout=timeout,
                max_size=_LARGEST_ANSWER,
            )
        except NetworkFailed as error:
            if self._process.pid is None or self._process.ended:
                raise _stopped() from None
            raise NetworkFailed(f"{what}: rclone does not answer: {error.message}") from None
        try:
            output: Params = msgspec.json.decode(answer.body, type=dict[str, Any])
        except msgspec.DecodeError:
            raise InternalFailure(
                f"rclone answered {path} with {answer.status} and no JSON"
            ) from None
        if answer.status >= 400:
            raise self._failure(str(output.get("error", answer.status)), what)
        return output

    def _failure(self, text: str, what: str) -> TransferError:
        return transfer_error(text, what=what, secrets=self.secrets)

    # The process

    @contextlib.asynccontextmanager
    async def _in_use(self) -> AsyncIterator[None]:
        """The daemon runs inside of this, and does not end for idleness."""
        self._users += 1
        try:
            await self._ready()
            yield
        finally:
            self._users -= 1
            if self._users == 0:
                self._end_when_idle()

    async def _ready(self) -> None:
        if self._ending is not None:
            await asyncio.shield(self._ending)
        if self._process.ended:
            await self._end()
        if self._process.socket is None:
            if self._starting is None:
                self._starting = asyncio.ensure_future(self._start())
            await asyncio.shield(self._starting)

    async def _start(self) -> None:
        try:
            await self._process.start()
            self._later(self._mourn())
            self._limit_set = None
            if self._limit is not None:
                await self._apply_limit()
        except BaseException:
            await self._end()
            raise
        finally:
            self._starting = None

    async def _mourn(self) -> None:
        """Tell the jobs at once when the child ends before they do."""
        await self._process.wait()
        if self._process.ended:
            self._fail_jobs(_stopped())

    async def _apply_limit(self) -> None:
        limit = self._limit
        rate = "off" if limit is None else f"{max(1, limit)}B"
        with contextlib.suppress(TransferError):
            await self._post("core/bwlimit", {"rate": rate}, "limiting", 10.0)
            self._limit_set = limit

    def _end_when_idle(self) -> None:
        if self._process.pid is None:
            return
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = asyncio.get_running_loop().call_later(self._idle, self._idled)

    def _idled(self) -> None:
        self._idle_timer = None
        if self._users == 0 and self._ending is None:
            self._ending = asyncio.ensure_future(self._end())
            self._ending.add_done_callback(lambda _: setattr(self, "_ending", None))

    async def _end(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        self._fail_jobs(_stopped())
        await self._process.stop()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _stopped() -> NetworkFailed:
    return NetworkFailed("rclone ended unexpectedly", hint="it is started again at the next try")
