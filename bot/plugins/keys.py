"""Private keys of publishers, in files."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import Conflict, InvalidInput
from bot.plugins.signing import key_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SIZE = 4096


def write_new_key(path: Path) -> str:
    """Make a key and write its private half (PKCS 8, PEM) where only this user reads it; the
    public half. Conflict where something lies there."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Conflict(f"{path} is there already", hint="a key is never overwritten") from None
    except OSError as error:
        raise InvalidInput(f"{path} can't be written: {error.strerror}") from None
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    return key_of(key)


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a file. InvalidInput where there is none, or where others may read it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_SIZE)
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}") from None
    if mode & 0o077:
        raise InvalidInput(f"others may read {path} (mode {mode:o})", hint=f"chmod 600 {path}")
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput(
            f"{path} holds no private Ed25519 key", hint="mltb plugins keygen makes one"
        )
    return key
