"""Whether a plugin may run, as far as it is a matter of who made it and of which version it is.

A signature says who made a plugin and that nothing of it was changed. It lifts no restriction: the
walls and the rights are the same with it and without.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from bot.domain.plugins import PluginKey, PluginRecord, PluginStore, Signature
from bot.domain.ports import Clock
from bot.errors import PolicyRefused
from bot.plugins.manifest import Manifest
from bot.plugins.signing import Verdict, examine, key_bytes
from bot.plugins.vault import Content
from bot.plugins.versions import order


class Trust:
    """The keys that the operator trusts or has revoked, and what follows from them.

    ``require_signature``: only what a trusted key signed is run. ``verify_checksum``: files are
    compared with a ``plugin.files`` that nobody signed, too.
    """

    def __init__(
        self, store: PluginStore, clock: Clock, *, require_signature: bool, verify_checksum: bool
    ) -> None:
        self._store = store
        self._clock = clock
        self._require = require_signature
        self._verify_checksum = verify_checksum
        self._keys: dict[str, PluginKey] = {}

    async def load(self) -> None:
        """Read the keys; before anything else."""
        self._keys = {key.key: key for key in await self._store.publisher_keys()}

    def keys(self) -> Sequence[PluginKey]:
        """Every key that the operator said something about, in their order."""
        return [self._keys[key] for key in sorted(self._keys)]

    async def trust(self, key: str, name: str) -> PluginKey:
        """Trust what this key signs from now on, whatever was said of it before."""
        return await self._keep(key, name, revoked=False)

    async def revoke(self, key: str) -> PluginKey:
        """Run nothing of this publisher any more; a key may be revoked that nobody knew."""
        known = self._keys.get(key)
        return await self._keep(key, known.name if known else "", revoked=True)

    async def _keep(self, key: str, name: str, *, revoked: bool) -> PluginKey:
        key_bytes(key)
        kept = PluginKey(key, name, revoked, self._clock.now())
        await self._store.save_publisher_key(kept)
        self._keys[key] = kept
        return kept

    def examine(self, content: Content, manifest: Manifest) -> Verdict:
        """What the signatures of these files say, with the keys of now."""
        verdict = examine(content, manifest, unsigned_lists=self._verify_checksum)
        return verdict.among(self._trusted())

    def admit(self, verdict: Verdict, manifest: Manifest, record: PluginRecord) -> None:
        """PolicyRefused where this must not run, with what to do."""
        said = verdict.signature
        if said in {Signature.TRUNCATED, Signature.TAMPERED}:
            raise _refused(record, verdict, f"is {said}: {verdict.reason}", "fetch it again")
        if self._is_revoked(verdict.publisher):
            raise _refused(
                record,
                verdict,
                f"is signed by {verdict.publisher}, which was revoked",
                "get a version that is signed by another key",
            )
        if self._require and said is Signature.UNSIGNED:
            raise _refused(
                record,
                verdict,
                f"is unsigned: {verdict.reason}",
                'PLUGIN_SECURITY["require_signature"] is on: a trusted key has to sign it',
            )
        if self._require and said is Signature.UNTRUSTED:
            raise _refused(
                record,
                verdict,
                f"is signed by {verdict.publisher}, which is untrusted",
                f"if that is its author: mltb plugins trust {verdict.publisher}",
            )
        self._check_pins(verdict, manifest, record)

    def again(self, verdict: Verdict) -> Verdict:
        """The same signatures with the keys of now."""
        return verdict.among(self._trusted())

    def _trusted(self) -> Collection[str]:
        return {each.key for each in self._keys.values() if not each.revoked}

    def _is_revoked(self, key: str | None) -> bool:
        return key is not None and key in self._keys and self._keys[key].revoked

    def _check_pins(self, verdict: Verdict, manifest: Manifest, record: PluginRecord) -> None:
        again = f"if that is meant: mltb plugins enable {record.id} --repin"
        valid = [key for key in verdict.signers if not self._is_revoked(key)]
        if record.publisher is not None and record.publisher not in valid:
            now = f"by {verdict.publisher}" if verdict.publisher else "by nobody"
            reason = f"was signed by {record.publisher}; this version is signed {now}"
            raise _refused(record, verdict, reason, again)
        if record.highest is not None and order(manifest.version) < order(record.highest):
            reason = f"ran in version {record.highest}; {manifest.version} is a downgrade"
            raise _refused(record, verdict, reason, again)


def pinned(record: PluginRecord, verdict: Verdict, version: str) -> PluginRecord:
    """The record once that ran: its publisher is the one of now, its version the highest so far."""
    highest = record.highest
    if highest is None or order(version) > order(highest):
        highest = version
    return msgspec.structs.replace(record, publisher=verdict.publisher, highest=highest)


def repinned(record: PluginRecord, verdict: Verdict, version: str) -> PluginRecord:
    """The record where the operator takes this publisher and this version as they are."""
    return msgspec.structs.replace(record, publisher=verdict.publisher, highest=version)


def _refused(record: PluginRecord, verdict: Verdict, reason: str, hint: str) -> PolicyRefused:
    return PolicyRefused(
        f"plugin {record.id} {reason}",
        hint=hint,
        signature=str(verdict.signature),
        publisher=verdict.publisher,
    )
