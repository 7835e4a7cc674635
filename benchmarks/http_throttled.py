"""A server that gives each connection 20 MB/s: how many times one stream is reached."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.rig import MIB, Result, fill, nginx, scratch, service, shell, timed

SIZE = 1024 * MIB
_PART = 8  # one stream is measured on so small a part: its speed is what the server says
_TIMES = 6


def measure() -> Iterator[Result]:
    """The figure."""
    with scratch() as place, scratch() as web, nginx(web, rate="20m") as base, service(place) as it:
        fill(web / "large.bin", SIZE)
        fill(web / "part.bin", SIZE // _PART)
        ours, _ = timed(it.mirror, f"{base}/large.bin")
        part, _ = timed(shell, f"curl -sS -o {place}/out.bin {base}/part.bin")
    ours_rate, one = SIZE / ours / 1e6, SIZE / _PART / part / 1e6
    yield Result(
        f"{SIZE // MIB} MiB from a server that limits each connection to 20 MB/s",
        f"{ours_rate / one:.1f} times one stream ({ours:.1f} s, {ours_rate:.0f} MB/s against "
        f"{one:.0f} MB/s; one stream on {SIZE // _PART // MIB} MiB)",
        f"at least {_TIMES} times",
        ours_rate / one >= _TIMES,
    )
