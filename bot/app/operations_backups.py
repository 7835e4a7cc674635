"""Backups, built from the settings: for the service, and for the command line without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bot.app.engines import rclone_engine
from bot.app.parts import Base, database_url
from bot.config import Settings
from bot.domain.events import EventHub
from bot.domain.ports import Clock
from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.engines.rclone import RcloneEngine
from bot.errors import ConfigError
from bot.lock import InstanceLock
from bot.operations.backup_catalog import Catalog
from bot.operations.backup_database import Database
from bot.operations.backup_databases import database_of
from bot.operations.backup_keeping import Takers
from bot.operations.backup_remotes import Remotes
from bot.operations.backup_restore import Restorer
from bot.operations.backup_retention import Policy
from bot.operations.backup_seal import Keys, Lock
from bot.operations.backup_state import parts_of
from bot.operations.backups import Backups, Options

_DIRECTORY, _WORK = "backups", "backup-work"


@asynccontextmanager
async def opened_backups(base: Base, takers: Takers) -> AsyncIterator[Backups]:
    """The backups of a service, on their schedule; ``takers`` are given each of them."""
    engine = base.engines.named("rclone") if base.settings.backup_destinations else None
    rclone = engine if isinstance(engine, RcloneEngine) else None
    backups = build_backups(base.settings, rclone, base.hub, base.clock, takers)
    backups.start()
    try:
        yield backups
    finally:
        await backups.stop()


def build_backups(
    settings: Settings,
    rclone: RcloneEngine | None,
    hub: EventHub,
    clock: Clock,
    takers: Takers = tuple,
) -> Backups:
    """Ready for use by the process that works in DATA_DIR; nothing runs yet."""
    for destination in settings.backup_destinations:
        if rclone is None or not rclone.delivers_to(destination):
            raise ConfigError(
                f"BACKUP_DESTINATIONS: {destination!r} is no remote:path",
                hint="such as store:backups/mltb, with [store] in RCLONE_CONFIG",
            )
    backups = Backups(
        catalog=Catalog(settings.backup_dir or settings.data_dir / _DIRECTORY),
        database=_database(settings),
        parts=parts_of(settings.data_dir, Path.cwd()),
        restorer=build_restorer(settings, clock),
        remotes=Remotes(rclone, settings.backup_destinations),
        options=_options(settings),
        work=settings.data_dir / _WORK,
        clock=clock,
        publish=hub.publish,
        takers=takers,
    )
    backups.prepare()
    return backups


def build_restorer(settings: Settings, clock: Clock) -> Restorer:
    """What puts backups in the place of the state."""
    return Restorer(
        settings.data_dir,
        _database(settings),
        parts_of(settings.data_dir, Path.cwd()),
        clock,
        keep=settings.backup_keep_replaced,
    )


def _database(settings: Settings) -> Database:
    return database_of(
        database_url(settings),
        pg_dump=settings.pg_dump_path,
        pg_restore=settings.pg_restore_path,
    )


def _options(settings: Settings) -> Options:
    secret = settings.backup_passphrase
    passphrase = None if secret is None else secret.get_secret_value()
    identity = settings.backup_age_identity
    try:
        identities = None if identity is None else identity.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"BACKUP_AGE_IDENTITY: {identity} can't be read: {error}") from None
    return Options(
        interval=settings.backup_interval,
        policy=Policy(
            settings.backup_keep_last,
            settings.backup_keep_daily,
            settings.backup_keep_weekly,
            settings.backup_keep_monthly,
        ),
        lock=Lock(settings.backup_age_recipients, passphrase),
        keys=Keys(identities, passphrase),
        verify=settings.backup_verify,
    )


@asynccontextmanager
async def offline_backups(settings: Settings, clock: Clock) -> AsyncIterator[Backups]:
    """The backups of a directory in which no service works; it is locked meanwhile.

    ConfigError where a process works there. The database is not opened, and may be lost.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        stack.enter_context(InstanceLock(settings.data_dir))
        await build_restorer(settings, clock).settle()
        rclone = None
        if settings.backup_destinations:
            curl = CurlLoop(EgressPolicy(settings.egress_allow), ca_file=settings.http_ca_file)
            stack.push_async_callback(curl.close)
            rclone = rclone_engine(settings, curl)
            stack.push_async_callback(rclone.close)
        backups = build_backups(settings, rclone, EventHub(), clock)
        stack.push_async_callback(backups.stop)
        yield backups
