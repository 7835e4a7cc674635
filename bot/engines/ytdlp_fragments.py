"""Fragmented downloads of yt-dlp that survive being killed at any moment."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LENGTHS = ".lengths"  # beside yt-dlp's state of a fragmented download


def keep_lengths() -> None:
    """Let yt-dlp note the length of a fragmented download with each fragment.

    By itself it only counts fragments: killed while it appends one, it would go on behind half a
    fragment, or append one twice.
    """
    from yt_dlp.downloader.external import FFmpegFD
    from yt_dlp.downloader.fragment import FragmentFD

    write = FragmentFD._write_ytdl_file

    def noting(self: Any, ctx: dict[str, Any]) -> None:
        stream = ctx.get("dest_stream")
        if stream is not None and not stream.closed:
            with Path(self.ytdl_filename(ctx["filename"]) + _LENGTHS).open("a") as file:
                file.write(f"{ctx['fragment_index']} {stream.tell()}\n")
        write(self, ctx)

    FragmentFD._write_ytdl_file = noting
    # It would read encrypted streams from the network itself; yt-dlp can do it.
    FFmpegFD.available = classmethod(lambda cls, path=None: False)


def mend(directory: Path) -> None:
    """Cut every fragmented download back to its last whole fragment; start over where that is not
    known."""
    for state in list(directory.glob("*.ytdl")):
        part = state.with_suffix(".part")
        lengths = Path(f"{state}{_LENGTHS}")
        length = _safe_length(state, lengths)
        if length is None or not part.exists() or part.stat().st_size < length:
            for path in (part, state, lengths):
                path.unlink(missing_ok=True)
        else:
            os.truncate(part, length)
        for fragment in directory.glob(f"{_quoted(part.name)}-Frag*"):
            fragment.unlink()


def _quoted(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _safe_length(state: Path, lengths: Path) -> int | None:
    try:
        index = json.loads(state.read_text())["downloader"]["current_fragment"]["index"]
        lines = lengths.read_text().split("\n")[:-1]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return next((length for number, length in _pairs(reversed(lines)) if number == index), None)


def _pairs(lines: Iterator[str]) -> Iterator[tuple[int, int]]:
    for line in lines:
        number, _, length = line.partition(" ")
        if number.isdigit() and length.isdigit():
            yield int(number), int(length)
