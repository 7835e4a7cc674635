"""Blocks of samples and of buckets, and how they lie in the store.

A block holds all series of a stretch of time. In it each series is compressed by itself, so that
reading one does not unpack the others. Values are 32-bit floats: seven digits are more than any
chart shows. All numbers are little-endian.
"""

from __future__ import annotations

import math
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import mul
from typing import NamedTuple

import msgspec

from bot.errors import InternalFailure

#: Seconds that a block of samples spans, and so the widest bucket.
SPAN = 900
#: Seconds that a block of buckets spans, by the width of the buckets in seconds.
SPANS: Mapping[int, int] = {60: 3600, 900: 86_400}

_LARGEST = 3.4e38  # what a 32-bit float can hold
_NAN = math.nan
_LEVEL = 6


class Bucket(NamedTuple):
    """What the samples of a series came to in a stretch of time."""

    min: float
    max: float
    mean: float
    last: float
    samples: int


class Run(NamedTuple):
    """Buckets of one series in order of time, by columns: when each begins, and its content."""

    times: Sequence[int]
    min: Sequence[float]
    max: Sequence[float]
    mean: Sequence[float]
    last: Sequence[float]
    samples: Sequence[int]

    @classmethod
    def of_samples(cls, points: Sequence[tuple[int, float]]) -> Run:
        """Samples as buckets of one each."""
        times, values = zip(*points, strict=True) if points else ((), ())
        return cls(times, values, values, values, values, (1,) * len(values))

    def together(self, first: int, after: int) -> Bucket:
        """Those from the place ``first`` up to ``after`` as one; there has to be one."""
        samples = self.samples[first:after]
        total = sum(map(mul, self.mean[first:after], samples))
        return Bucket(
            min(self.min[first:after]),
            max(self.max[first:after]),
            total / sum(samples),
            self.last[after - 1],
            sum(samples),
        )


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """``times`` is for all series of a block of samples, and empty in one of buckets."""

    times: bytes
    series: dict[str, bytes]


class Samples:
    """The samples of the ``SPAN`` seconds from ``start`` (UNIX time) on, to the second."""

    def __init__(self, start: int) -> None:
        self.start = start
        self._offsets = array("H")
        self._columns: dict[str, array[float]] = {}

    def put(self, second: int, values: Mapping[str, float]) -> None:
        """Keep what was measured in that second (UNIX time); the newest of one second stays."""
        offset = second - self.start
        place = bisect_left(self._offsets, offset)
        if place == len(self._offsets) or self._offsets[place] != offset:
            self._offsets.insert(place, offset)
            for each in self._columns.values():
                each.insert(place, _NAN)
        for name, value in values.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = array("f", [_NAN]) * len(self._offsets)
            column[place] = value if abs(value) < _LARGEST else _NAN

    def merge_older(self, older: Samples) -> None:
        """Add what another block of the same time has and this one has not."""
        newer, self._offsets, self._columns = self._rows(), older._offsets, older._columns
        for second, values in newer:
            self.put(second, values)

    def _rows(self) -> list[tuple[int, dict[str, float]]]:
        return [
            (
                self.start + offset,
                {
                    name: value
                    for name, column in self._columns.items()
                    if (value := column[place]) == value  # it is not NaN
                },
            )
            for place, offset in enumerate(self._offsets)
        ]

    def points(self, name: str) -> list[tuple[int, float]]:
        """The samples of a series with their seconds (UNIX time), in order."""
        column = self._columns.get(name)
        if column is None:
            return []
        return [
            (self.start + offset, value)
            for offset, value in zip(self._offsets, column, strict=True)
            if value == value
        ]

    def buckets(self, step: int) -> Iterator[tuple[str, int, Bucket]]:
        """The name, the beginning and the content of each bucket of ``step`` seconds."""
        for name in self._columns:
            for at, bucket in rolled(self.points(name), step):
                yield name, at, bucket

    def encode(self) -> bytes:
        """As it lies in the store."""
        count = len(self._offsets)
        times = struct.pack(f"<{count}H", *self._offsets)
        series = {
            name: _packed(struct.pack(f"<{count}f", *column))
            for name, column in self._columns.items()
        }
        return msgspec.msgpack.encode(_Stored(times, series))

    @classmethod
    def decode(cls, start: int, body: bytes, names: Iterable[str] | None = None) -> Samples:
        """What ``encode`` gave; of these series alone, if they are named."""
        found = cls(start)
        with _Damage(start):
            stored = msgspec.msgpack.decode(body, type=_Stored)
            count = len(stored.times) // 2
            found._offsets.extend(struct.unpack(f"<{count}H", stored.times))
            for name in stored.series if names is None else names:
                if (packed := stored.series.get(name)) is not None:
                    values = struct.unpack(f"<{count}f", _unpacked(packed))
                    found._columns[name] = array("f", values)
        return found


class Buckets:
    """Buckets of ``step`` seconds from ``start`` (UNIX time) on."""

    def __init__(self, step: int, start: int) -> None:
        self.step = step
        self.start = start
        self._series: dict[str, dict[int, Bucket]] = {}

    def put(self, name: str, at: int, bucket: Bucket) -> None:
        """Keep the bucket of a series that begins at ``at``, in the place of an earlier one."""
        self._series.setdefault(name, {})[(at - self.start) // self.step] = bucket

    def encode(self) -> bytes:
        """As it lies in the store."""
        series = {}
        for name, buckets in self._series.items():
            slots = sorted(buckets)
            columns = zip(*(buckets[slot] for slot in slots), strict=True)
            *floats, counts = columns
            count = len(slots)
            series[name] = struct.pack("<H", count) + zlib.compress(
                b"".join(
                    (
                        struct.pack(f"<{count}H", *slots),
                        struct.pack(f"<{count}H", *counts),
                        _shuffled(struct.pack(f"<{4 * count}f", *(v for c in floats for v in c))),
                    )
                ),
                _LEVEL,
            )
        return msgspec.msgpack.encode(_Stored(b"", series))

    @classmethod
    def decode(cls, step: int, start: int, body: bytes) -> Buckets:
        """What ``encode`` gave."""
        found = cls(step, start)
        for name, run in runs(step, start, body).items():
            slots = ((at - start) // step for at in run.times)
            found._series[name] = dict(zip(slots, map(Bucket, *run[1:]), strict=True))
        return found


def runs(step: int, start: int, body: bytes, names: Iterable[str] | None = None) -> dict[str, Run]:
    """What a stored block of buckets holds; of these series alone, if they are named."""
    found = {}
    with _Damage(start):
        stored = msgspec.msgpack.decode(body, type=_Stored)
        for name in stored.series if names is None else names:
            if (packed := stored.series.get(name)) is not None:
                found[name] = _run(packed, step, start)
    return found


def rolled(points: Iterable[tuple[int, float]], step: int) -> Iterator[tuple[int, Bucket]]:
    """The beginning and the content of the buckets of ``step`` seconds that ``points`` fill."""
    grouped: dict[int, list[float]] = {}
    for second, value in points:
        grouped.setdefault(second - second % step, []).append(value)
    for at, values in grouped.items():
        mean = math.fsum(values) / len(values)
        yield at, Bucket(min(values), max(values), mean, values[-1], len(values))


def _run(packed: bytes, step: int, start: int) -> Run:
    (count,) = struct.unpack_from("<H", packed)
    data = zlib.decompress(packed[2:])
    slots = struct.unpack_from(f"<{count}H", data)
    counts = struct.unpack_from(f"<{count}H", data, 2 * count)
    floats = struct.unpack(f"<{4 * count}f", _unshuffled(data[4 * count :]))
    least, greatest, means, lasts = (
        floats[column * count : (column + 1) * count] for column in range(4)
    )
    times = [start + slot * step for slot in slots]
    return Run(times, least, greatest, means, lasts, counts)


def _packed(floats: bytes) -> bytes:
    return zlib.compress(_shuffled(floats), _LEVEL)


def _unpacked(packed: bytes) -> bytes:
    return _unshuffled(zlib.decompress(packed))


def _shuffled(floats: bytes) -> bytes:
    """All first bytes, then all second ones...: neighbours have their exponents in common."""
    return b"".join(floats[lane::4] for lane in range(4))


def _unshuffled(lanes: bytes) -> bytes:
    floats = bytearray(len(lanes))
    width = len(lanes) // 4
    for lane in range(4):
        floats[lane::4] = lanes[lane * width : (lane + 1) * width]
    return bytes(floats)


class _Damage:
    """Turns what unpacking a damaged block raises into an error of the project."""

    def __init__(self, start: int) -> None:
        self._start = start

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, (zlib.error, struct.error, ValueError, msgspec.MsgspecError)):
            raise InternalFailure(
                f"the history of metrics from {self._start} on is damaged: {error}"
            ) from error
