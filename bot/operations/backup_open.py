"""Opens a backup in a scratch place, as a verification and a restore both do first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bot.errors import Corrupt, Unsupported
from bot.operations import backup_archive as archive
from bot.operations.backup_database import Checked, Database
from bot.operations.backup_jobs import interruptible
from bot.operations.backup_seal import Keys


@dataclass(frozen=True, slots=True)
class Opened:
    """A backup that lies unpacked in ``directory``, and what was found out about it."""

    directory: Path
    manifest: archive.Manifest
    checked: Checked


async def opened_backup(
    path: Path, directory: Path, database: Database, keys: Keys, report: archive.Report
) -> Opened:
    """Unpack the archive ``path`` into the empty ``directory``, check every byte, open its
    database. Corrupt, NoSpace, Unsupported, InvalidInput (it can't be decrypted)."""
    manifest = await interruptible(
        lambda watched: archive.unpack(path, directory, keys, watched), report
    )
    if manifest.database != database.kind:
        raise Unsupported(
            f"the backup is one of {manifest.database}, and this service uses {database.kind}",
            hint="set a DATABASE_URL of that kind; a backup does not change the kind of database",
        )
    if database.copy_path not in {member.path for member in manifest.members}:
        raise Corrupt("the backup holds no database", hint="take another")
    report("opening the database", 0, 0)
    checked = await database.check(directory / database.copy_path)
    hashes = f"SHA-256 of {len(manifest.members)} files"
    return Opened(directory, manifest, replace(checked, passed=[hashes, *checked.passed]))
