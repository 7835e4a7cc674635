"""One large file with its hash, against curl, sha256sum and a pipe of both."""

from __future__ import annotations

import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rig import MIB, Result, fill, nginx, scratch, service, shell, timed

SIZE, ROUNDS = 2048 * MIB, 3
_TIMES_SLOWER = 1.25


def measure() -> Iterator[Result]:
    """The figures."""
    wall, cpu = _rounds()
    slower = max(wall["curl"], wall["sha256sum"])
    ratio = wall["ours"] / slower
    yield Result(
        f"{SIZE // MIB} MiB with SHA-256 to a memory disk",
        f"{ratio:.2f} times the slower of the two alone ({wall['ours']:.2f} s; "
        f"curl {wall['curl']:.2f} s, sha256sum {wall['sha256sum']:.2f} s)",
        f"at most {_TIMES_SLOWER}",
        ratio <= _TIMES_SLOWER,
    )
    yield Result(
        "the same against `curl | tee FILE | sha256sum`",
        _both(wall, cpu, "pipe"),
        "less of both",
        wall["ours"] < wall["pipe"] and cpu["ours"] < cpu["pipe"],
    )
    if "openssl" in wall:
        slower = max(wall["curl"], wall["openssl"])
        yield Result(
            "the same with `openssl dgst` in the place of sha256sum",
            f"{wall['ours'] / slower:.2f} times the slower of the two alone (openssl "
            f"{wall['openssl']:.2f} s); the pipe: {_both(wall, cpu, 'faster pipe')}",
        )


def _both(wall: dict[str, float], cpu: dict[str, float], peer: str) -> str:
    return (
        f"wall {wall['ours']:.2f} s against {wall[peer]:.2f} s, "
        f"CPU {cpu['ours']:.2f} s against {cpu[peer]:.2f} s"
    )


def _rounds() -> tuple[dict[str, float], dict[str, float]]:
    """Medians of wall clock and of CPU seconds, by who took them."""
    wall: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    with scratch() as place, scratch() as web, nginx(web) as base, service(place) as it:
        fill(web / "large.bin", SIZE)
        source, out = f"{base}/large.bin", place / "out.bin"
        commands = _commands(source, out)
        for _ in range(ROUNDS):
            before, start = it.cpu, time.monotonic()
            task = it.mirror(source)
            wall["ours"].append(time.monotonic() - start)
            cpu["ours"].append(it.cpu - before)
            Path(task["path"]).unlink()
            for name, command in commands.items():
                taken, used = timed(shell, command)
                wall[name].append(taken)
                cpu[name].append(used)
            out.unlink()
    return (
        {name: statistics.median(values) for name, values in wall.items()},
        {name: statistics.median(values) for name, values in cpu.items()},
    )


def _commands(source: str, out: Path) -> dict[str, str]:
    # Many builds of sha256sum hash several times slower than OpenSSL, with which the service does:
    # both are measured where both are there.
    commands = {
        "curl": f"curl -sS -o {out} {source}",
        "sha256sum": f"sha256sum {out}",
        "pipe": f"curl -sS {source} | tee {out} | sha256sum",
    }
    if shutil.which("openssl"):
        commands["openssl"] = f"openssl dgst -sha256 {out}"
        commands["faster pipe"] = f"curl -sS {source} | tee {out} | openssl dgst -sha256"
    return commands
