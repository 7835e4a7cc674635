"""The service as a whole."""

from __future__ import annotations

from datetime import datetime

import strawberry

from bot.cache import CacheStats as Stats
from bot.domain.ports import Token as DomainToken
from bot.graphql.declaring import BigInt, described, instant, moment, said
from bot.graphql.enums import Scope
from bot.services.system import Setting as DomainSetting
from bot.services.system import Status


@described
class Viewer:
    """Who asks."""

    user: str = said("Their name.")
    scope: Scope = said("How far their token reaches.")


@described
class SystemStatus:
    """How the service is at this moment."""

    version: str = said("Of the program.")
    open: bool = said("Whether it takes work.")
    started_at: datetime = said("When it started.")
    uptime: float = said("Seconds since then.")
    database: str = said("`sqlite` or `postgresql`.")
    cache: str = said("`memory` or `redis`.")
    tasks_running: int = said("Tasks that hold a place.")
    tasks_queued: int = said("Tasks that wait for a place.")
    tasks_waiting: int = said("Tasks that wait for a time.")
    bytes_in_per_second: float | None = said("The speed of all fetches together.")
    bytes_out_per_second: float | None = said("The speed of all deliveries together.")
    cpu_percent: float | None = said("Processor time in use on the machine; 100 is all cores.")
    memory_bytes: BigInt | None = said("Resident memory of the service.")
    disk_free_bytes: BigInt | None = said("Free in the filesystem of DOWNLOAD_DIR.")
    alerts_firing: int = said("Alerts that fire.")

    @classmethod
    def of(cls, found: Status) -> SystemStatus:
        """As the schema has it."""
        value = found.values.get
        return cls(
            version=found.version,
            open=found.open,
            started_at=instant(found.started_at),
            uptime=found.uptime,
            database=found.database,
            cache=found.cache,
            tasks_running=int(value("tasks_running", 0)),
            tasks_queued=int(value("tasks_queued", 0)),
            tasks_waiting=int(value("tasks_waiting", 0)),
            bytes_in_per_second=value("bytes_in_per_second"),
            bytes_out_per_second=value("bytes_out_per_second"),
            cpu_percent=value("cpu_percent"),
            memory_bytes=_whole(value("process_memory_bytes")),
            disk_free_bytes=_whole(value("disk_free_bytes")),
            alerts_firing=int(value("alerts_firing", 0)),
        )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


@described
class Queue:
    """What waits and what runs."""

    max_active: int = said("Tasks that may run at a time (MAX_ACTIVE).")
    max_active_per_user: int | None = said("Of one user (MAX_ACTIVE_PER_USER); null: no limit.")
    running: int = said("Tasks that hold a place.")
    queued: int = said("Tasks that wait for a place.")
    waiting: int = said("Tasks that wait for a time.")
    wait_seconds: float = said("How long the one that waits longest could have run already.")

    @classmethod
    def of(cls, found: Status) -> Queue:
        """As the schema has it."""
        value = found.values.get
        return cls(
            max_active=found.policy.max_active,
            max_active_per_user=found.policy.max_active_per_user,
            running=int(value("tasks_running", 0)),
            queued=int(value("tasks_queued", 0)),
            waiting=int(value("tasks_waiting", 0)),
            wait_seconds=value("queue_wait_seconds", 0.0),
        )


@described
class Setting:
    """A setting in force."""

    name: str = said("Its name.")
    value: str = said("Its value; stars where it is a secret.")
    origin: str = said("Where it comes from.")
    help: str = said("What it does.")

    @classmethod
    def of(cls, found: DomainSetting) -> Setting:
        """As the schema has it."""
        return cls(name=found.name, value=found.value, origin=found.origin, help=found.help)


@described
class Token:
    """An access token, without its secret."""

    id: strawberry.ID = said("Stable and unique.")
    name: str = said("What it is for.")
    scope: Scope = said("How far it reaches.")
    created_at: datetime = said("When it was made.")
    expires_at: datetime | None = said("When it ends.")
    last_used_at: datetime | None = said("When it was used last, roughly.")

    @classmethod
    def of(cls, found: DomainToken) -> Token:
        """As the schema has it."""
        return cls(
            id=strawberry.ID(found.id),
            name=found.name,
            scope=Scope[found.scope.upper()],
            created_at=instant(found.created_at),
            expires_at=moment(found.expires_at),
            last_used_at=moment(found.last_used_at),
        )


@described
class User:
    """Somebody with an account, tokens or both."""

    name: str = said("Their name.")
    role: str | None = said("`viewer`, `operator` or `admin`; null where they have no password.")
    tokens: list[Token] = said("Their tokens.")


@described
class CacheStats:
    """What the cache of answers did since the start."""

    enabled: bool = said("Whether answers are kept.")
    backend: str = said("`memory` or `redis`.")
    hits: int = said("Answers that were there.")
    misses: int = said("Answers that had to be made.")
    hit_ratio: float | None = said("Hits among both; null before the first.")
    evictions: int = said("Answers that made room for others.")
    entries: int | None = said("Answers that are kept; null where only the server knows.")
    bytes: BigInt | None = said("Their size; null where only the server knows.")
    max_bytes: BigInt = said("The most that is kept in memory.")

    @classmethod
    def of(cls, found: Stats, *, enabled: bool, backend: str, max_bytes: int) -> CacheStats:
        """As the schema has it."""
        asked = found.hits + found.misses
        return cls(
            enabled=enabled,
            backend=backend,
            hits=found.hits,
            misses=found.misses,
            hit_ratio=found.hits / asked if asked else None,
            evictions=found.evictions,
            entries=found.entries,
            bytes=found.bytes,
            max_bytes=max_bytes,
        )


@described
class HotQuery:
    """A query that is asked often."""

    fingerprint: str = said("The hash of its document.")
    operation: str | None = said("Its name, if it has one.")
    document: str = said("Its document, the first thousand characters.")
    count: int = said("How often it was asked since the start.")
    hits: int = said("How often its answer was kept.")
    mean: float = said("Seconds that making its answer took, on average.")
    max: float = said("Seconds that making its answer took at most.")
    last_at: datetime = said("When it was asked last.")
