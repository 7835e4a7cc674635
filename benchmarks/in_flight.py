"""Many tasks that hardly move: what they take, and what watching all of them costs."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

from benchmarks.rig import MIB, Result, Running, scratch, service
from tests.servers.behaviours import trickle
from tests.servers.child import ChildServer
from tests.servers.http import HttpServer
from tests.servers.routes import Generated, Resource

COUNT, SPAN = 1000, 30
_PAGE = 500
_KILOBYTES, _CORE = 250, 0.05
_FILES = 4 * COUNT  # of the service and of the server, each, with room to spare


def measure() -> Iterator[Result]:
    """The figures."""
    _allow_files()
    with (
        scratch() as place,
        ChildServer(_trickling) as server,
        service(place, MAX_ACTIVE=str(COUNT), HTTP_STALL_TIMEOUT="600") as it,
    ):
        _see_all(it)
        before, shared = it.resident, it.share
        wanted = [{"source": server.url(f"/t/{number}")} for number in range(COUNT)]
        it.client.post("/tasks/batch", {"tasks": wanted})
        _until_all_run(it)
        memory, share = it.resident - before, it.share - shared
        files = it.process.num_fds()
        _, glanced = it.extra(SPAN, lambda: _as_the_dashboard(it))
        quiet, listed = it.extra(SPAN, lambda: _see_all(it))
    yield Result(
        f"memory of {COUNT} tasks in flight",
        f"{memory / COUNT / 1000:.0f} KB a task resident, {share / COUNT / 1000:.0f} KB PSS; "
        f"the service has {files} files open",
        f"under {_KILOBYTES} KB",
        max(memory, share) < _KILOBYTES * 1000 * COUNT,
    )
    yield Result(
        f"observing {COUNT} tasks in flight once a second, each with its stages and progress",
        f"{listed:.1%} of a core (what the dashboard asks for: {glanced:.1%}; "
        f"the transfers themselves: {quiet:.1%})",
        f"under {_CORE:.0%}",
        listed < _CORE,
    )


def _trickling(server: HttpServer) -> None:
    server.mount("/t/", trickle(Resource(Generated(MIB, 1)), rate=2.0))


def _allow_files() -> None:
    """The server and the one who counts need them too; the service helps itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, hard))
    elif soft < _FILES:
        raise RuntimeError(f"this benchmark needs {_FILES} open files; `ulimit -Hn` is {hard}")


def _see_all(it: Running) -> list[str]:
    """The states of all tasks, read from as many pages as it takes."""
    states: list[str] = []
    query: dict[str, object] = {"limit": _PAGE}
    while True:
        page = it.client.get("/tasks", **query)
        states += [task["state"] for task in page["items"]]
        if page["cursor"] is None:
            return states
        query["cursor"] = page["cursor"]


def _as_the_dashboard(it: Running) -> None:
    it.client.get("/tasks")
    it.client.get("/tasks/counts")


def _until_all_run(it: Running) -> None:
    for _ in range(600):
        if it.client.get("/tasks/counts")["running"] == COUNT:
            time.sleep(3)  # until each has its first bytes
            return
        time.sleep(0.1)
    raise RuntimeError(f"not all tasks run: {it.client.get('/tasks/counts')}")
