"""Fetches videos from their pages with yt-dlp, each job in a child process of its own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot.domain.ports import (
    Capabilities,
    Delivered,
    DeliverJob,
    Fetched,
    FetchJob,
    Plan,
    PlannedFile,
)
from bot.domain.task import Progress, TaskOptions
from bot.engines.egress import EgressPolicy
from bot.engines.filenames import safe_name
from bot.engines.ytdlp_options import parameters
from bot.engines.ytdlp_process import Conversation, converse
from bot.engines.ytdlp_results import Results
from bot.engines.ytdlp_sites import PREFIX, page_of_a_site, url_of
from bot.errors import Unsupported

_BY_PREFIX = 100
_BY_SITE = 70
_SCHEMES = ("http", "https")


class YtdlpEngine:
    """``format`` is taken where a submission names no quality; ``cookies`` is a Netscape cookie
    file of the operator, used for everybody; ``max_items`` caps playlists; ``stall_timeout`` in
    seconds. Without ``ffmpeg`` only formats that come in one file can be had.
    """

    name = "ytdlp"
    capabilities = Capabilities(schemes=("ytdlp",), fetches=True, resumes=True, selects_files=True)

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        format: str,  # noqa: A002 - yt-dlp's own word for it
        cookies: Path | None,
        max_items: int,
        ffmpeg: Path | None,
        stall_timeout: float,
        user_agent: str | None = None,
    ) -> None:
        self._policy = policy
        self._format = format
        self._cookies = cookies
        self._max_items = max_items
        self._ffmpeg = ffmpeg
        self._stall = stall_timeout
        self._user_agent = user_agent
        self._jobs: dict[str, Conversation] = {}
        self._limit: int | None = None

    def accepts(self, source: str) -> int:
        """Pages of well-known sites before HTTP, and every link with ``ytdlp:`` before it."""
        if source[: len(PREFIX)].lower() == PREFIX:
            return _BY_PREFIX
        return _BY_SITE if page_of_a_site(source) else 0

    def delivers_to(self, destination: str) -> bool:
        """Never."""
        return False

    async def plan(self, source: str, options: TaskOptions) -> Plan:
        """What the page holds. Raises Unsupported for live streams, and for playlists unless
        ``options.playlist``; InvalidInput for options that are not allowed."""
        request = await self._request("plan", source, options)
        with tempfile.TemporaryDirectory(prefix="mltb-") as nowhere:
            talk = Conversation(request, self._stall, Path(nowhere))
            async with converse(talk):
                answer = await talk.answer()
        note = None if self._ffmpeg else "without ffmpeg only single-file formats can be had"
        if "entries" in answer:
            return self._plan_of_list(source, answer, note)
        size = answer.get("size")
        name = safe_name(f"{answer['title']}.{answer['ext'] or 'mp4'}", fallback="video")
        return Plan(
            engine=self.name,
            source=source,
            name=name,
            size=size,
            disk=size * 2 if size and answer.get("merged") else size,
            files=[PlannedFile(0, name, size)],
            resumable=True,
            is_estimate=bool(answer.get("is_estimate")),
            identity=f"ytdlp:{answer.get('identity')}",
            note=note,
        )

    def _plan_of_list(self, source: str, answer: dict[str, Any], note: str | None) -> Plan:
        count = answer.get("count")
        entries = answer["entries"]
        if isinstance(count, int) and count > len(entries):
            note = f"{len(entries)} of {count} items (YTDLP_MAX_ITEMS is {self._max_items})"
        return Plan(
            engine=self.name,
            source=source,
            name=safe_name(answer["title"], fallback="playlist"),
            files=[
                PlannedFile(entry["index"], safe_name(entry["title"], fallback="video"))
                for entry in entries
            ],
            resumable=True,
            is_estimate=True,
            identity=f"ytdlp:{answer.get('identity')}",
            note=note,
        )

    async def fetch(self, job: FetchJob) -> Fetched:
        """Download into the directory of ``job``; what an earlier attempt left is gone on with.

        Items of a playlist that can't be had are left out and named in ``detail["skipped"]``.
        """
        results = Results(job)
        if not results.known:
            request = await self._request("fetch", job.source, job.options)
            request["directory"] = str(results.prepare())
            limit = _lower(job.limit, job.options.engine_options.get("rate_limit"))
            request["limit"] = self._share(limit, len(self._jobs) + 1)
            talk = Conversation(request, self._stall, Path(request["directory"]))
            talk.limit = limit
            answer = await self._download(job, talk)
            await results.name(answer)
        return await results.collect()

    async def _download(self, job: FetchJob, talk: Conversation) -> dict[str, Any]:
        reserved = False

        async def reserve(progress: Progress) -> None:
            nonlocal reserved
            if progress.total and not reserved:
                reserved = True
                await job.checkpoint({"size": progress.total})

        async with self._listed(job.id, talk), converse(talk):
            return await talk.answer(reserve)

    @asynccontextmanager
    async def _listed(self, job: str, talk: Conversation) -> AsyncIterator[None]:
        self._jobs[job] = talk
        self._spread()
        try:
            yield
        finally:
            del self._jobs[job]
            self._spread()

    async def _request(self, action: str, source: str, options: TaskOptions) -> dict[str, Any]:
        url = url_of(source)
        self._policy.check_url(url, _SCHEMES)
        params = parameters(
            options,
            default_format=self._format,
            max_items=self._max_items,
            has_ffmpeg=self._ffmpeg is not None,
        )
        if self._user_agent:
            params["http_headers"] = {"User-Agent": self._user_agent, **params["http_headers"]}
        ffmpeg = str(self._ffmpeg) if self._ffmpeg else None
        return {
            "action": action,
            "url": url,
            "params": params,
            "allow": [
                *map(str, self._policy.allowed_networks),
                *self._policy.allowed_hosts,
            ],
            "ffmpeg": ffmpeg,
            "programs": _programs(self._ffmpeg),
            "cookies": await asyncio.to_thread(_read_cookies, self._cookies),
            "socket_timeout": max(1.0, min(30.0, self._stall / 2)),
        }

    async def deliver(self, job: DeliverJob) -> Delivered:
        """Unsupported."""
        raise _no_destination()

    async def verify(self, job: DeliverJob, delivered: Delivered) -> str:
        """Unsupported."""
        raise _no_destination()

    async def discard(self, job: DeliverJob, delivered: Delivered | None) -> None:
        """Unsupported."""
        raise _no_destination()

    def snapshot(self) -> Mapping[str, Progress]:
        """The progress of every download."""
        return {job: talk.progress() for job, talk in self._jobs.items()}

    def set_limit(self, limit: int | None, job: str | None = None) -> None:
        """Limit all downloads together, or one."""
        if job is None:
            self._limit = limit
        elif job in self._jobs:
            self._jobs[job].limit = limit
        self._spread()

    def _spread(self) -> None:
        for talk in self._jobs.values():
            talk.set_limit(self._share(talk.limit, len(self._jobs)))

    def _share(self, own: int | None, jobs: int) -> int | None:
        return _lower(own, None if self._limit is None else max(1, self._limit // max(1, jobs)))

    async def cleanup(self, older_than: float) -> int:
        """Nothing: all that yt-dlp leaves lies in the directories of its jobs."""
        return 0

    async def close(self) -> None:
        """Nothing: every child ends with its job."""


def _lower(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _programs(ffmpeg: Path | None) -> list[str]:
    """The programs that yt-dlp may run: ffmpeg, and an ffprobe beside it."""
    if ffmpeg is None:
        return []
    probe = ffmpeg.with_name(ffmpeg.name.replace("ffmpeg", "ffprobe"))
    return [str(ffmpeg), *([str(probe)] if probe.is_file() and probe != ffmpeg else [])]


def _read_cookies(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Unsupported(
            f"the cookie file of the operator can't be read: {error}",
            hint="YTDLP_COOKIES names a Netscape cookie file",
        ) from None


def _no_destination() -> Unsupported:
    return Unsupported("video pages are no destinations")
