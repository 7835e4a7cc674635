"""Where metrics are sent, built from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from pydantic import SecretStr

from bot.app.parts import Base
from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.operations.export import Export, Exporter
from bot.operations.export_datadog import DatadogExporter
from bot.operations.export_http import HttpExporter
from bot.operations.export_otlp import CONTENT_TYPE, Otlp
from bot.operations.export_points import encode_json
from bot.operations.metrics_pulled import Page

#: The operator chose where metrics go, so private addresses are no reason to refuse.
_ANYWHERE = ("0.0.0.0/0", "::/0")


@asynccontextmanager
async def opened_export(base: Base, page: Page) -> AsyncIterator[Sequence[Exporter]]:
    """The exporters that the settings name; they send until the end, and a moment longer."""
    settings = base.settings
    async with AsyncExitStack() as stack:
        exporters: list[Exporter] = []
        if settings.datadog_enabled:
            exporters.append(DatadogExporter(settings.dogstatsd_host, settings.dogstatsd_port))
        if settings.external_metrics_url is not None or settings.otlp_url is not None:
            curl = CurlLoop(EgressPolicy(_ANYWHERE), ca_file=settings.http_ca_file)
            stack.push_async_callback(curl.close)
            exporters += _over_http(base, curl)
        if exporters:
            export = Export(
                exporters, page.collect, base.clock, interval=settings.metrics_batch_interval
            )
            export.start()
            stack.push_async_callback(export.stop)
        yield exporters


def _over_http(base: Base, curl: CurlLoop) -> Iterator[Exporter]:
    settings = base.settings
    if (url := settings.external_metrics_url) is not None:
        yield HttpExporter(
            "external",
            url.get_secret_value(),
            curl=curl,
            clock=base.clock,
            encode=encode_json,
            headers=_headers("application/json", settings.external_metrics_token),
            batch=settings.metrics_batch_size,
            buffer=settings.metrics_buffer_size,
        )
    if (url := settings.otlp_url) is not None:
        otlp = Otlp()
        yield HttpExporter(
            "otlp",
            url.get_secret_value(),
            curl=curl,
            clock=base.clock,
            encode=otlp.encode,
            headers=_headers(CONTENT_TYPE, settings.otlp_token),
            batch=settings.metrics_batch_size,
            buffer=settings.metrics_buffer_size,
            refusals=otlp.refused,
        )


def _headers(kind: str, token: SecretStr | None) -> dict[str, str]:
    headers = {"Content-Type": kind}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    return headers
