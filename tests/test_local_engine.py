"""Delivering to local directories: inside the roots only, whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bot.domain.ports import DeliverJob
from bot.domain.task import FileEntry, TaskOptions
from bot.engines.local import LocalEngine
from bot.engines.local_flow import Flow
from bot.engines.local_names import numbered
from bot.errors import Corrupt, InternalFailure, NoSpace, PolicyRefused, Unsupported

_DATA = bytes(range(256)) * 64
_SHARED_MEMORY = Path("/dev/shm")


@dataclass
class Journal:
    """Keeps what a delivery checkpoints."""

    tokens: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, token: dict[str, Any]) -> None:
        self.tokens.append(json.loads(json.dumps(token)))

    @property
    def last(self) -> dict[str, Any] | None:
        return self.tokens[-1] if self.tokens else None


def _entry(path: str, data: bytes) -> FileEntry:
    return FileEntry(path, len(data), hashlib.sha256(data).hexdigest())


def _job(
    directory: Path,
    destination: Path | str,
    files: dict[str, bytes] | None = None,
    *,
    journal: Journal | None = None,
    task: str = "task1",
    **rest: Any,
) -> DeliverJob:
    """A job whose fetched files are written below ``directory``."""
    contents = {"film.mkv": _DATA} if files is None else files
    for path, data in contents.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    several = len(contents) > 1 or any("/" in path for path in contents)
    return DeliverJob(
        id=task,
        directory=directory,
        files=[_entry(path, data) for path, data in contents.items()],
        destination=str(destination),
        name=rest.pop("name", "album" if several else None),
        token=None,
        checkpoint=journal or Journal(),
        **rest,
    )


def _tree(top: Path) -> dict[str, bytes]:
    """Every file below ``top`` by its relative path, without the workspaces."""
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_file() and ".mltb" not in path.relative_to(top).parts
    }


async def _until(condition: Callable[[], bool]) -> None:
    """Wait, within bounds, for something that another thread or process does."""
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within a minute")


def _done(engine: LocalEngine) -> int:
    progress = engine.snapshot().get("task1")
    return progress.done if progress else 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / ".mltb" / "task1").mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def work(root: Path) -> Path:
    return root / ".mltb" / "task1"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another filesystem."""
    if not _SHARED_MEMORY.is_dir() or _SHARED_MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs /dev/shm as a second filesystem")
    with tempfile.TemporaryDirectory(dir=_SHARED_MEMORY) as name:
        yield Path(name)


@pytest.fixture
async def engine(root: Path) -> Any:
    made = LocalEngine([root])
    yield made
    await made.close()


# Moving on one filesystem


async def test_file_is_moved_not_copied(engine: LocalEngine, root: Path, work: Path) -> None:
    job = _job(work, root / "films" / "new")
    inode = (work / "film.mkv").stat().st_ino
    delivered = await engine.deliver(job)
    final = root / "films" / "new" / "film.mkv"
    assert delivered.path == str(final)
    assert delivered.files == job.files
    assert final.stat().st_ino == inode
    assert not (work / "film.mkv").exists()
    assert await engine.verify(job, delivered) == "same-inode"


async def test_kept_source_shares_the_bytes(engine: LocalEngine, root: Path, work: Path) -> None:
    job = _job(work, root, keep=True)
    delivered = await engine.deliver(job)
    assert (root / "film.mkv").samefile(work / "film.mkv")
    assert await engine.verify(job, delivered) == "same-inode"


async def test_folder_appears_whole(engine: LocalEngine, root: Path, work: Path) -> None:
    files = {"one.flac": b"1", "disc/two.flac": b"22", "disc/art/cover.jpg": b"333"}
    job = _job(work, root, files)
    delivered = await engine.deliver(job)
    assert _tree(root) == {f"album/{path}": data for path, data in files.items()}
    assert delivered.path == str(root / "album")
    assert {file.path for file in delivered.files} == {f"album/{path}" for path in files}
    assert await engine.verify(job, delivered) == "same-inode"


async def test_delivered_files_are_never_executable(
    engine: LocalEngine, root: Path, work: Path
) -> None:
    job = _job(work, root)
    (work / "film.mkv").chmod(0o6755)
    await engine.deliver(job)
    mask = os.umask(0o022)
    os.umask(mask)
    assert (root / "film.mkv").stat().st_mode & 0o7777 == 0o666 & ~mask


async def test_unknown_hash_is_computed(engine: LocalEngine, root: Path, work: Path) -> None:
    job = _job(work, root)
    known = job.files[0]
    job.files = [FileEntry(known.path, known.size)]
    assert (await engine.deliver(job)).files == [known]


# Names that are taken


@pytest.mark.parametrize("keep", [False, True])
async def test_free_name_is_chosen(engine: LocalEngine, root: Path, work: Path, keep: bool) -> None:
    (root / "film.mkv").write_bytes(b"first")
    (root / "film (1).mkv").symlink_to("nowhere")
    delivered = await engine.deliver(_job(work, root, keep=keep))
    assert delivered.path == str(root / "film (2).mkv")
    assert (root / "film.mkv").read_bytes() == b"first"


async def test_free_folder_name_is_chosen(engine: LocalEngine, root: Path, work: Path) -> None:
    (root / "album").mkdir()
    delivered = await engine.deliver(_job(work, root, {"a": b"1", "b": b"2"}))
    assert delivered.path == str(root / "album (1)")


@pytest.mark.parametrize("keep", [False, True])
async def test_replace(engine: LocalEngine, root: Path, work: Path, keep: bool) -> None:
    (root / "film.mkv").write_bytes(b"first")
    job = _job(work, root, overwrite="replace", keep=keep)
    delivered = await engine.deliver(job)
    assert _tree(root) == {"film.mkv": _DATA}
    assert await engine.verify(job, delivered) == "same-inode"
    assert [path.name for path in root.iterdir() if path.name != ".mltb"] == ["film.mkv"]


async def test_replace_folder(engine: LocalEngine, root: Path, work: Path) -> None:
    (root / "album" / "old").mkdir(parents=True)
    (root / "album" / "old" / "song").write_bytes(b"first")
    await engine.deliver(_job(work, root, {"a": b"1", "b": b"2"}, overwrite="replace"))
    assert _tree(root) == {"album/a": b"1", "album/b": b"2"}


async def test_replace_never_removes_a_folder_for_a_file(
    engine: LocalEngine, root: Path, work: Path
) -> None:
    (root / "film.mkv").mkdir()
    (root / "film.mkv" / "kept").write_bytes(b"kept")
    with pytest.raises(PolicyRefused, match=r"film|wanted name"):
        await engine.deliver(_job(work, root, overwrite="replace"))
    assert (root / "film.mkv" / "kept").read_bytes() == b"kept"


async def test_refuse(engine: LocalEngine, root: Path, work: Path) -> None:
    (root / "film.mkv").write_bytes(b"first")
    with pytest.raises(PolicyRefused, match=r"holds 'film\.mkv' already"):
        await engine.deliver(_job(work, root, overwrite="refuse"))
    assert (work / "film.mkv").read_bytes() == _DATA


async def test_many_of_one_name_at_once(engine: LocalEngine, root: Path) -> None:
    jobs = [
        _job(root / ".mltb" / f"t{n}", root, {"x.tar.gz": b"%d" % n}, task=f"t{n}")
        for n in range(40)
    ]
    await asyncio.gather(*(engine.deliver(job) for job in jobs))
    found = _tree(root)
    assert sorted(found.values()) == sorted(b"%d" % n for n in range(40))
    assert set(found) == {"x.tar.gz", *(f"x ({n}).tar.gz" for n in range(1, 40))}


def test_numbered_names_fit() -> None:
    name = numbered("ä" * 125 + ".mkv", 12, folder=False)
    assert name.endswith("ä (12).mkv")
    assert len(name.encode()) <= 255
    assert numbered("v1.0", 1, folder=True) == "v1.0 (1)"
    assert numbered(".profile", 1, folder=False) == ".profile (1)"


# Inside the roots only


async def test_destination_outside_is_refused(
    engine: LocalEngine, tmp_path: Path, work: Path
) -> None:
    with pytest.raises(PolicyRefused, match="outside of the local roots") as caught:
        await engine.deliver(_job(work, tmp_path / "other"))
    assert str(tmp_path / "root") in str(caught.value)
    assert not (tmp_path / "other").exists()
    with pytest.raises(PolicyRefused):
        engine.workspace_for(str(tmp_path / "rootless"), "task1")


@pytest.mark.parametrize("suffix", ["/../other", "/a/../b", "/.mltb", "/.mltb/x", "/a\0b"])
async def test_crooked_destination_is_refused(
    engine: LocalEngine, root: Path, work: Path, suffix: str
) -> None:
    with pytest.raises(PolicyRefused):
        await engine.deliver(_job(work, f"{root}{suffix}"))
    assert (work / "film.mkv").exists()


async def test_relative_destination_is_refused(engine: LocalEngine, work: Path) -> None:
    assert not engine.delivers_to("films")
    with pytest.raises(PolicyRefused, match="not absolute"):
        await engine.deliver(_job(work, "films"))


async def test_link_out_of_the_root_is_refused(
    engine: LocalEngine, root: Path, tmp_path: Path, work: Path
) -> None:
    (tmp_path / "secret").mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(PolicyRefused, match="outside of the local roots"):
        await engine.deliver(_job(work, root / "link" / "deep"))
    assert list((tmp_path / "secret").iterdir()) == []


async def test_link_within_the_root_is_followed(
    engine: LocalEngine, root: Path, work: Path
) -> None:
    (root / "real").mkdir()
    (root / "link").symlink_to("real")
    delivered = await engine.deliver(_job(work, root / "link"))
    assert delivered.path == str(root / "real" / "film.mkv")


async def test_directory_swapped_for_a_link_is_refused(
    engine: LocalEngine, root: Path, tmp_path: Path, work: Path
) -> None:
    """Between the look and the move somebody leads the destination out of the root."""
    (tmp_path / "secret").mkdir()
    (root / "films").mkdir()

    async def swap(token: dict[str, Any]) -> None:
        (root / "films").rmdir()
        (root / "films").symlink_to(tmp_path / "secret")

    job = replace(_job(work, root / "films"), checkpoint=swap)
    with pytest.raises(PolicyRefused, match="link"):
        await engine.deliver(job)
    assert list((tmp_path / "secret").iterdir()) == []
    assert (work / "film.mkv").read_bytes() == _DATA


async def test_missing_root_says_so(tmp_path: Path, work: Path) -> None:
    engine = LocalEngine([tmp_path / "gone"])
    with pytest.raises(PolicyRefused, match=r"does not exist.*LOCAL_ROOTS"):
        await engine.deliver(_job(work, tmp_path / "gone" / "films"))
    await engine.close()


@pytest.mark.parametrize("name", ["..", ".", ".mltb", "a/b", "a\0b", "x" * 300])
async def test_bad_folder_name_is_refused(
    engine: LocalEngine, root: Path, work: Path, name: str
) -> None:
    with pytest.raises(PolicyRefused):
        await engine.deliver(_job(work, root, {"a": b"1", "b": b"2"}, name=name))
    assert _tree(root) == {}


async def test_paths_that_climb_are_refused(
    engine: LocalEngine, root: Path, tmp_path: Path, work: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    job = _job(work, root, {"a": b"1", "b": b"2"})
    job.files.append(_entry("../../../secret", b"s"))
    with pytest.raises(InternalFailure):
        await engine.deliver(job)
    assert (tmp_path / "secret").exists()


@pytest.mark.parametrize("kind", ["file", "directory", "fifo"])
async def test_fetched_link_is_not_followed(
    engine: LocalEngine, root: Path, tmp_path: Path, work: Path, kind: str
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(_DATA)
    path = "album/key" if kind == "directory" else "key"
    job = _job(work, root, {path: _DATA})
    (work / path).unlink()
    if kind == "file":
        (work / "key").symlink_to(tmp_path / "secret" / "key")
    elif kind == "directory":
        (work / "album").rmdir()
        (work / "album").symlink_to(tmp_path / "secret")
    else:
        os.mkfifo(work / "key")
    with pytest.raises((InternalFailure, PolicyRefused)):
        await engine.deliver(job)
    assert _tree(root) == {}


def test_workspace_is_in_the_innermost_root(root: Path) -> None:
    (root / "disk2").mkdir()
    engine = LocalEngine([root, root / "disk2"])
    assert engine.workspace_for(str(root / "x" / "y"), "t9") == root / ".mltb" / "t9"
    inner = engine.workspace_for(str(root / "disk2" / "y"), "t9")
    assert inner == root / "disk2" / ".mltb" / "t9"
    assert engine.workspace_for("remote:path", "t9") is None


async def test_files_of_this_machine_are_no_sources(engine: LocalEngine) -> None:
    assert engine.accepts("file:///etc/passwd") == 0
    assert engine.accepts("/etc/passwd") == 0
    with pytest.raises(Unsupported):
        await engine.plan("/etc/passwd", TaskOptions())


# Copying to another filesystem


async def test_copy_is_read_back(engine: LocalEngine, root: Path, elsewhere: Path) -> None:
    job = _job(elsewhere, root)
    delivered = await engine.deliver(job)
    assert _tree(root) == {"film.mkv": _DATA}
    assert await engine.verify(job, delivered) == "read-back"
    assert (elsewhere / "film.mkv").exists()


async def test_copied_folder(engine: LocalEngine, root: Path, elsewhere: Path) -> None:
    files = {"one": b"1" * 100_000, "disc/two": b"2" * 5, "disc/empty": b""}
    job = _job(elsewhere, root, files)
    delivered = await engine.deliver(job)
    assert _tree(root) == {f"album/{path}": data for path, data in files.items()}
    assert await engine.verify(job, delivered) == "read-back"


async def test_changed_copy_is_corrupt_and_can_be_discarded(
    engine: LocalEngine, root: Path, elsewhere: Path
) -> None:
    journal = Journal()
    job = _job(elsewhere, root / "made" / "here", journal=journal)
    delivered = await engine.deliver(job)
    final = root / "made" / "here" / "film.mkv"
    final.write_bytes(b"\xff" + _DATA[1:])
    with pytest.raises(Corrupt) as caught:
        await engine.verify(job, delivered)
    assert hashlib.sha256(_DATA).hexdigest() in caught.value.message
    assert hashlib.sha256(final.read_bytes()).hexdigest() in caught.value.message
    await engine.discard(replace(job, token=journal.last), delivered)
    assert not (root / "made").exists()


async def test_moved_file_that_changed_is_corrupt(
    engine: LocalEngine, root: Path, work: Path
) -> None:
    job = _job(work, root)
    delivered = await engine.deliver(job)
    (root / "film.mkv").write_bytes(b"\xff" + _DATA[1:])
    with pytest.raises(Corrupt, match="SHA-256"):
        await engine.verify(job, delivered)
    (root / "film.mkv").unlink()
    with pytest.raises(Corrupt, match="No such file"):
        await engine.verify(job, delivered)


async def test_limit_holds_and_can_be_lifted(
    engine: LocalEngine, root: Path, elsewhere: Path
) -> None:
    job = _job(elsewhere, root, {"big": b"b" * 4_000_000}, limit=1000)
    running = asyncio.ensure_future(engine.deliver(job))
    await _until(lambda: _done(engine) > 0)
    progress = engine.snapshot()["task1"]
    assert progress.total == 4_000_000
    assert progress.done < 100_000
    engine.set_limit(None, "task1")
    await running
    assert engine.snapshot() == {}


def test_limit_of_the_engine_is_divided() -> None:
    engine = LocalEngine([Path("/")])
    engine.set_limit(1000)
    for name in ("a", "b"):
        engine._flows[name] = Flow(1, lambda: None)
    engine.set_limit(100, "a")
    assert engine._rate("a") == 100
    assert engine._rate("b") == 500


async def test_cancelled_copy_goes_on(engine: LocalEngine, root: Path, elsewhere: Path) -> None:
    journal = Journal()
    job = _job(elsewhere, root, {"big": b"b" * 4_000_000}, limit=1000, journal=journal)
    running = asyncio.ensure_future(engine.deliver(job))
    await _until(lambda: _done(engine) > 0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    half = (root / ".mltb-task1.copy").stat().st_size
    assert 0 < half < 4_000_000
    assert not (root / "big").exists()
    # What lies there is not copied again: a changed byte of it stays changed.
    with (root / ".mltb-task1.copy").open("r+b") as file:
        file.write(b"X")
    again = replace(job, limit=None, token=journal.last)
    delivered = await engine.deliver(again)
    assert (root / "big").read_bytes() == b"X" + b"b" * 3_999_999
    with pytest.raises(Corrupt):
        await engine.verify(again, delivered)


async def test_after_power_loss_only_synced_bytes_count(
    engine: LocalEngine, root: Path, elsewhere: Path
) -> None:
    journal = Journal()
    job = _job(elsewhere, root, {"big": b"b" * 400_000}, journal=journal)
    await engine.deliver(job)
    (root / "big").unlink()
    first = journal.tokens[0]
    assert first["staged"] is None
    (root / ".mltb-task1.copy").write_bytes(b"b" * 1000 + b"\0" * 300_000)
    token = {**first, "boot": "an earlier one", "position": 1000}
    delivered = await engine.deliver(replace(job, token=token))
    assert await engine.verify(job, delivered) == "read-back"


async def test_discard_of_a_half_copy(engine: LocalEngine, root: Path, elsewhere: Path) -> None:
    journal = Journal()
    files = {"a": b"1" * 100, "b": b"2" * 4_000_000}
    job = _job(elsewhere, root / "new", files, limit=1000, journal=journal)
    running = asyncio.ensure_future(engine.deliver(job))
    await _until((root / "new" / ".mltb-task1.copy").exists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await engine.discard(replace(job, token=journal.last), None)
    assert not (root / "new").exists()


async def test_discard_leaves_what_is_not_ours(engine: LocalEngine, root: Path, work: Path) -> None:
    journal = Journal()
    job = _job(work, root, journal=journal)
    (work / "film.mkv").unlink()
    with pytest.raises(InternalFailure, match="gone"):
        await engine.deliver(job)
    token = {"path": str(root), "name": "film.mkv", "sources": [[1, 1]]}
    (root / "film.mkv").write_bytes(b"of another")
    await engine.discard(replace(job, token=token), None)
    assert (root / "film.mkv").read_bytes() == b"of another"


async def test_planted_link_under_the_hidden_name(
    engine: LocalEngine, root: Path, elsewhere: Path, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_bytes(b"untouched")
    (root / ".mltb-task1.copy").symlink_to(tmp_path / "victim")
    await engine.deliver(_job(elsewhere, root))
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert (root / "film.mkv").read_bytes() == _DATA


async def test_no_room_says_the_figures(engine: LocalEngine, root: Path, elsewhere: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    job = _job(elsewhere, root, {"big": b"b" * 300_000})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(NoSpace) as caught:
            await engine.deliver(job)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "300000" in caught.value.message
    assert caught.value.details["available"]
    assert _tree(root) == {}


async def test_no_room_is_seen_before_the_copy(
    engine: LocalEngine, root: Path, elsewhere: Path
) -> None:
    job = _job(elsewhere, root, {"big": b""})
    figures = os.statvfs(root)
    size = figures.f_bavail * figures.f_frsize + (1 << 30)
    os.truncate(elsewhere / "big", size)
    job.files = [FileEntry("big", size, "0" * 64)]
    with pytest.raises(NoSpace, match="are free there"):
        await engine.deliver(job)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_no_right_to_write(engine: LocalEngine, root: Path, work: Path) -> None:
    (root / "sealed").mkdir(mode=0o500)
    with pytest.raises(PolicyRefused, match="may not write"):
        await engine.deliver(_job(work, root / "sealed"))


# Crashes

#: Delivers, and kills itself before the n-th change of the filesystem.
_DELIVER = """
import asyncio, json, os, signal, sys
from pathlib import Path
from bot.domain.ports import DeliverJob
from bot.domain.task import FileEntry
from bot.engines.local import LocalEngine
spec = json.load(sys.stdin)
left = spec["changes"]
EVENTS = {"os.link", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.truncate"}
def hook(event, arguments):
    global left
    if event in EVENTS and left is not None:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
async def checkpoint(token):
    with open(spec["journal"] + ".new", "w") as file:
        json.dump(token, file)
    os.rename(spec["journal"] + ".new", spec["journal"])
async def main():
    engine = LocalEngine([Path(spec["root"])])
    files = [FileEntry(*entry) for entry in spec["files"]]
    job = DeliverJob("task1", Path(spec["directory"]), files, spec["destination"], spec["name"],
                     None, checkpoint, spec["overwrite"], spec["keep"], spec["limit"])
    sys.addaudithook(hook)
    await engine.deliver(job)
    left_over = left
    sys.stdout.write("delivered")
    sys.stdout.flush()
    os._exit(0)
asyncio.run(main())
"""


def _spec(job: DeliverJob, root: Path, journal: Path, changes: int | None) -> str:
    return json.dumps(
        {
            "changes": changes,
            "journal": str(journal),
            "root": str(root),
            "files": [[file.path, file.size, file.sha256] for file in job.files],
            "directory": str(job.directory),
            "destination": job.destination,
            "name": job.name,
            "overwrite": job.overwrite,
            "keep": job.keep,
            "limit": job.limit,
        }
    )


def _deliver_and_die(job: DeliverJob, root: Path, journal: Path, changes: int) -> bool:
    """Whether the child delivered before it came to that change."""
    done = subprocess.run(
        [sys.executable, "-c", _DELIVER],
        input=_spec(job, root, journal, changes).encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    if done.returncode == 0:
        return True
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    return False


_SCENES: dict[str, dict[str, Any]] = {
    "move": {},
    "link": {"keep": True},
    "replace": {"overwrite": "replace"},
    "replace-link": {"overwrite": "replace", "keep": True},
    "folder": {"files": {"a": b"1", "d/b": b"22"}},
    "folder-replace": {"files": {"a": b"1", "d/b": b"22"}, "overwrite": "replace"},
    "copy": {"far": True},
    "folder-copy": {"files": {"a": b"1", "d/b": b"22"}, "far": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("scene", _SCENES)
async def test_killed_before_any_change_then_delivered_once(
    tmp_path: Path, elsewhere: Path, scene: str
) -> None:
    for changes in range(40):
        base = tmp_path / str(changes)
        root = base / "root"
        (root / "to").mkdir(parents=True)
        options = dict(_SCENES[scene])
        far = options.pop("far", False)
        work = elsewhere / str(changes) if far else root / ".mltb" / "task1"
        job = _job(work, root / "to" / "new", **options)
        if job.overwrite == "replace":
            old = root / "to" / "new" / (job.name or "film.mkv")
            old.parent.mkdir()
            if job.name:
                old.mkdir()
                old /= "old"
            old.write_bytes(b"old")
        journal = base / "journal"
        delivered_whole = _deliver_and_die(job, root, journal, changes)
        token = json.loads(journal.read_text()) if journal.exists() else None
        engine = LocalEngine([root])
        result = await engine.deliver(replace(job, token=token))
        assert await engine.verify(job, result) == ("read-back" if far else "same-inode")
        await engine.close()
        top = f"{job.name}/" if job.name else ""
        wanted = {file.path for file in job.files}
        assert set(_tree(root / "to" / "new")) == {f"{top}{path}" for path in wanted}
        if not job.keep and not far:
            assert _tree(work) == {}
        if delivered_whole:
            assert changes > 0
            return
    raise AssertionError("the delivery never came to its end")


async def test_killed_in_the_middle_of_a_copy(
    tmp_path: Path, root: Path, elsewhere: Path, engine: LocalEngine
) -> None:
    data = os.urandom(3_000_000)
    job = _job(elsewhere, root, {"big": data}, limit=200_000)
    journal = tmp_path / "journal"
    child = subprocess.Popen(
        [sys.executable, "-c", _DELIVER], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert child.stdin is not None
    child.stdin.write(_spec(job, root, journal, None).encode())
    child.stdin.close()
    copy = root / ".mltb-task1.copy"
    await _until(lambda: copy.exists() and copy.stat().st_size > 50_000)
    child.kill()
    child.wait()
    assert copy.stat().st_size < len(data)
    copied = copy.stat().st_size
    token = json.loads(journal.read_text())
    again = replace(job, limit=10_000, token=token)
    running = asyncio.ensure_future(engine.deliver(again))
    await _until(lambda: _done(engine) > 0)
    assert engine.snapshot()["task1"].done >= copied
    engine.set_limit(None, "task1")
    delivered = await running
    assert await engine.verify(again, delivered) == "read-back"
    assert _tree(root) == {"big": data}


async def test_second_delivery_with_the_token_changes_nothing(
    engine: LocalEngine, root: Path, work: Path
) -> None:
    journal = Journal()
    job = _job(work, root, journal=journal)
    first = await engine.deliver(job)
    second = await engine.deliver(replace(job, token=journal.last))
    assert second == first
    assert _tree(root) == {"film.mkv": _DATA}
