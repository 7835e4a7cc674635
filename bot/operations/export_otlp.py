"""Points as OTLP over HTTP wants them: protobuf, sums that are cumulative since the start.

Source: the OpenTelemetry protocol, ``opentelemetry/proto/metrics/v1/metrics.proto``. The library is
an extra and is loaded when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bot import __version__
from bot.errors import ConfigError
from bot.operations.export_points import Point

CONTENT_TYPE = "application/x-protobuf"
_NANO = 1_000_000_000


class Otlp:
    """Encodes requests and reads the answers. ConfigError where the library is missing."""

    def __init__(self) -> None:
        try:
            from google.protobuf.message import DecodeError
            from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as service
            from opentelemetry.proto.common.v1 import common_pb2 as common
            from opentelemetry.proto.metrics.v1 import metrics_pb2 as proto
        except ImportError as error:
            raise ConfigError(
                f"OTLP_URL is set, but a library for it is not installed: {error}",
                hint="install it with: pip install 'mltb[otlp]'",
            ) from None
        self._service: Any = service
        self._common: Any = common
        self._proto: Any = proto
        self._unreadable: type[Exception] = DecodeError

    def encode(self, batch: Sequence[Point]) -> bytes:
        """An ``ExportMetricsServiceRequest``; points of one name are together."""
        request = self._service.ExportMetricsServiceRequest()
        resource = request.resource_metrics.add()
        self._label(
            resource.resource.attributes,
            (("service.name", "mltb"), ("service.version", __version__)),
        )
        scope = resource.scope_metrics.add()
        scope.scope.name, scope.scope.version = "mltb", __version__
        metrics: dict[str, Any] = {}
        for point in batch:
            if point.name not in metrics:
                metrics[point.name] = scope.metrics.add(name=point.name)
            self._add(metrics[point.name], point)
        encoded: bytes = request.SerializeToString()
        return encoded

    def refused(self, answer: bytes) -> int:
        """How many points the collector rejected of a request that it accepted."""
        response = self._service.ExportMetricsServiceResponse()
        try:
            response.ParseFromString(answer)
        except self._unreadable:
            return 0  # Not every endpoint answers as the protocol says.
        return int(response.partial_success.rejected_data_points)

    def _add(self, metric: Any, point: Point) -> None:
        made = _ADDERS[point.kind](metric, point, self._proto.AGGREGATION_TEMPORALITY_CUMULATIVE)
        made.time_unix_nano = int(point.at * _NANO)
        if point.kind != "gauge":
            made.start_time_unix_nano = int(point.since * _NANO)
        self._label(made.attributes, point.labels.items())

    def _label(self, attributes: Any, labels: Iterable[tuple[str, str]]) -> None:
        attributes.extend(
            self._common.KeyValue(key=key, value=self._common.AnyValue(string_value=value))
            for key, value in labels
        )


def _gauge(metric: Any, point: Point, _temporality: int) -> Any:
    return metric.gauge.data_points.add(as_double=point.value)


def _counter(metric: Any, point: Point, temporality: int) -> Any:
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = temporality, True
    return metric.sum.data_points.add(as_double=point.value)


def _histogram(metric: Any, point: Point, temporality: int) -> Any:
    metric.histogram.aggregation_temporality = temporality
    made = metric.histogram.data_points.add(count=point.count or 0, sum=point.value)
    below = 0
    for bound, count in point.buckets or ():
        made.explicit_bounds.append(bound)
        made.bucket_counts.append(count - below)
        below = count
    made.bucket_counts.append((point.count or 0) - below)
    return made


_ADDERS: dict[str, Callable[[Any, Point, int], Any]] = {
    "gauge": _gauge,
    "counter": _counter,
    "histogram": _histogram,
}
