"""Plugins in folders of their authors: signed there, and looked at without a service."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import InvalidInput
from bot.plugins.manifest import Package, read
from bot.plugins.signing import Verdict, examine, key_bytes, key_of, sign
from bot.plugins.vault import read_content

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sign_folder(folder: Path, keys: Sequence[Ed25519PrivateKey]) -> str:
    """Write the list and the signatures into the folder of a plugin; the publisher's key."""
    package = _package(folder)
    content = read_content(package)
    for name, data in sign(content, package.manifest, keys).items():
        part = package.root / f".{name}.part"
        try:
            part.write_bytes(data)
            part.replace(package.root / name)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise InvalidInput(f"{folder / name} can't be written: {error.strerror}") from None
    return key_of(keys[0])


def examine_folder(folder: Path, trusted: Collection[str] | None) -> tuple[str, Verdict]:
    """The name of the plugin in a folder, and what its signatures say. ``trusted`` are the keys
    that count; None: any."""
    for key in trusted or ():
        key_bytes(key)
    package = _package(folder)
    verdict = examine(read_content(package), package.manifest)
    return package.id, verdict if trusted is None else verdict.among(trusted)


def _package(folder: Path) -> Package:
    root = folder.absolute()
    if not root.is_dir():
        raise InvalidInput(f"{folder} is no folder", hint="a plugin in one file can't be signed")
    return read(root.resolve() if root.name in {"", "..", "."} else root)
