"""Encryption of backups with age (https://age-encryption.org/v1), authenticated throughout.

For recipients the file is plain age. For a passphrase age's own way takes 512 MiB and holds up
everything else in the process, so the key is derived here: scrypt (RFC 7914) makes an X25519
identity of the passphrase and a salt, and the salt stands in a line before the age file.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from bot.errors import Corrupt, InvalidInput

_MARK = b"mltb-passphrase-1 "
_SALT = 16  # bytes
# The second choice of OWASP's cheat sheet for scrypt: 64 MiB, and twice the work.
_COST, _BLOCK, _PARALLEL = 2**16, 8, 2
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


class Sink(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> int:
        """Write all of them."""

    def flush(self) -> None:
        """Hand on what is held back."""


class Source(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """At most so many; none at the end."""


@dataclass(frozen=True, slots=True)
class Lock:
    """To whom new archives are encrypted: age recipients (``age1...``) and a passphrase."""

    recipients: Sequence[str] = ()
    passphrase: str | None = None

    def __bool__(self) -> bool:
        return bool(self.recipients or self.passphrase)


@dataclass(frozen=True, slots=True)
class Keys:
    """What opens archives: identities (lines ``AGE-SECRET-KEY-...``) and a passphrase."""

    identities: str | None = None
    passphrase: str | None = None

    def __bool__(self) -> bool:
        return bool(self.identities or self.passphrase)


@contextmanager
def sealing(target: Sink, lock: Lock) -> Iterator[Sink]:
    """What is written to the result goes to ``target``, encrypted. InvalidInput for recipients."""
    import pyrage

    recipients = [_recipient(text) for text in lock.recipients]
    if lock.passphrase:
        salt = secrets.token_bytes(_SALT)
        target.write(_MARK + salt.hex().encode() + b"\n")
        recipients.append(_derived(lock.passphrase, salt).to_public())
    sink = _Watched(target)
    read, write = os.pipe()
    with os.fdopen(read, "rb") as source:
        encrypt = _Beside(lambda: pyrage.encrypt_io(source, sink, recipients), source)
        with os.fdopen(write, "wb") as plain:
            try:
                yield plain
            except BrokenPipeError:
                if encrypt.ended() is None:
                    raise
        error = sink.error or encrypt.ended()
        if error is not None:
            raise error


@contextmanager
def opening(source: BinaryIO, keys: Keys) -> Iterator[BinaryIO]:
    """The plain bytes of an encrypted archive.

    What was read is only true once this context has ended without an error. InvalidInput where
    nothing fits, Corrupt where the bytes were altered or cut off.
    """
    import pyrage

    identities = _identities(source, keys)
    read, write = os.pipe()
    plain = os.fdopen(read, "rb")
    sink = os.fdopen(write, "wb")
    watched = _Watched(sink)
    decrypt = _Beside(lambda: pyrage.decrypt_io(source, watched, identities), sink)
    try:
        yield plain
    except Exception:
        plain.close()
        _check(decrypt.ended(), watched)
        raise
    finally:
        plain.close()
    _check(decrypt.ended(), watched)


def _check(error: BaseException | None, sink: _Watched) -> None:
    import pyrage

    if error is None or sink.error is not None:
        return  # A reader that had enough is no fault of the archive.
    if isinstance(error, pyrage.DecryptError) and "matching" in str(error):
        raise InvalidInput(
            "the backup can't be decrypted with the identity or passphrase that was given",
            hint="give the one that it was made for: BACKUP_AGE_IDENTITY or BACKUP_PASSPHRASE",
        )
    raise Corrupt(
        f"the backup can't be decrypted: {error}",
        hint="it was altered or cut off; take another",
    )


class _Watched:
    """A file that remembers why it could not be written; pyrage makes words of it."""

    def __init__(self, file: Sink) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            self.error = error
            raise


class _Beside:
    """A call in a thread of its own that closes its end of the pipe when it is over."""

    def __init__(self, call: Callable[[], Any], end: BinaryIO) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call, end), name="backup seal")
        self._thread.start()

    def _run(self, call: Callable[[], Any], end: BinaryIO) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits
            self._error = error
        finally:
            try:
                end.close()
            except OSError as error:
                self._error = self._error or error

    def ended(self) -> BaseException | None:
        """Wait for it; what it failed with."""
        self._thread.join()
        return self._error


def _recipient(text: str) -> Any:
    import pyrage

    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise InvalidInput(
            f"{text[:100]!r} is no age recipient: {error}", hint="age-keygen -y shows it: age1..."
        ) from None


def _identities(source: BinaryIO, keys: Keys) -> list[Any]:
    """What may open the archive whose bytes ``source`` gives; it stands at the age file after."""
    import pyrage

    found: list[Any] = []
    for line in (keys.identities or "").splitlines():
        if line.strip() and not line.startswith("#"):
            try:
                found.append(pyrage.x25519.Identity.from_str(line.strip()))
            except pyrage.IdentityError as error:
                raise InvalidInput(
                    f"a line of the age identity can't be read: {error}",
                    hint="lines AGE-SECRET-KEY-1..., as age-keygen writes them",
                ) from None
    salt = _salt(source)
    if salt is not None and keys.passphrase:
        found.append(_derived(keys.passphrase, salt))
    if not found:
        wanted = "BACKUP_PASSPHRASE" if salt is not None else "BACKUP_AGE_IDENTITY"
        raise InvalidInput(
            "the backup is encrypted, and nothing that opens it was given",
            hint=f"set {wanted}, or give it with the command",
        )
    return found


def _salt(source: BinaryIO) -> bytes | None:
    length = len(_MARK) + 2 * _SALT + 1
    head = source.read(length)
    if not head.startswith(_MARK):
        source.seek(0)
        return None
    try:
        return bytes.fromhex(head[len(_MARK) : -1].decode("ascii"))
    except ValueError:
        raise Corrupt("the first line of the backup is damaged", hint="take another") from None


def _derived(passphrase: str, salt: bytes) -> Any:
    """The X25519 identity that a passphrase and a salt mean."""
    import pyrage

    key = hashlib.scrypt(
        passphrase.encode(),
        salt=salt,
        n=_COST,
        r=_BLOCK,
        p=_PARALLEL,
        maxmem=2 * 128 * _COST * _BLOCK,
        dklen=32,
    )
    return pyrage.x25519.Identity.from_str(_bech32("age-secret-key-", key).upper())


def _bech32(prefix: str, data: bytes) -> str:
    """BIP 173, the form in which age writes keys."""
    bits = int.from_bytes(data, "big") << (-8 * len(data) % 5)
    count = (8 * len(data) + 4) // 5
    values = [bits >> 5 * (count - 1 - at) & 31 for at in range(count)]
    expanded = [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]
    check = _polymod([*expanded, *values, *[0] * 6]) ^ 1
    values += [check >> 5 * (5 - at) & 31 for at in range(6)]
    return f"{prefix}1" + "".join(_BECH32[value] for value in values)


def _polymod(values: Sequence[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for at, part in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= part if top >> at & 1 else 0
    return check
