"""The values of all metrics at one moment, as exporters send them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec
from prometheus_client import Metric

_Key = tuple[tuple[str, str], ...]


class Point(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One series at time ``at`` (UNIX seconds).

    Counters and histograms are sums since ``since``, the start of the service. ``value`` of a
    histogram is the sum of what it saw, ``count`` how often, ``buckets`` how often up to each bound
    (the bounds below it included; the last one, without a bound, is ``count``).
    """

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    labels: Mapping[str, str]
    value: float
    at: float
    since: float
    count: int | None = None
    buckets: tuple[tuple[float, int], ...] | None = None


def points(families: Iterable[Metric], *, at: float, since: float) -> list[Point]:
    """Every series; those that only grow and are still 0 are left out."""
    found: list[Point] = []
    for family in families:
        if family.type == "histogram":
            found += _histograms(family, at, since)
            continue
        counts = family.type == "counter"
        found += (
            Point(
                name=sample.name,
                kind="counter" if counts else "gauge",
                labels=sample.labels,
                value=sample.value,
                at=at,
                since=since,
            )
            for sample in family.samples
            if sample.value or not counts
        )
    return found


def _histograms(family: Metric, at: float, since: float) -> Iterator[Point]:
    """The samples of a histogram belong together by their labels, but for the bound."""
    sums: dict[_Key, float] = {}
    buckets: dict[_Key, list[tuple[float, int]]] = {}
    for sample in family.samples:
        labels = dict(sample.labels)
        bound = labels.pop("le", None)
        key = tuple(labels.items())
        if bound is not None:
            buckets.setdefault(key, []).append((float(bound), int(sample.value)))
        elif sample.name.endswith("_sum"):
            sums[key] = sample.value
    for key, counted in buckets.items():
        if count := counted[-1][1]:
            yield Point(
                name=family.name,
                kind="histogram",
                labels=dict(key),
                value=sums[key],
                at=at,
                since=since,
                count=count,
                buckets=tuple(counted[:-1]),
            )


def encode_json(batch: Sequence[Point]) -> bytes:
    """The body for EXTERNAL_METRICS_URL: ``{"points": [...]}``."""
    return msgspec.json.encode({"points": batch})
