"""The delivery of a large file to a local S3, against bare rclone."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rig import MIB, Result, Running, fill, nginx, scratch, service, shell, timed
from tests.servers.rclone import Serve, program

# Many short rounds in pairs: what else the machine does meets both sides of a pair alike.
SIZE, ROUNDS = 256 * MIB, 8
_TIMES = 1.05


def measure() -> Iterator[Result]:
    """The figure. What `rclone serve s3` has taken goes at once: it lies in memory."""
    ours, bare, verify = [], [], []
    with (
        scratch() as place,
        scratch() as web,
        scratch() as root,
        nginx(web) as base,
        Serve("s3", root) as s3,
    ):
        bucket = root / "bucket"
        bucket.mkdir()
        fill(web / "large.bin", SIZE)
        config = s3.write_config(place / "rclone.conf", "peer")
        copy = f"{program()} --config {config} copyto {web}/large.bin peer:bucket/bare.bin"
        with service(place, RCLONE_CONFIG=str(config)) as it:
            for number in range(ROUNDS):
                # In turns, so that neither always comes first.
                for who in ("bare", "ours") if number % 2 else ("ours", "bare"):
                    if who == "bare":
                        bare.append(timed(shell, copy)[0])
                        (bucket / "bare.bin").unlink()
                    else:
                        deliver, check = _deliver(it, f"{base}/large.bin", bucket)
                        ours.append(deliver)
                        verify.append(check)
    ratios = [mine / peer for mine, peer in zip(ours, bare, strict=True)]
    ratio = statistics.median(ratios)
    yield Result(
        f"upload of {SIZE // MIB} MiB to a local S3 through rclone, without its fetch",
        f"{ratio:.2f} times bare `rclone copyto` (median of {ROUNDS} pairs: "
        f"{', '.join(f'{each:.2f}' for each in ratios)}; stage deliver {_list(ours)} s against "
        f"{_list(bare)} s)",
        f"at most {_TIMES}",
        ratio <= _TIMES,
    )
    yield Result("the stage verify that follows it", f"{_list(verify)} s")


def _deliver(it: Running, source: str, bucket: Path) -> tuple[float, float]:
    """Seconds of the stages deliver and verify."""
    task = it.mirror(source, to="peer:bucket", options={"stream": False, "name": "ours.bin"})
    seconds = {stage["kind"]: float(stage["seconds"]) for stage in task["stages"]}
    (bucket / "ours.bin").unlink()
    return seconds["deliver"], seconds["verify"]


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)
