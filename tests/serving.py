"""The service as its user meets it: a real process, its REST interface and its command line.

    with Service(tmp_path) as service:
        task = service.mirror(server.url("/file.bin"))
        assert service.until(task)["state"] == "done"

Everything of a service lies under one directory: its settings, its data, what it delivers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from bot.cli.client import Client
from bot.config import Settings
from bot.engines import leash
from bot.lock import Doorplate

FINAL = frozenset({"done", "failed", "cancelled"})
_PROJECT = Path(__file__).resolve().parents[1]
_MARK = "MLTB_TEST_SERVICE"
#: How long a wait lasts before it is called a failure: no test is meant to come near it.
PATIENCE = 60.0

Json = dict[str, Any]


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[Json]:
        """Its standard output as JSON lines; every line has to be one."""
        return [json.loads(line) for line in self.out.splitlines()]


class Service:
    """One directory with a service that can be started, killed and started again.

    ``settings`` are in the environment of all its processes, such as ``MAX_ACTIVE="2"``; whatever
    the user of this machine has set does not reach them. ``file_size`` caps each file that the
    service writes, in bytes: a disk that is full for it. ``open_files`` is the soft limit of open
    files that it starts with.
    """

    def __init__(
        self, directory: Path, *, file_size: int = 0, open_files: int = 0, **settings: str
    ) -> None:
        self.directory = directory
        self.home, self.data, self.files, self.plugins = (
            directory / "home",
            directory / "data",
            directory / "files",
            directory / "plugins",
        )
        self.home.mkdir(parents=True, exist_ok=True)
        self.mark = uuid.uuid4().hex
        self.file_size, self.open_files = file_size, open_files
        self.umask = -1
        self.env = _clean_environment() | {
            _MARK: self.mark,
            "HOME": str(self.home),
            "DATA_DIR": str(self.data),
            "DOWNLOAD_DIR": str(self.files),
            "PLUGINS_DIR": str(self.plugins),
            "WEB_PORT": "0",
            "EGRESS_ALLOW": "127.0.0.1",
            "RETRY_BASE": "0.05",
            "TORRENT_DHT": "false",
            **settings,
        }
        self.process: subprocess.Popen[str] | None = None
        self.greeting: list[str] = []
        self._client: Client | None = None
        self._said: queue.Queue[str | None] = queue.Queue()
        self._reader: threading.Thread | None = None
        self._log = directory / "service.log"

    # Life

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            sys.stderr.write(f"--- log of the service ---\n{self.log[-8000:]}\n")
        if self.running:
            self.process_now.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process_now.wait(15)
        self.kill()

    @property
    def process_now(self) -> subprocess.Popen[str]:
        """The process; there has to be one."""
        assert self.process is not None
        return self.process

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        """What it wrote to standard error, over all starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def launch(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it without waiting until it is ready."""
        self._end()
        # It must not outlive this test run, however that ends.
        limits = str(self.file_size), str(self.open_files)
        guard = ["-I", "-S", leash.__file__, str(os.getpid()), *limits]
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, *guard, sys.executable, "-m", "bot", "serve", *arguments],
                cwd=self.home,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                umask=self.umask,
            )
        self._said = queue.Queue()
        self.greeting = []
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        return self.process

    def start(self) -> Self:
        """Start it and wait until it says that it is ready."""
        self.launch()
        return self.ready()

    def ready(self) -> Self:
        """Wait until a launched service says so."""
        deadline = time.monotonic() + PATIENCE
        while len(self.greeting) < 5:
            line = self._said.get(timeout=max(0.01, deadline - time.monotonic()))
            if line is None:
                raise AssertionError(f"the service ended: {self.greeting}\n{self.log[-4000:]}")
            self.greeting.append(line)
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._said.put(line.rstrip("\n"))
        self._said.put(None)

    def kill(self) -> None:
        """SIGKILL, and wait until every process that it had started is gone too."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self._end()
        self.expect_no_children()

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; the exit status."""
        self.process_now.send_signal(number)
        status = self.process_now.wait(PATIENCE)
        self._end()
        return status

    def _end(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        if self.process is None:
            return
        self.process.wait(PATIENCE)
        if self._reader is not None:
            # A child that outlived it would hold the pipe open.
            self._reader.join(PATIENCE)
            assert not self._reader.is_alive(), self.children()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None

    def children(self) -> list[str]:
        """The processes that a service of this directory started, in words."""
        return [str(process) for process in self._started()]

    def _started(self) -> list[psutil.Process]:
        own = self.process.pid if self.process is not None else None
        return [each for each in _marked(self.mark, str(self.directory)) if each.pid != own]

    def expect_no_children(self) -> None:
        """Every process that it started ends; the kernel takes a moment for each."""
        try:
            eventually(
                lambda: not self._started(),
                lambda: f"left behind: {self.children()}",
                timeout=PATIENCE / 3,
            )
        finally:
            for process in self._started():
                with contextlib.suppress(psutil.Error):
                    process.kill()

    # Talking to it

    @property
    def client(self) -> Client:
        """The REST interface, over the unix socket, with the token of this machine."""
        if self._client is None:
            plate = Doorplate(self.data)
            address, token = plate.address(), plate.token
            assert address is not None
            assert token is not None
            self._client = Client(address.socket, token)
        return self._client

    def reconnect(self) -> None:
        """The service has changed its token: the next call takes the one of now."""
        if self._client is not None:
            self._client.close()
        self._client = None

    @property
    def url(self) -> str:
        """Where it listens for browsers."""
        address = Doorplate(self.data).address()
        assert address is not None
        assert address.url is not None
        return address.url

    def mirror(self, source: str, to: Path | str | None = None, **body: Any) -> Json:
        """Submit a link; the task. Keywords are parts of the body, such as ``options``."""
        wanted = {"source": source, "to": None if to is None else str(to), **body}
        task: Json = self.client.post("/tasks", wanted)
        return task

    def task(self, task: Json | str) -> Json:
        """A task as it is now."""
        found: Json = self.client.get(f"/tasks/{_id(task)}")
        return found

    def until(
        self,
        task: Json | str,
        *states: str,
        met: Callable[[Json], bool] | None = None,
        timeout: float = PATIENCE,
    ) -> Json:
        """The task once it is in one of ``states`` (final by default), or as ``met`` wants it."""
        deadline, found = time.monotonic() + timeout, self.task(task)
        wanted = states or FINAL
        while not (met(found) if met is not None else found["state"] in wanted):
            over = found["state"] in FINAL or time.monotonic() > deadline
            assert not over, json.dumps(found, indent=1)
            found = self.client.get(f"/tasks/{_id(task)}", wait=0.2, version=found["version"])
        return found

    def fetch(self, source: str, to: Path | str | None = None, **body: Any) -> Json:
        """Mirror to the end, whatever that is."""
        return self.until(self.mirror(source, to, **body))

    def journal(self, task: Json | str) -> Json:
        """What is stored of a task: its body, as it would be found after a kill."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.data / 'mltb.db'}?mode=ro", uri=True)
        ) as db:
            row = db.execute("SELECT body FROM tasks WHERE id = ?", (_id(task),)).fetchone()
        found: Json = json.loads(row[0])
        return found

    def until_checkpoint(self, task: Json | str) -> Json:
        """Wait until the first stage of a task has something stored to go on from; the token."""
        eventually(lambda: bool(self._token(task)), lambda: str(self.journal(task)))
        return self._token(task)

    def _token(self, task: Json | str) -> Json:
        stages = self.journal(task).get("stages") or [{}]
        token: Json = stages[0].get("token") or {}
        return token

    # The command line

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "bot", *arguments]

    def run(self, *arguments: str, given: str | None = None, **settings: str) -> Ran:
        """Run a command of ``mltb`` in the directory of this service, to its end."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.home,
            env=self.env | settings,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    # What is left

    def expect_clean(self, *roots: Path) -> None:
        """No workspace and no hidden file is left under the roots (DOWNLOAD_DIR by default)."""
        looked = roots or (self.files,)
        eventually(
            lambda: not list(hidden(looked)),
            lambda: f"left behind: {list(hidden(looked))}",
            timeout=PATIENCE / 3,
        )


def hidden(roots: Iterable[Path]) -> Iterator[Path]:
    """What the service keeps to itself under the roots: names that begin with a dot, and all
    below. What goes while we look is left out."""
    return (path for root in roots for path, kept in _walk(root) if kept)


def visible(root: Path) -> list[str]:
    """The files under a root, relative; what is hidden is left out."""
    found = (path for path, kept in _walk(root) if not kept)
    return sorted(str(path.relative_to(root)) for path in found if path.is_file())


def _walk(root: Path) -> Iterator[tuple[Path, bool]]:
    """Every path under a root, and whether it is hidden."""
    for directory, names, files in os.walk(root):
        for path in (Path(directory, name) for name in [*names, *files]):
            yield path, any(part.startswith(".") for part in path.relative_to(root).parts)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def eventually(
    condition: Callable[[], bool], otherwise: Callable[[], str], *, timeout: float = PATIENCE
) -> None:
    """Look again and again until the condition holds: for what nobody tells us about."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.005)


def _id(task: Json | str) -> str:
    return task if isinstance(task, str) else str(task["id"])


def _clean_environment() -> dict[str, str]:
    """The environment without settings of ours, of rclone and of proxies."""
    ours = {name.upper() for name in Settings.model_fields}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.partition("__")[0] not in ours
        and not name.startswith("RCLONE_")
        and not name.lower().endswith("_proxy")
    }
    return kept | {"PYTHONPATH": str(_PROJECT), "PYTHONUNBUFFERED": "1"}


def _marked(mark: str, directory: str) -> Iterator[psutil.Process]:
    """The processes that carry the mark in their environment, or the directory in their command:
    a child with an environment of its own has at least the latter."""
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            ours = process.environ().get(_MARK) == mark
            if ours or any(f"{directory}/" in word for word in process.cmdline()):
                yield process
        except psutil.Error:
            continue  # it ended meanwhile, or belongs to somebody else
