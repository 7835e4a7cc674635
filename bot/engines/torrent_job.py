"""What the worker process keeps of one torrent, and how it names what went wrong."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libtorrent as lt

#: What libtorrent is to work out for the facts; by default it copies much more, each second.
FACTS = lt.status_flags_t.query_accurate_download_counters
#: Trackers and web seeds whose last answer is kept for the report.
_MAX_ANSWERS = 50
_MAX_ANSWER_TEXT = 200
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CHECKING = {
    int(lt.torrent_status.states.checking_files),
    int(lt.torrent_status.states.checking_resume_data),
}


class WorkerError(Exception):
    """A failure for the service: the ``code`` of a TransferError and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def failure_of(error: lt.error_code, what: str) -> WorkerError:
    """The failure that ``error`` means, met with ``what``."""
    message = f"{what}: {error.message()}"
    if error.category().name() in {"system", "generic"} and error.value() in _FULL:
        return WorkerError("no_space", message)
    return WorkerError("internal", message)


def write_atomically(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``: the file is always whole, the old one or the new.

    Not synced: it need only survive the end of a process. After a crash of the machine the files
    of a torrent are checked anew, see ``torrent_load``.
    """
    half = path.with_name(f"{path.name}.new")
    half.write_bytes(data)
    half.replace(path)


@dataclass(slots=True)
class Torrent:
    """One torrent of the session.

    ``header`` is the first line of its resume file. ``pending`` is resume data that waits for
    ``flushes`` more flushes of the cache. ``leaving`` answers the call that takes it out.
    """

    job: str
    handle: lt.torrent_handle
    header: bytes
    resume: Path
    metadata_only: bool
    answers: dict[str, str] = field(default_factory=dict)
    dht_peers: int = 0
    blocked: set[str] = field(default_factory=set)
    bad_pieces: int = 0
    modified: bool = False
    saving: bool = False
    save_at: float = 0.0
    save_began: float = 0.0
    pending: bytes | None = None
    flushes: int = 0
    checked: bool = False
    after_save: Callable[[Torrent], None] | None = None
    leaving: Callable[[Any], None] | None = None

    def answer(self, url: str, text: str) -> None:
        """Remember what a tracker or web seed said last."""
        if url in self.answers or len(self.answers) < _MAX_ANSWERS:
            self.answers[url] = text[:_MAX_ANSWER_TEXT]

    def file_in_error(self) -> str | None:
        """The name of the file that stopped the torrent; None where it was none."""
        info, index = self.handle.torrent_file(), self.handle.status(0).error_file
        return info.layout().file_name(index) if info is not None and index >= 0 else None

    def report(self) -> dict[str, Any]:
        """What was tried so far, in figures."""
        status = self.handle.status(0)
        return {
            "answers": self.answers,
            "dht_peers": self.dht_peers,
            "known": status.list_peers,
            "connected": status.num_peers,
            "seeds": status.num_seeds,
            "blocked": len(self.blocked),
            "bad_pieces": self.bad_pieces,
        }


def facts_of(torrent: Torrent, status: lt.torrent_status) -> dict[str, Any]:
    """The state of a torrent in numbers: bytes, bytes a second, seconds, millionths.

    ``checking`` until it is known which pieces lie on the disk.
    """
    checking = not torrent.checked or int(status.state) in _CHECKING
    return {
        "checking": checking,
        "checked": status.progress_ppm if checking else 0,
        "done": status.total_wanted_done,
        "total": status.total_wanted,
        "down": status.download_payload_rate,
        "up": status.upload_payload_rate,
        "received": status.total_payload_download,
        "uploaded": status.all_time_upload,
        "peers": status.num_peers,
        "seeds": status.num_seeds,
        "connections": status.num_connections,
        "seeding": status.finished_duration.total_seconds(),
        "finished": status.is_finished and not checking,
    }
