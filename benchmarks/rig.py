"""What the benchmarks share: the service as a child, a fast server beside it, clocks, results."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bot.cli.client import Client
from bot.lock import Doorplate
from tests.servers.ports import free_port

MIB = 1024 * 1024
MEMORY = Path("/dev/shm")


@dataclass(slots=True)
class Result:
    """One line of RESULTS.md."""

    claim: str
    figure: str
    target: str = ""
    met: bool | None = None  # None: told for comparison, no target


@dataclass(slots=True)
class Running:
    """A service under measurement."""

    process: psutil.Process
    client: Client
    directory: Path

    @property
    def cpu(self) -> float:
        """CPU seconds of the service and its children so far."""
        total = 0.0
        for each in (self.process, *self.process.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system
        return total

    @property
    def resident(self) -> int:
        """Resident bytes of the service alone."""
        return int(self.process.memory_info().rss)

    @property
    def share(self) -> int:
        """Proportional set size of the service, in bytes: what it shares with others is divided."""
        return int(self.process.memory_full_info().pss)

    @property
    def offspring(self) -> tuple[int, int]:
        """How many children it has, and their resident bytes."""
        children = self.process.children(recursive=True)
        return len(children), sum(int(child.memory_info().rss) for child in children)

    def load(self, span: float, each_second: Callable[[], object] = lambda: None) -> float:
        """The part of a core that it takes over ``span`` seconds in which that is called."""
        before, start = self.cpu, time.monotonic()
        for second in range(1, round(span) + 1):
            each_second()
            time.sleep(max(0.0, start + second - time.monotonic()))
        return (self.cpu - before) / (time.monotonic() - start)

    def extra(self, seconds: int, call: Callable[[], object]) -> tuple[float, float]:
        """The part of a core that it takes by itself, and what comes on top when that is called
        once a second: every other second of twice as many, so that nothing that drifts counts.
        """
        spent, passed = [0.0, 0.0], [0.0, 0.0]
        for second in range(2 * seconds):
            before, start = self.cpu, time.monotonic()
            if second % 2:
                call()
            time.sleep(max(0.0, start + 1 - time.monotonic()))
            spent[second % 2] += self.cpu - before
            passed[second % 2] += time.monotonic() - start
        quiet, busy = (cpu / span for cpu, span in zip(spent, passed, strict=True))
        return quiet, busy - quiet

    def wait(self, count: int, *, pause: float = 0.05) -> None:
        """Until so many tasks are done; fails where one failed."""
        while (counts := self.client.get("/tasks/counts"))["done"] < count:
            if counts["failed"]:
                raise RuntimeError(self.client.get("/tasks", state="failed", limit=1)["items"][0])
            time.sleep(pause)

    def mirror(self, source: str, **wanted: Any) -> dict[str, Any]:
        """The finished task of that source."""
        task: dict[str, Any] = self.client.post("/tasks", {"source": source, **wanted})
        while task["state"] not in {"done", "failed"}:
            query = {"wait": 30, "version": task["version"]}
            task = self.client.get(f"/tasks/{task['id']}", **query)
        if task["state"] == "failed":
            raise RuntimeError(task["error"])
        return task


@contextmanager
def scratch(root: Path = MEMORY) -> Iterator[Path]:
    """A directory that goes away."""
    directory = Path(tempfile.mkdtemp(prefix="mltb-bench-", dir=root))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def service(directory: Path, **settings: str) -> Iterator[Running]:
    """A running service in ``directory``."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {
        **kept,
        "DATA_DIR": str(directory / "data"),
        "DOWNLOAD_DIR": str(directory / "downloads"),
        "WEB_PORT": "0",
        "EGRESS_ALLOW": "127.0.0.1",
        "LOG_LEVEL": "error",
        **settings,
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "bot", "serve"],
        cwd=directory,  # what lies in the working directory, such as .env, is not of this service
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if child.stdout is None or not child.stdout.readline():
            raise RuntimeError("the service did not start")
        plate = Doorplate(directory / "data")
        address, token = plate.address(), plate.token
        if address is None or token is None:
            raise RuntimeError("the service has no address")
        client = Client(address.socket, token)
        yield Running(psutil.Process(child.pid), client, directory)
        client.close()
    finally:
        child.terminate()
        child.wait(30)


def nginx_program() -> str:
    """The nginx of this machine; an ordinary user's PATH may not lead there."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
    if program is None:
        raise RuntimeError("the benchmarks need nginx (Debian: apt-get install nginx-light)")
    return program


@contextmanager
def nginx(root: Path, *, rate: str = "0") -> Iterator[str]:
    """The URL of an nginx that serves ``root``, each connection limited to ``rate``."""
    port = free_port()
    with scratch(Path(tempfile.gettempdir())) as place:
        user = "user root;" if os.getuid() == 0 else ""
        (place / "nginx.conf").write_text(
            f"{user} worker_processes 1; daemon off; pid {place}/pid; error_log stderr error;"
            "events { worker_connections 4096; }"
            "http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;"
            f"client_body_temp_path {place}/a; proxy_temp_path {place}/b;"
            f"fastcgi_temp_path {place}/c; uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;"
            f"server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; limit_rate {rate}; }} }}"
        )
        child = subprocess.Popen(
            [nginx_program(), "-p", str(place), "-c", str(place / "nginx.conf")]
        )
        try:
            _answers(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            child.terminate()
            child.wait(10)


def _answers(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("the server does not answer")


@contextmanager
def peer(*arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[tuple[int, str]]:
    """A server that ``python -m`` with these arguments is, on the first core; its process and the
    URL, which it prints first."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env=None if environ is None else dict(environ),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        os.sched_setaffinity(process.pid, {0})
        yield process.pid, url
    finally:
        process.terminate()
        process.wait(60)


def fill(path: Path, size: int) -> None:
    """A file of bytes that do not repeat."""
    block = os.urandom(4 * MIB)
    with path.open("wb") as file:
        left = size
        while left:
            left -= file.write(block[: min(left, len(block))])


def timed(work: Callable[[str], object], argument: str) -> tuple[float, float]:
    """Wall clock and CPU seconds (of the children that ended meanwhile) of that call."""
    before, start = os.times(), time.monotonic()
    work(argument)
    taken, after = time.monotonic() - start, os.times()
    cpu = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    return taken, cpu


def shell(command: str) -> None:
    """Run a command of the shell; it must succeed."""
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True, stdout=subprocess.DEVNULL)
