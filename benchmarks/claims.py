"""One function a claim; each measures the service and the peer in the same run."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.rig import MIB, Result, Running, fill, nginx, scratch, service, shell, timed
from tests.servers.behaviours import trickle
from tests.servers.child import ChildServer
from tests.servers.http import HttpServer
from tests.servers.rclone import Serve, program
from tests.servers.routes import Generated, Resource


def http_large(size: int = 2048 * MIB, rounds: int = 3) -> Iterator[Result]:
    """One large file with its hash, against curl and sha256sum."""
    with scratch() as place, scratch() as web, nginx(web) as base, service(place) as it:
        fill(web / "large.bin", size)
        out = place / "out.bin"
        get = f"curl -sS -o {out} {base}/large.bin"
        ours, ours_cpu, curl, alone, pipe, pipe_cpu = ([] for _ in range(6))
        for _ in range(rounds):
            before, start = it.cpu, time.monotonic()
            task = it.mirror(f"{base}/large.bin", again=True)
            ours.append(time.monotonic() - start)
            ours_cpu.append(it.cpu - before)
            Path(task["path"]).unlink()
            curl.append(timed(lambda: shell(get))[0])
            alone.append(timed(lambda: shell(f"sha256sum {out}"))[0])
            wall, cpu = timed(lambda: shell(f"curl -sS {base}/large.bin | tee {out} | sha256sum"))
            pipe.append(wall)
            pipe_cpu.append(cpu)
            out.unlink()
        mine, slower = statistics.median(ours), max(map(statistics.median, (curl, alone)))
        mine_cpu = statistics.median(ours_cpu)
        both, both_cpu = statistics.median(pipe), statistics.median(pipe_cpu)
        seen = (
            f"{mine:.2f} s; curl {statistics.median(curl):.2f} s, "
            f"sha256sum {statistics.median(alone):.2f} s"
        )
        yield Result(
            f"{size // MIB} MiB with SHA-256 to a memory disk",
            f"{mine / slower:.2f} times the slower of curl and sha256sum ({seen})",
            "at most 1.25",
            mine / slower <= 1.25,
        )
        yield Result(
            "the same against `curl | tee | sha256sum`",
            f"wall {mine:.2f} against {both:.2f} s, CPU {mine_cpu:.2f} against {both_cpu:.2f} s",
            "less of both",
            mine < both and mine_cpu < both_cpu,
        )


def http_throttled(size: int = 1024 * MIB) -> Iterator[Result]:
    """A server that gives each connection 20 MB/s."""
    with scratch() as place, scratch() as web, nginx(web, rate="20m") as base, service(place) as it:
        fill(web / "large.bin", size)
        start = time.monotonic()
        it.mirror(f"{base}/large.bin")
        ours = time.monotonic() - start
        fill(web / "small.bin", size // 8)
        single = timed(lambda: shell(f"curl -sS -o /dev/null {base}/small.bin"))[0] * 8
        yield Result(
            f"{size // MIB} MiB from a server that limits each connection to 20 MB/s",
            f"{single / ours:.1f} times one stream ({ours:.1f} s against {single:.1f} s)",
            "at least 6",
            single / ours >= 6,
        )


def http_many(count: int = 500, rounds: int = 3) -> Iterator[Result]:
    """Many small files as durable tasks, against curl in parallel."""
    with scratch() as web, nginx(web) as base:
        for number in range(count):
            fill(web / f"{number}.bin", MIB)
        ours, cpu, peer = [], [], []
        for _ in range(rounds):
            with scratch() as place, service(place, MAX_ACTIVE="16") as it:
                wanted = [{"source": f"{base}/{number}.bin"} for number in range(count)]
                it.client.get("/tasks/counts")
                before, start = it.cpu, time.monotonic()
                it.client.post("/tasks/batch", {"tasks": wanted})
                it.wait(count)
                ours.append(time.monotonic() - start)
                cpu.append(it.cpu - before)
            with scratch() as place:
                lines = "".join(
                    f'url="{base}/{number}.bin"\noutput="{place}/{number}"\n'
                    for number in range(count)
                )
                (place / "list").write_text(lines)
                command = f"curl -sS -Z --parallel-max 16 -K {place}/list 2>/dev/null"
                peer.append(timed(partial(shell, command))[0])
        mine, other = statistics.median(ours), statistics.median(peer)
        yield Result(
            f"{count} files of 1 MiB as {count} durable tasks, 16 at a time",
            f"{other / mine:.2f} times `curl -Z` ({mine:.2f} s, CPU {statistics.median(cpu):.2f}, "
            f"against {other:.2f} s)",
            "at least 0.4",
            other / mine >= 0.4,
        )


def rclone_upload(size: int = 2048 * MIB) -> Iterator[Result]:
    """The delivery to a local S3, against bare rclone."""
    with (
        scratch() as place,
        scratch() as web,
        scratch() as bucket,
        nginx(web) as base,
        Serve("s3", bucket) as s3,
    ):
        (bucket / "bucket").mkdir(exist_ok=True)
        fill(web / "large.bin", size)
        config = s3.write_config(place / "rclone.conf", "peer")
        with service(place, RCLONE_CONFIG=str(config)) as it:
            task = it.mirror(f"{base}/large.bin", to="peer:bucket/ours", options={"stream": False})
        seconds = {stage["kind"]: stage["seconds"] for stage in task["stages"]}
        bare = timed(
            lambda: shell(
                f"{program()} --config {config} copyto {web}/large.bin peer:bucket/bare/large.bin"
            )
        )[0]
        yield Result(
            f"upload of {size // MIB} MiB to a local S3 through rclone",
            f"{seconds['deliver'] / bare:.2f} times bare `rclone copyto` "
            f"({seconds['deliver']:.1f} s against {bare:.1f} s; verify {seconds['verify']:.1f} s)",
            "at most 1.05",
            seconds["deliver"] / bare <= 1.05,
        )


def _trickling(server: HttpServer) -> None:
    server.mount("/t/", trickle(Resource(Generated(MIB, 1)), rate=2.0))


def in_flight(count: int = 1000, span: float = 20.0) -> Iterator[Result]:
    """Many tasks that hardly move: what they and watching them cost."""
    with (
        scratch() as place,
        ChildServer(_trickling) as server,
        service(place, MAX_ACTIVE=str(count), HTTP_STALL_TIMEOUT="600") as it,
    ):
        it.client.get("/tasks", limit=500)
        before = it.resident
        wanted = [{"source": server.url(f"/t/{number}")} for number in range(count)]
        it.client.post("/tasks/batch", {"tasks": wanted})
        for _ in range(600):
            if it.client.get("/tasks/counts")["running"] == count:
                break
            time.sleep(0.1)
        else:
            raise RuntimeError(it.client.get("/tasks/counts"))
        time.sleep(3)
        memory = (it.resident - before) / count / 1024
        quiet = _load(it, span, lambda: None)
        watched = _load(it, span, lambda: it.client.get("/tasks/counts"))
        listed = _load(it, span, lambda: it.client.get("/tasks", limit=50, state="running"))
        yield Result(
            f"memory of {count} tasks in flight",
            f"{memory:.0f} KB a task",
            "under 250 KB",
            memory < 250,
        )
        cost = max(watched, listed) - quiet
        yield Result(
            f"observing {count} tasks in flight once a second",
            f"{cost:.1%} of a core (counts {watched - quiet:.1%}, a page of 50 with progress "
            f"{listed - quiet:.1%}; unobserved {quiet:.1%})",
            "under 5%",
            cost < 0.05,
        )


def _load(it: Running, span: float, each_second: Callable[[], object]) -> float:
    """The part of a core that the service takes over ``span`` seconds."""
    before, start = it.cpu, time.monotonic()
    while time.monotonic() - start < span:
        each_second()
        time.sleep(1)
    return (it.cpu - before) / (time.monotonic() - start)


def submit(count: int = 10_000) -> Iterator[Result]:
    """Many tasks in one call, durable when it answers."""
    with scratch() as place:
        with service(place) as it:
            wanted = [
                {"source": f"http://127.0.0.1:9/{number}", "start_at": "2100-01-01T00:00:00Z"}
                for number in range(count)
            ]
            start = time.monotonic()
            it.client.post("/tasks/batch", {"tasks": wanted})
            rate = count / (time.monotonic() - start)
            it.process.send_signal(signal.SIGKILL)
            it.process.wait(10)
        with service(place) as it:
            kept = it.client.get("/tasks/counts")["queued"]
    yield Result(
        f"{count} tasks in one call, then kill -9",
        f"{rate:.0f} a second, {kept} there after the kill",
        "at least 2,000 a second, all durable",
        rate >= 2000 and kept == count,
    )


def idle(span: float = 20.0) -> Iterator[Result]:
    """The service with nothing to do, and how soon it is ready."""
    with scratch() as place:
        start = time.monotonic()
        with service(place) as it:
            ready = time.monotonic() - start
            time.sleep(2)
            load = _load(it, span, lambda: None)
            resident = it.resident / 1e6
            children = len(it.process.children(recursive=True))
            cores = os.cpu_count()
        yield Result("ready after the start", f"{ready:.2f} s", "3 s", ready <= 3)
        yield Result(
            "idle",
            f"{resident:.0f} MB resident, {children} children, {load:.2%} of one of {cores} cores",
            "under 120 MB, children under 60 MB, under 0.5%",
            resident < 120 and children == 0 and load < 0.005,
        )
