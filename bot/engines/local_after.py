"""What comes after a delivery to a local directory: it is verified, or undone."""

from __future__ import annotations

import errno
import os

import msgspec

from bot.domain.ports import Delivered, DeliverJob
from bot.engines import local_disk as disk
from bot.engines.local_delivery import Intent
from bot.engines.local_flow import Flow
from bot.engines.local_names import exists
from bot.engines.local_roots import Place, Roots, explained, opened_below, relative_parts


def discard(job: DeliverJob, roots: Roots) -> None:
    """Remove what a delivery with the token of ``job`` left. Raises a TransferError."""
    if not job.token:
        return
    intent = msgspec.convert(job.token, Intent)
    place = roots.locate(intent.path)
    try:
        with place.opened() as target:
            _remove_all(job, intent, target)
        _remove_directories(place, intent.made)
    except FileNotFoundError:
        _remove_directories(place, intent.made)
    except OSError as error:
        raise explained(error, place.path) from error


def _remove_all(job: DeliverJob, intent: Intent, target: int) -> None:
    old = disk.old_name(job.id)
    known = {intent.staged} if job.name is not None else {intent.staged, intent.sources[0][0]}
    try:
        found = os.stat(intent.name, dir_fd=target, follow_symlinks=False)
    except FileNotFoundError:
        found = None
    if found is not None and found.st_ino in known:
        disk.remove(target, intent.name)
    if exists(target, old) and not exists(target, intent.name):
        os.rename(old, intent.name, src_dir_fd=target, dst_dir_fd=target)
    for name in (disk.copy_name(job.id), disk.folder_name(job.id), old):
        disk.remove(target, name)
    disk.sync_directory(target)


def _remove_directories(place: Place, count: int) -> None:
    """Remove the directories that the delivery created, while they are empty."""
    for _ in range(min(count, len(place.parts))):
        parent = place.shortened(1)
        try:
            with parent.opened() as directory:
                os.rmdir(place.parts[-1], dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                return
            raise
        place = parent


def verify(delivered: Delivered, roots: Roots, flow: Flow) -> tuple[str, list[str]]:
    """The method of the receipt, and a complaint for each file that is not what it should be."""
    place = roots.locate(delivered.root)
    identities = delivered.detail.get("sources", [])
    complaints: list[str] = []
    moved = True
    with place.opened() as target:
        for index, entry in enumerate(delivered.files):
            parts = relative_parts(entry.path)
            known = identities[index] if index < len(identities) else None
            try:
                with opened_below(target, parts[:-1]) as parent:
                    same, complaint = disk.compare(parent, parts[-1], entry, known, flow)
            except OSError as error:
                same, complaint = False, f"{entry.path}: {error.strerror}"
            moved = moved and same
            if complaint:
                complaints.append(complaint)
    return ("same-inode" if moved else "read-back"), complaints
