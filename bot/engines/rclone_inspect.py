"""A later look at delivered files of a remote: are they still what their receipt says?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from bot.domain.integrity import Condition, Inspected, Inspection
from bot.domain.task import FileEntry
from bot.engines.rclone_files import Item, RemoteFiles
from bot.engines.rclone_remote import Remote, parse
from bot.errors import MltbError, SourceNotFound

_BATCH = 100  # files that are looked at in one call


async def inspected(files: RemoteFiles, wanted: Inspection) -> AsyncIterator[Inspected]:
    """Compare by the hash that the remote keeps; where there is none, by reading back if wanted."""
    for start in range(0, len(wanted.files), _BATCH):
        entries = wanted.files[start : start + _BATCH]
        try:
            for each in await _batch(files, wanted, entries):
                yield each
        except MltbError as error:
            # A remote that is gone or does not answer: nobody can say what lies there.
            for entry in entries:
                yield Inspected(entry.path, condition=Condition.UNREADABLE, found=error.message)


async def _batch(
    files: RemoteFiles, wanted: Inspection, entries: Sequence[FileEntry]
) -> list[Inspected]:
    root = parse(wanted.root)
    places = [root.join(entry.path) for entry in entries]
    kind = (await files.info(root)).best_hash
    items = await _items(files, places, kind)
    results: list[Inspected] = []
    for entry, place, item in zip(entries, places, items, strict=True):
        found = _compared(wanted, entry, item, kind)
        if found is None and wanted.read_back and entry.sha256:
            found = await _read_back(files, wanted, entry, place)
        results.append(found or Inspected(entry.path, condition=Condition.NO_HASH))
    return results


async def _items(
    files: RemoteFiles, places: Sequence[Remote], kind: str | None
) -> list[Item | None]:
    hashes = [kind] if kind else []
    try:
        return await files.stat_all(places, *hashes)
    except SourceNotFound:
        return [await _item(files, place, hashes) for place in places]


async def _item(files: RemoteFiles, place: Remote, hashes: Sequence[str]) -> Item | None:
    """Some remotes say that the folder is not there instead of that the file is not."""
    try:
        return await files.stat(place, *hashes)
    except SourceNotFound:
        return None


def _compared(
    wanted: Inspection, entry: FileEntry, item: Item | None, kind: str | None
) -> Inspected | None:
    """The verdict by size and by the hash of the remote; None where that says too little."""
    if item is None:
        return Inspected(entry.path, condition=Condition.MISSING, expected=str(entry.size))
    if item.size is not None and item.size != entry.size:
        return Inspected(
            entry.path,
            condition=Condition.SIZE_DIFFERS,
            expected=str(entry.size),
            found=str(item.size),
        )
    if kind is None or kind not in item.hashes:
        return None
    ours = wanted.hashes.get(entry.path, {}).get(kind)
    if kind == "sha256":
        ours = entry.sha256 or ours
    return None if ours is None else _verdict(entry, kind, ours, item.hashes[kind])


async def _read_back(
    files: RemoteFiles, wanted: Inspection, entry: FileEntry, place: Remote
) -> Inspected:
    [there] = await files.read_back([place], rate=wanted.rate)
    return _verdict(entry, "sha256", str(entry.sha256), there)


def _verdict(entry: FileEntry, kind: str, ours: str, there: str) -> Inspected:
    if ours == there:
        return Inspected(entry.path, entry.size)
    return Inspected(
        entry.path,
        entry.size,
        Condition.HASH_DIFFERS,
        expected=f"{kind}:{ours}",
        found=f"{kind}:{there}",
    )
