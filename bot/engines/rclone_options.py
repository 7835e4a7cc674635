"""``engine_options`` of rclone: an allow-list, so that a submission sets speeds and sizes and
nothing that reaches other files, hosts or programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.errors import InvalidInput

_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,3})?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_MOST_RULES, _LONGEST_RULE = 100, 500


@dataclass(frozen=True, slots=True)
class Options:
    """Checked options: ``config`` and ``filter`` as rclone's ``_config`` and ``_filter``,
    ``backend`` by kind of backend as parameters of a connection string."""

    config: dict[str, Any] = field(default_factory=dict)
    filter: dict[str, Any] = field(default_factory=dict)
    backend: dict[str, dict[str, str]] = field(default_factory=dict)


def _integer(low: int, high: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return check


def _size(low: int, high: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if found:
            value = int(float(found[1]) * _UNITS[found[2].lower()])
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"a size from {low} to {high} bytes, such as 64M")
        return value

    return check


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _rules(value: object) -> list[str]:
    rules = [value] if isinstance(value, str) else value
    if (
        not isinstance(rules, list)
        or len(rules) > _MOST_RULES
        or not all(isinstance(r, str) and 0 < len(r) <= _LONGEST_RULE for r in rules)
    ):
        raise ValueError(f"up to {_MOST_RULES} patterns, such as *.mkv")
    return list(rules)


_MIB, _GIB = 1024**2, 1024**3
_CONFIG: dict[str, tuple[str, Callable[[object], Any]]] = {
    "transfers": ("Transfers", _integer(1, 64)),
    "checkers": ("Checkers", _integer(1, 64)),
    "multi_thread_streams": ("MultiThreadStreams", _integer(0, 32)),
    "multi_thread_cutoff": ("MultiThreadCutoff", _size(_MIB, 1024 * _GIB)),
    "multi_thread_chunk_size": ("MultiThreadChunkSize", _size(_MIB, _GIB)),
    "buffer_size": ("BufferSize", _size(0, 256 * _MIB)),
    "low_level_retries": ("LowLevelRetries", _integer(1, 100)),
    "metadata": ("Metadata", _boolean),
    "server_side_across_configs": ("ServerSideAcrossConfigs", _boolean),
}
_FILTER: dict[str, tuple[str, Callable[[object], Any]]] = {
    "include": ("IncludeRule", _rules),
    "exclude": ("ExcludeRule", _rules),
    "min_size": ("MinSize", _size(0, 1024**5)),
    "max_size": ("MaxSize", _size(0, 1024**5)),
}
_BACKEND: dict[str, tuple[str, str, Callable[[object], Any]]] = {
    "s3_chunk_size": ("s3", "chunk_size", _size(5 * _MIB, 5 * _GIB)),
    "s3_upload_cutoff": ("s3", "upload_cutoff", _size(0, 5 * _GIB)),
    "s3_upload_concurrency": ("s3", "upload_concurrency", _integer(1, 64)),
    "b2_chunk_size": ("b2", "chunk_size", _size(5 * _MIB, 5 * _GIB)),
    "b2_upload_concurrency": ("b2", "upload_concurrency", _integer(1, 64)),
    "drive_chunk_size": ("drive", "chunk_size", _size(256 * 1024, _GIB)),
    "drive_acknowledge_abuse": ("drive", "acknowledge_abuse", _boolean),
    "onedrive_chunk_size": ("onedrive", "chunk_size", _size(320 * 1024, 250 * _MIB)),
    "dropbox_chunk_size": ("dropbox", "chunk_size", _size(_MIB, 149 * _MIB)),
    "azureblob_chunk_size": ("azureblob", "chunk_size", _size(_MIB, _GIB)),
    "azureblob_upload_concurrency": ("azureblob", "upload_concurrency", _integer(1, 64)),
}
NAMES = tuple(sorted({*_CONFIG, *_FILTER, *_BACKEND}))


def check(options: Mapping[str, Any], *, strict: bool = True) -> Options:
    """The options in rclone's terms. InvalidInput with what is allowed.

    Where not ``strict``, unknown names are left alone: they belong to the engine that fetches.
    """
    checked = Options()
    for name, value in options.items():
        try:
            _put(checked, name, value, strict=strict)
        except ValueError as error:
            raise InvalidInput(
                f"the rclone option {name} can't be {value!r}", hint=f"it is {error}"
            ) from None
    return checked


def _put(checked: Options, name: str, value: object, *, strict: bool) -> None:
    if name in _CONFIG:
        key, convert = _CONFIG[name]
        checked.config[key] = convert(value)
        if key == "MultiThreadStreams":
            checked.config["MultiThreadSet"] = True
    elif name in _FILTER:
        key, convert = _FILTER[name]
        checked.filter[key] = convert(value)
    elif name in _BACKEND:
        kind, key, convert = _BACKEND[name]
        text = convert(value)
        if isinstance(text, bool):
            text = str(text).lower()
        elif "size" in key or "cutoff" in key:
            text = f"{text}B"
        checked.backend.setdefault(kind, {})[key] = str(text)
    elif strict:
        raise InvalidInput(
            f"{name[:100]!r} is no option that rclone may be given here",
            hint=f"there are {', '.join(NAMES)}",
        )
