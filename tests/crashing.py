"""A workload that goes through every kind of stage, and moments at which to kill its service."""

from __future__ import annotations

import io
import random
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.lock import held
from tests.archives import zipped
from tests.servers.behaviours import Gate, Gated, Throttled
from tests.servers.http import HttpServer
from tests.servers.recorder import Recorder
from tests.servers.routes import MIB, Generated, Literal, Resource
from tests.servers.torrent import Swarm
from tests.serving import Json, Service, hidden, sha256, visible

#: Bytes a second of one connection, so that a fetch lasts long enough to be hit.
RATE = 3 * MIB
#: What one connection may lose by one kill: what came in the first second, before there was a
#: checkpoint to go on from, what the service holds in memory, and what the two sockets hold.
SLACK = RATE + MIB // 2 + MIB // 2
#: What one connection may read beyond its piece, when another one took over a part of that: what
#: is sent before the server notices that it was hung up. No kill is needed for that.
AHEAD = MIB // 2

#: Seconds that a moment is waited for. It may never come (there is nothing of that kind under way
#: any more): then the kill comes without it.
_SOON = 2.0


@dataclass(frozen=True)
class Wanted:
    """A submission and the files (hash by path below ``root``) that it has to leave."""

    body: Json
    root: Path
    files: dict[str, str]
    counted: str | None = None
    zipped: bool = False


@dataclass
class Workload:
    """Submits tasks of every kind, each under a name of its own, and checks what became of them.

    ``remotes`` are directories by the ``remote:path`` that leads there.
    """

    service: Service
    server: HttpServer
    remotes: dict[str, Path]
    rng: random.Random
    wanted: dict[str, Wanted] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    allowed: Counter[str] = field(default_factory=Counter)
    kills: list[float] = field(default_factory=list)
    _number: int = 0
    _deck: list[Callable[[int], Wanted]] = field(default_factory=list)

    # What is submitted

    def add(self) -> str:
        """Submit the next task; every kind comes before one comes again."""
        if not self._deck:
            self._deck = [
                self._plain,
                self._segmented,
                self._folder,
                self._packed,
                self._uploaded,
                self._uploaded,
                self._streamed,
                self._packed_and_uploaded,
            ]
            self.rng.shuffle(self._deck)
        self._number += 1
        wanted = self._deck.pop()(self._number)
        task = self.service.client.post("/tasks", wanted.body)["id"]
        self.wanted[task] = wanted
        return str(task)

    def add_torrent(self, swarm: Swarm, shared: Path) -> str:
        """Submit the torrent of the directory ``shared``."""
        files = {f"{shared.name}/{name}": sha256(shared / name) for name in visible(shared)}
        body = {"source": swarm.magnet, "to": str(self.service.files)}
        task = str(self.service.client.post("/tasks", body)["id"])
        self.wanted[task] = Wanted(body, self.service.files, files)
        return task

    def add_held(self, gate: Gate) -> str:
        """Submit a file of which some comes at once, and the rest when the gate is open."""
        self._number += 1
        path, made = f"/held-{self._number}.bin", Generated(2 * MIB, seed=self._number)
        self.server.add(path, Gated(Resource(made), gate, MIB))
        body = self._body(path, self.service.files, options={"segments": 1})
        task = str(self.service.client.post("/tasks", body)["id"])
        self.wanted[task] = Wanted(body, self.service.files, {path[1:]: made.sha256}, path)
        self.service.until_checkpoint(task)
        return task

    def _served(self, number: int, size: int) -> tuple[str, Generated]:
        made = Generated(size, seed=number)
        path = f"/file-{number}.bin"
        self.server.add(path, Throttled(Resource(made), RATE))
        return path, made

    def _body(self, path: str, to: str | Path, **more: Any) -> Json:
        return {"source": self.server.url(path), "to": str(to), **more}

    def _size(self) -> int:
        return self.rng.randrange(MIB, 5 * MIB)

    def _plain(self, number: int) -> Wanted:
        path, made = self._served(number, self._size())
        body = self._body(path, self.service.files, options={"segments": 1})
        return Wanted(body, self.service.files, {path[1:]: made.sha256}, path)

    def _segmented(self, number: int) -> Wanted:
        path, made = self._served(number, 4 * self._size())
        body = self._body(path, self.service.files, options={"segments": 4})
        return Wanted(body, self.service.files, {path[1:]: made.sha256}, path)

    def _archive(self, number: int) -> tuple[str, dict[str, str]]:
        content = {f"{n}.bin": Generated(self._size() // 2, f"{number}-{n}") for n in range(3)}
        data = zipped({name: made.data() for name, made in content.items()})
        path = f"/archive-{number}.zip"
        self.server.add(path, Throttled(Resource(Literal(data, f'"{number}"')), RATE))
        return path, {name: made.sha256 for name, made in content.items()}

    def _folder(self, number: int) -> Wanted:
        path, inside = self._archive(number)
        body = self._body(path, self.service.files, steps=[{"name": "extract"}])
        files = {f"archive-{number}/{name}": value for name, value in inside.items()}
        return Wanted(body, self.service.files, files, path)

    def _packed(self, number: int) -> Wanted:
        path, made = self._served(number, self._size())
        steps = [{"name": "zip", "params": {"level": 1}}]
        body = self._body(path, self.service.files, steps=steps)
        files = {f"{path[1:]}.zip": made.sha256}
        return Wanted(body, self.service.files, files, path, zipped=True)

    def _remote(self) -> tuple[str, Path]:
        return self.rng.choice(sorted(self.remotes.items()))

    def _uploaded(self, number: int) -> Wanted:
        path, made = self._served(number, self._size())
        to, root = self._remote()
        body = self._body(path, to, options={"stream": False, "limit": RATE})
        return Wanted(body, root, {path[1:]: made.sha256}, path)

    def _streamed(self, number: int) -> Wanted:
        # Starts over when it is interrupted, as the settings say; so its bytes are not counted.
        path, made = self._served(number, self._size() // 2)
        to, root = self._remote()
        return Wanted(self._body(path, to, options={"stream": True}), root, {path[1:]: made.sha256})

    def _packed_and_uploaded(self, number: int) -> Wanted:
        path, made = self._served(number, self._size())
        to, root = self._remote()
        body = self._body(path, to, steps=[{"name": "zip"}], options={"limit": 2 * RATE})
        return Wanted(body, root, {f"{path[1:]}.zip": made.sha256}, path, zipped=True)

    # Kills

    def unfinished(self) -> list[Json]:
        """The tasks that are not final yet, as the service shows them."""
        tasks = self.service.client.get("/tasks", limit=500)["items"]
        return [task for task in tasks if task["state"] not in {"done", "failed", "cancelled"}]

    def kill(self) -> None:
        """Kill the service; note what each connection under way may have lost by that."""
        at = time.monotonic()
        self.service.kill()
        self.kills.append(at)
        for seen in self.server.seen.requests(method="GET"):
            # What the server has sent lies in the sockets for a moment more.
            if seen.finished is None or seen.finished > at - 1:
                self.allowed[seen.path] += SLACK

    def cancel_one(self) -> None:
        """Cancel a task that is under way; it has to stay so."""
        victim = self.add_held(Gate())
        answer = self.service.client.post(f"/tasks/{victim}/cancel")
        assert answer["state"] == "cancelled"
        self.cancelled.append(victim)
        del self.wanted[victim]

    # The end

    def check(self) -> None:
        """Every task did what it should, once, and nothing else is there."""
        for task, wanted in self.wanted.items():
            found = self.service.task(task)
            assert found["state"] == "done", found
            for path, digest in wanted.files.items():
                _check_file(wanted.root / path, digest, found, packed=wanted.zipped)
        for task in self.cancelled:
            assert self.service.task(task)["state"] == "cancelled"
        for root in {self.service.files, *self.remotes.values()}:
            expected = {p for each in self.wanted.values() if each.root == root for p in each.files}
            assert visible(root) == sorted(expected), "more or less than was asked for"
            self.service.expect_clean(root)

    def check_bytes(self) -> None:
        """Nothing was fetched twice that was safe."""
        seen = self.server.seen
        paths = [each.counted for each in self.wanted.values() if each.counted is not None]
        wrong = {}
        for path in paths:
            repeated = seen.repeated(path)
            allowed = self.allowed[path] + AHEAD * (seen.count(path, "GET") - 1)
            if repeated > allowed:
                wrong[path] = (repeated, allowed)
        assert not wrong, f"bytes that came twice, and how many may: {wrong}\n{self._story(wrong)}"

    def _story(self, paths: Iterable[str]) -> str:
        """What the server saw of them, and the kills, in the order of time."""
        seen = [each for path in paths for each in self.server.seen.requests(path, "GET")]
        told = [
            (each.started, f"{each.path} {each.status} {each.range} {each.sent} bytes")
            for each in seen
        ]
        told += [(at, "killed") for at in self.kills]
        return "\n".join(f"{at - self.kills[0]:8.2f} {what}" for at, what in sorted(told))


def _check_file(path: Path, digest: str, task: Json, *, packed: bool) -> None:
    if not packed:
        assert sha256(path) == digest, path
        return
    assert task["sha256"] in (None, sha256(path))
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        (inside,) = archive.namelist()
        data = path.with_name(f".{path.name}.inside")
        data.write_bytes(archive.read(inside))
        try:
            assert sha256(data) == digest, path
        finally:
            data.unlink()


# Moments


def at_once(work: Workload) -> None:
    """Right when it is ready."""


def after_bytes(work: Workload) -> None:
    """When so many more bytes were sent."""
    more = work.rng.randrange(1, 3 * MIB)
    before = work.server.seen.bytes_sent()
    _within(work.server.seen, lambda seen: seen.bytes_sent() >= before + more)


def after_journal(work: Workload) -> None:
    """Right after one of the entries that the journal of a task gets."""
    tasks = work.unfinished()
    if not tasks:
        return
    task = work.rng.choice(tasks)
    version = task["version"] + work.rng.randrange(1, 8)
    for _ in range(40):
        if task["version"] >= version or task["state"] in {"done", "failed", "cancelled"}:
            return
        task = work.service.client.get(
            f"/tasks/{task['id']}", wait=_SOON / 20, version=task["version"]
        )


def in_state(state: str) -> Callable[[Workload], None]:
    """When some task is in that state; at a random look."""

    def moment(work: Workload) -> None:
        looks = work.rng.randrange(4)
        for _ in range(400):
            if work.service.client.get("/tasks", state=state, limit=1)["items"]:
                looks -= 1
                if looks < 0:
                    return

    moment.__name__ = f"in_{state}"
    return moment


def while_writing(work: Workload) -> None:
    """When a step, or a delivery, has written some of its result."""
    least = work.rng.randrange(1, MIB)
    for _ in range(2000):
        if any(size > least for size in _written(work)):
            return


def after_cancelling(work: Workload) -> None:
    """Right when a task was said to be cancelled."""
    work.cancel_one()


def _written(work: Workload) -> Iterator[int]:
    """The sizes of the files that stages after the first work on."""
    for root in (work.service.files, *work.remotes.values()):
        for path in hidden([root]):
            try:
                if path.is_file() and path.parent.name != "0":
                    yield path.stat().st_size
            except OSError:
                continue


def _within(seen: Recorder, condition: Callable[[Recorder], bool]) -> None:
    try:
        seen.wait_for(condition, _SOON)
    except TimeoutError:
        return


def while_starting(work: Workload) -> None:
    """Before it is ready: kill it, launch it, kill it again as soon as it has its directory."""
    work.kill()
    process = work.service.launch()
    while not held(work.service.data) and process.poll() is None:
        continue


#: Twenty moments; their order is drawn.
MOMENTS: tuple[Callable[[Workload], None], ...] = (
    *[at_once] * 2,
    *[while_starting] * 2,
    *[after_bytes] * 5,
    *[after_journal] * 4,
    in_state("processing"),
    in_state("delivering"),
    in_state("delivering"),
    in_state("verifying"),
    *[while_writing] * 2,
    after_cancelling,
)
