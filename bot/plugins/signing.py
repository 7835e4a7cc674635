"""Who made a plugin: a list of its files, and Ed25519 signatures over the bytes of that list.

``plugin.files`` names every other file of the plugin with its size, mode and SHA-256, and the key
of its publisher. ``plugin.sig`` holds the signature of that key over a prefix and those bytes, and
may hold those of others: a publisher who changes the key signs with both for a while.

Both files have one form only, which is written and compared byte for byte: no two readers can take
one list for two different ones.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec

from bot.domain.plugins import Signature
from bot.errors import InvalidInput, PluginFailed
from bot.plugins.manifest import Manifest
from bot.plugins.vault import MAX_FILES, Content

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LIST, SIGNATURES = "plugin.files", "plugin.sig"
_DOMAIN = b"mltb plugin.files 1\n"
_KEY = re.compile(r"ed25519:[A-Za-z0-9_-]{43}", re.ASCII)
_LIST_SIZE, _SIGNATURES_SIZE = 1024 * 1024, 4096
#: How both files end, and nothing before their end looks: a part that is cut off is noticed.
_END = b"\n}\n"

T = TypeVar("T", bound="_File")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a plugin. ``path`` is relative, with slashes; ``size`` in bytes."""

    path: str
    size: int
    executable: bool
    sha256: str


class FileList(_File, frozen=True, forbid_unknown_fields=True):
    """``plugin.files``."""

    id: str
    version: str
    publisher: str
    files: Annotated[list[Entry], msgspec.Meta(max_length=MAX_FILES)]


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signature, in base64, and the key that verifies it."""

    key: str
    signature: str


class Signatures(_File, frozen=True, forbid_unknown_fields=True):
    """``plugin.sig``; the first is the publisher's."""

    signatures: Annotated[list[Signed], msgspec.Meta(min_length=1, max_length=4)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the signatures of a plugin say. ``signers`` are the keys whose signature is right, the
    publisher's first; ``reason`` says what is wrong."""

    signature: Signature
    signers: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def publisher(self) -> str | None:
        """The key of the publisher, where its signature is right."""
        return self.signers[0] if self.signers else None

    def among(self, trusted: Collection[str]) -> Verdict:
        """The verdict where those keys are trusted and no others."""
        if not self.signers:
            return self
        if any(key in trusted for key in self.signers):
            return Verdict(Signature.SIGNED, self.signers)
        return Verdict(Signature.UNTRUSTED, self.signers, f"nobody trusted {self.publisher}")


class _Bad(Exception):
    """Why a plugin is not what was signed."""

    def __init__(self, signature: Signature, reason: str) -> None:
        super().__init__(reason)
        self.verdict = Verdict(signature, reason=reason)


def examine(content: Content, manifest: Manifest, *, unsigned_lists: bool = True) -> Verdict:
    """What the signatures of these files say, whoever made them; never raises for what they hold.

    ``unsigned_lists``: whether files are compared with a list that nobody signed, too.
    """
    listed, signed = content.files.get(LIST), content.files.get(SIGNATURES)
    try:
        if signed is None:
            if listed is not None and unsigned_lists:
                _compare(_read(LIST, listed, FileList, _LIST_SIZE), content, manifest)
            return Verdict(Signature.UNSIGNED, reason=f"it has no {SIGNATURES}")
        if listed is None:
            raise _Bad(Signature.TRUNCATED, f"{LIST} is missing")
        signatures = _read(SIGNATURES, signed, Signatures, _SIGNATURES_SIZE).signatures
        _whole(LIST, listed, _LIST_SIZE)
        for each in signatures:
            _verify(each, listed)
        files = _read(LIST, listed, FileList, _LIST_SIZE)
        if files.publisher != signatures[0].key:
            raise _Bad(Signature.TAMPERED, f"{LIST} names another publisher")
        _compare(files, content, manifest)
    except _Bad as bad:
        return bad.verdict
    return Verdict(Signature.SIGNED, tuple(dict.fromkeys(each.key for each in signatures)))


def sign(
    content: Content, manifest: Manifest, keys: Sequence[Ed25519PrivateKey]
) -> Mapping[str, bytes]:
    """The two files that go beside the others: name to bytes. The first key is the publisher's."""
    if manifest.version == "0.0.0":
        raise InvalidInput(
            f"plugin {manifest.id} says no version", hint='write version = "1.0.0" in plugin.toml'
        )
    entries = [
        Entry(name, len(data), name in content.executables, hashlib.sha256(data).hexdigest())
        for name, data in sorted(content.files.items())
        if name not in {LIST, SIGNATURES}
    ]
    files = FileList(1, manifest.id, manifest.version, key_of(keys[0]), entries)
    listed = _frame(files)
    if len(listed) > _LIST_SIZE:
        raise PluginFailed(f"{LIST} would have more than {_LIST_SIZE} bytes")
    signatures = [
        Signed(key_of(key), base64.b64encode(key.sign(_DOMAIN + listed)).decode()) for key in keys
    ]
    return {LIST: listed, SIGNATURES: _frame(Signatures(1, signatures))}


def key_of(private: Ed25519PrivateKey) -> str:
    """How the public half of a key is written: ``ed25519:`` and its 32 bytes in base64 (URL)."""
    raw = private.public_key().public_bytes_raw()
    return "ed25519:" + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def key_bytes(key: str) -> bytes:
    """The 32 bytes of a public key. InvalidInput where that is none."""
    if _KEY.fullmatch(key):
        raw = base64.urlsafe_b64decode(key.removeprefix("ed25519:") + "=")
        if base64.urlsafe_b64encode(raw).decode().rstrip("=") == key.removeprefix("ed25519:"):
            return raw
    raise InvalidInput(
        f"{key[:100]!r} is no public key", hint="mltb plugins keygen prints one: ed25519:..."
    )


def _verify(signed: Signed, listed: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(key_bytes(signed.key))
        public.verify(base64.b64decode(signed.signature, validate=True), _DOMAIN + listed)
    except (InvalidInput, InvalidSignature, binascii.Error, ValueError):
        raise _Bad(
            Signature.TAMPERED, f"{LIST} is not what {signed.key[:60]} signed, as {SIGNATURES} says"
        ) from None


def _read(name: str, data: bytes, kind: type[T], limit: int) -> T:
    _whole(name, data, limit)
    try:
        found = msgspec.json.decode(data, type=kind)
        if _frame(found) == data:
            return found
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass  # said below
    raise _Bad(Signature.TAMPERED, f"{name} was not written by mltb plugins sign")


def _whole(name: str, data: bytes, limit: int) -> None:
    if len(data) > limit:
        raise _Bad(Signature.TAMPERED, f"{name} has more than {limit} bytes")
    end = data.find(_END)
    if end < 0:
        raise _Bad(Signature.TRUNCATED, f"{name} has no end")
    if end + len(_END) < len(data):
        raise _Bad(Signature.TAMPERED, f"{name} goes on after its end")


def _frame(value: _File) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def _compare(listed: FileList, content: Content, manifest: Manifest) -> None:
    """Whether the files are those of the list. What was changed is told before what may have been
    lost on the way."""
    if (listed.id, listed.version) != (manifest.id, manifest.version):
        raise _Bad(Signature.TAMPERED, f"{LIST} is that of {listed.id} {listed.version}")
    names = [entry.path for entry in listed.files]
    for name in names:
        if not _is_plain(name):
            raise _Bad(Signature.TAMPERED, f"{LIST} names {name!r}, which is no file of a plugin")
    for name, follower in pairwise(names):
        if name >= follower:
            raise _Bad(Signature.TAMPERED, f"{LIST} names {follower!r} twice, or not in its order")
    if extra := sorted(content.files.keys() - {*names, LIST, SIGNATURES}):
        raise _Bad(Signature.TAMPERED, f"{extra[0]!r} is not in {LIST}")
    lost = [reason for entry in listed.files if (reason := _lost(entry, content))]
    if lost:
        raise _Bad(Signature.TRUNCATED, lost[0])


def _lost(entry: Entry, content: Content) -> str | None:
    """What is missing of a file, in words."""
    data = content.files.get(entry.path)
    if data is None:
        return f"{entry.path!r} is missing"
    if len(data) < entry.size:
        return f"{entry.path!r} has {len(data)} of {entry.size} bytes"
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise _Bad(Signature.TAMPERED, f"{entry.path!r} is not the file that {LIST} names")
    if (entry.path in content.executables) != entry.executable:
        raise _Bad(Signature.TAMPERED, f"{entry.path!r} has another mode than in {LIST}")
    return None


def _is_plain(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return (
        "/".join(parts) == name
        and bool(parts)
        and not {"..", "."} & set(parts)
        and not name.startswith("/")
        and not name.endswith(".pyc")
        and name not in {LIST, SIGNATURES}
    )
