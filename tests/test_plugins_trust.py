"""Who made a plugin: signatures, keys, pins; and plugins that the settings want no walls for."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
import textwrap
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.app.parts import SystemClock
from bot.cli.client import ServiceError
from bot.domain.plugins import PluginRecord, PluginState, Signature
from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.errors import Conflict, InvalidInput, PluginFailed, PolicyRefused
from bot.plugins import tiers
from bot.plugins.folders import examine_folder, sign_folder
from bot.plugins.host import PluginHost
from bot.plugins.keys import read_key, write_new_key
from bot.plugins.launcher import Launcher, Policy
from bot.plugins.manifest import read
from bot.plugins.signing import LIST, SIGNATURES, Verdict
from bot.plugins.trust import Trust, pinned, repinned
from bot.plugins.vault import Vault, read_content
from bot.plugins.versions import order
from bot.store.plugins import Plugins
from bot.store.repository import open_store
from tests.serving import Service, eventually

MIB = 1024 * 1024
_CODE = """
from bot.core.plugin_manager import BasePlugin

class Greets(BasePlugin):
    async def execute(self, path=None):
        return open(path).read() if path else "hello"
"""


def _folder(root: Path, version: str = "1.0.0", more: str = "") -> Path:
    """A plugin in a folder, as its author has it."""
    folder = root / "greets"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "plugin.py").write_text(textwrap.dedent(_CODE))
    (folder / "plugin.toml").write_text(f'id = "greets"\nversion = "{version}"\n{more}')
    (folder / "data" / "words.txt").write_text("hello")
    return folder


class Publisher:
    """One who has a key."""

    def __init__(self, directory: Path, name: str = "publisher") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / f"{name}.key"
        self.key = write_new_key(self.file)

    def sign(self, folder: Path, *also: Publisher) -> Path:
        sign_folder(folder, [read_key(each.file) for each in (self, *also)])
        return folder

    def sign_bytes(self, folder: Path, listed: bytes) -> None:
        """Sign whatever stands there for a list, as one who means harm would."""
        folder.joinpath(LIST).write_bytes(listed)
        signature = read_key(self.file).sign(b"mltb plugin.files 1\n" + listed)
        text = base64.b64encode(signature).decode()
        body = {"format": 1, "signatures": [{"key": self.key, "signature": text}]}
        folder.joinpath(SIGNATURES).write_bytes(_text(body))


def _text(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path / "keys")


@pytest.fixture
def other(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path / "keys", "other")


@pytest.fixture
def signed(tmp_path: Path, publisher: Publisher) -> Path:
    return publisher.sign(_folder(tmp_path))


def _verdict(folder: Path, *trusted: str) -> Verdict:
    return examine_folder(folder, trusted or None)[1]


# Signing and looking


def test_what_is_signed_says_who_signed_it(
    signed: Path, publisher: Publisher, other: Publisher
) -> None:
    assert _verdict(signed) == Verdict(Signature.SIGNED, (publisher.key,))
    assert _verdict(signed, publisher.key).signature is Signature.SIGNED
    assert _verdict(signed, other.key).signature is Signature.UNTRUSTED
    files = json.loads(signed.joinpath(LIST).read_bytes())
    assert [each["path"] for each in files["files"]] == [
        "data/words.txt",
        "plugin.py",
        "plugin.toml",
    ]
    before = signed.joinpath(LIST).read_bytes()
    publisher.sign(signed)
    assert signed.joinpath(LIST).read_bytes() == before


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _append(path: Path, data: bytes = b"x") -> None:
    path.write_bytes(path.read_bytes() + data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _another_version(folder: Path) -> None:
    """The signed list of one version beside the manifest of another."""
    listed, signatures = (folder.joinpath(name).read_bytes() for name in (LIST, SIGNATURES))
    _folder(folder.parent, "2.0.0")
    folder.joinpath(LIST).write_bytes(listed)
    folder.joinpath(SIGNATURES).write_bytes(signatures)


#: What is done to a folder that was signed; what it is called then.
DAMAGE: dict[str, tuple[Callable[[Path], object], Signature]] = {
    "one bit of the code": (lambda it: _flip(it / "plugin.py", 5), Signature.TAMPERED),
    "one bit of other files": (lambda it: _flip(it / "data/words.txt", 0), Signature.TAMPERED),
    "more code": (lambda it: _append(it / "plugin.py"), Signature.TAMPERED),
    "another manifest": (lambda it: _append(it / "plugin.toml", b"\n"), Signature.TAMPERED),
    "another version": (_another_version, Signature.TAMPERED),
    "one more file": (lambda it: (it / "more.py").write_text(""), Signature.TAMPERED),
    "one more file below": (lambda it: (it / "data/x").write_text(""), Signature.TAMPERED),
    "another mode": (lambda it: (it / "plugin.py").chmod(0o755), Signature.TAMPERED),
    "more of the list": (lambda it: _append(it / LIST), Signature.TAMPERED),
    "more of the list in its form": (lambda it: _append(it / LIST, b"\n}\n"), Signature.TAMPERED),
    "no signature": (lambda it: (it / SIGNATURES).unlink(), Signature.UNSIGNED),
    "no list": (lambda it: (it / LIST).unlink(), Signature.TRUNCATED),
    "no data": (lambda it: (it / "data/words.txt").unlink(), Signature.TRUNCATED),
    "less code": (lambda it: _cut(it / "plugin.py"), Signature.TRUNCATED),
    "less of the list": (lambda it: _cut(it / LIST), Signature.TRUNCATED),
    "less of the signature": (lambda it: _cut(it / SIGNATURES), Signature.TRUNCATED),
    "nothing of the list": (lambda it: (it / LIST).write_text(""), Signature.TRUNCATED),
    "nothing of the signature": (lambda it: (it / SIGNATURES).write_text(""), Signature.TRUNCATED),
    "a list that is too long": (lambda it: _append(it / LIST, bytes(MIB)), Signature.TAMPERED),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_was_done_to_it_is_told_apart(signed: Path, name: str) -> None:
    damage, wanted = DAMAGE[name]
    damage(signed)
    found = _verdict(signed)
    assert (found.signature, found.signers) == (wanted, ())
    assert found.reason


def test_files_are_compared_with_a_list_that_nobody_signed(signed: Path) -> None:
    (signed / SIGNATURES).unlink()
    _flip(signed / "plugin.py", 5)
    assert _verdict(signed).signature is Signature.TAMPERED
    (signed / LIST).unlink()
    assert _verdict(signed).signature is Signature.UNSIGNED


@pytest.mark.parametrize("name", [LIST, SIGNATURES])
def test_no_bit_and_no_byte_less_of_what_is_signed_passes(signed: Path, name: str) -> None:
    path = signed / name
    whole = path.read_bytes()
    for at in range(len(whole)):
        _flip(path, at)
        assert _verdict(signed).signature in {Signature.TAMPERED, Signature.TRUNCATED}, at
        path.write_bytes(whole)
    for at in range(0, len(whole), 9):
        path.write_bytes(whole[:at])
        assert _verdict(signed).signature is Signature.TRUNCATED, at


def test_the_signature_of_another_is_not_that_of_the_publisher(
    signed: Path, publisher: Publisher, other: Publisher
) -> None:
    text = signed.joinpath(SIGNATURES).read_text()
    signed.joinpath(SIGNATURES).write_text(text.replace(publisher.key, other.key))
    assert _verdict(signed).signature is Signature.TAMPERED
    # The list names its publisher: nobody takes over what another has made.
    other.sign_bytes(signed, signed.joinpath(LIST).read_bytes())
    assert _verdict(signed).signature is Signature.TAMPERED


def _listed(folder: Path, *names: str) -> dict[str, Any]:
    listed: dict[str, Any] = json.loads(folder.joinpath(LIST).read_bytes())
    listed["files"] += [
        {"path": name, "size": 0, "executable": False, "sha256": "0" * 64} for name in names
    ]
    return listed


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a//b", "./a", "", ".", "z/../x", "z.pyc", LIST, "plugin.py", "a"],
)
def test_a_list_that_names_what_no_plugin_holds_is_refused(
    signed: Path, publisher: Publisher, name: str
) -> None:
    publisher.sign_bytes(signed, _text(_listed(signed, name)))
    assert _verdict(signed).signature is Signature.TAMPERED


def _twice(folder: Path) -> bytes:
    return folder.joinpath(LIST).read_bytes().replace(b' "id"', b' "id": "x",\n "id"')


#: Lists that mean harm: each is signed by a key that is good.
HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "many files": lambda it: _text(_listed(it, *(f"z{n:07}" for n in range(4000)))),
    "deep": lambda _: b'{"format":' + b"[" * 300_000 + b"]" * 300_000 + b"\n}\n",
    "deep in a name nobody knows": lambda _: b'{"x":' + b'{"a":' * 100_000 + b"\n}\n",
    "a size without end": lambda _: b'{"format":1' + b"0" * 500_000 + b"\n}\n",
    "a name twice": _twice,
    "another form": lambda it: json.dumps(_listed(it)).encode() + b"\n}\n",
    "no text": lambda it: it.joinpath(LIST).read_bytes().replace(b"greets", b"gr\xffets"),
    "another format": lambda it: it.joinpath(LIST).read_bytes().replace(b": 1,", b": 2,"),
    "one more field": lambda it: _text(_listed(it) | {"rights": ["net *:443"]}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_lists_that_mean_harm_are_refused(signed: Path, publisher: Publisher, name: str) -> None:
    publisher.sign_bytes(signed, HOSTILE[name](signed))
    assert _verdict(signed).signature is Signature.TAMPERED


def test_what_no_plugin_holds_is_not_signed(tmp_path: Path, publisher: Publisher) -> None:
    folder = _folder(tmp_path)
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(PluginFailed, match="link"):
        publisher.sign(folder)
    (folder / "link").unlink()
    (folder / "x.pyc").write_bytes(b"")
    with pytest.raises(PluginFailed, match="compiled"):
        publisher.sign(folder)
    (folder / "x.pyc").unlink()
    bad = os.fsencode(folder) + b"/\xff.txt"
    os.close(os.open(bad, os.O_CREAT))
    with pytest.raises(PluginFailed, match="UTF-8"):
        publisher.sign(folder)
    Path(os.fsdecode(bad)).unlink()
    (folder / "plugin.toml").write_text('id = "greets"\n')
    with pytest.raises(InvalidInput, match="no version"):
        publisher.sign(folder)


# Keys


def test_a_private_key_is_for_its_owner_alone(tmp_path: Path, publisher: Publisher) -> None:
    assert stat.S_IMODE(publisher.file.stat().st_mode) == 0o600
    before = publisher.file.read_bytes()
    with pytest.raises(Conflict, match="already"):
        write_new_key(publisher.file)
    assert publisher.file.read_bytes() == before
    publisher.file.chmod(0o640)
    with pytest.raises(InvalidInput, match="others may read"):
        read_key(publisher.file)
    publisher.file.write_text("no key")
    publisher.file.chmod(0o600)
    with pytest.raises(InvalidInput, match="no private Ed25519 key"):
        read_key(publisher.file)
    with pytest.raises(InvalidInput, match="can't be read"):
        read_key(tmp_path / "nowhere")


# Versions and pins


def test_versions_have_their_order() -> None:
    ordered = (
        "0.9.9",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.0.1",
        "1.10.0",
        "2.0.0",
    )
    keys = [order(version) for version in ordered]
    assert all(before < after for before, after in pairwise(keys))
    assert order("1.0.0+a") == order("1.0.0+b")
    assert order("1.0.0-rc.1+x") < order("1.0.0")


@asynccontextmanager
async def _plugins(directory: Path) -> AsyncIterator[Plugins]:
    store = await open_store(f"sqlite:///{directory / 'trust.db'}")
    try:
        yield Plugins(store.database)
    finally:
        await store.close()


async def _loaded(store: Plugins, *, require: bool = False, checksum: bool = True) -> Trust:
    trust = Trust(store, SystemClock(), require_signature=require, verify_checksum=checksum)
    await trust.load()
    return trust


@asynccontextmanager
async def _trust(
    directory: Path, *, require: bool = False, checksum: bool = True
) -> AsyncIterator[Trust]:
    async with _plugins(directory) as store:
        yield await _loaded(store, require=require, checksum=checksum)


def _admit(trust: Trust, folder: Path, record: PluginRecord) -> PluginRecord:
    """What is kept once that ran."""
    package = read(folder)
    verdict = trust.examine(read_content(package), package.manifest)
    trust.admit(verdict, package.manifest, record)
    return pinned(record, verdict, package.manifest.version)


async def test_a_publisher_and_a_version_are_pinned(
    tmp_path: Path, publisher: Publisher, other: Publisher
) -> None:
    record = PluginRecord("greets")
    async with _trust(tmp_path) as trust:
        record = _admit(trust, publisher.sign(_folder(tmp_path, "1.2.0")), record)
        assert (record.publisher, record.highest) == (publisher.key, "1.2.0")
        for version in ("1.1.9", "1.2.0-rc.1"):
            with pytest.raises(PolicyRefused, match=r"downgrade.*--repin"):
                _admit(trust, publisher.sign(_folder(tmp_path, version)), record)
        record = _admit(trust, publisher.sign(_folder(tmp_path, "1.10.0")), record)
        assert record.highest == "1.10.0"
        with pytest.raises(PolicyRefused, match=r"signed by .*--repin"):
            _admit(trust, other.sign(_folder(tmp_path, "1.11.0")), record)
        for name in (LIST, SIGNATURES):
            (tmp_path / "greets" / name).unlink()
        with pytest.raises(PolicyRefused, match="by nobody"):
            _admit(trust, tmp_path / "greets", record)
        folder = other.sign(_folder(tmp_path, "1.0.0"))
        verdict = trust.examine(read_content(read(folder)), read(folder).manifest)
        record = _admit(trust, folder, repinned(record, verdict, "1.0.0"))
        assert (record.publisher, record.highest) == (other.key, "1.0.0")


async def test_a_publisher_changes_the_key_by_signing_with_both(
    tmp_path: Path, publisher: Publisher, other: Publisher
) -> None:
    record = PluginRecord("greets", publisher=publisher.key, highest="1.0.0")
    async with _trust(tmp_path) as trust:
        record = _admit(trust, other.sign(_folder(tmp_path, "1.1.0"), publisher), record)
        assert record.publisher == other.key
        record = _admit(trust, other.sign(_folder(tmp_path, "1.2.0")), record)
        with pytest.raises(PolicyRefused, match="was signed by"):
            _admit(trust, publisher.sign(_folder(tmp_path, "1.3.0")), record)
        # The word of a key that was revoked counts for nothing.
        before = msgspec.structs.replace(record, publisher=publisher.key)
        await trust.revoke(publisher.key)
        with pytest.raises(PolicyRefused, match="was signed by"):
            _admit(trust, other.sign(_folder(tmp_path, "1.3.0"), publisher), before)


async def test_what_no_trusted_key_signed_is_refused_where_that_is_wanted(
    tmp_path: Path, publisher: Publisher, other: Publisher
) -> None:
    record = PluginRecord("greets")
    async with _trust(tmp_path, require=True) as trust:
        folder = _folder(tmp_path)
        with pytest.raises(PolicyRefused, match="is unsigned") as refused:
            _admit(trust, folder, record)
        assert refused.value.details["signature"] == "unsigned"
        with pytest.raises(PolicyRefused, match=f"mltb plugins trust {publisher.key}"):
            _admit(trust, publisher.sign(folder), record)
        await trust.trust(publisher.key, "ann")
        _admit(trust, folder, record)
        # One that is trusted has signed it; the publisher need not be.
        _admit(trust, other.sign(folder, publisher), record)
        await trust.revoke(publisher.key)
        with pytest.raises(PolicyRefused, match="untrusted"):
            _admit(trust, folder, record)
        with pytest.raises(PolicyRefused, match="revoked"):
            _admit(trust, publisher.sign(folder), record)
        with pytest.raises(InvalidInput, match="no public key"):
            await trust.trust(publisher.key[:-1] + "!", "ann")
    async with _trust(tmp_path) as trust:
        (kept,) = trust.keys()
        assert (kept.key, kept.name, kept.revoked) == (publisher.key, "ann", True)
        with pytest.raises(PolicyRefused, match="revoked"):
            _admit(trust, folder, record)


async def test_checksums_that_nobody_signed_are_a_matter_of_the_settings(
    tmp_path: Path, signed: Path
) -> None:
    (signed / SIGNATURES).unlink()
    _flip(signed / "plugin.py", 5)
    async with _trust(tmp_path) as trust:
        with pytest.raises(PolicyRefused, match="tampered"):
            _admit(trust, signed, PluginRecord("greets"))
    async with _trust(tmp_path, checksum=False) as trust:
        _admit(trust, signed, PluginRecord("greets"))


def test_a_copy_that_somebody_changed_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = _folder(tmp_path)
    (folder / "data" / "words.txt").chmod(0o755)
    content = read_content(read(folder))
    vault = Vault(tmp_path / "vault")
    copy = vault.keep(content, verify=True)
    assert copy == vault.keep(content, verify=True)
    assert not caplog.records
    modes = [(copy / name).stat().st_mode & 0o777 for name in ("plugin.py", "data/words.txt")]
    assert modes == [0o444, 0o555]
    (copy / "plugin.py").chmod(0o644)
    (copy / "plugin.py").write_text("import evil")
    vault.keep(content, verify=False)
    assert (copy / "plugin.py").read_text() == "import evil"
    vault.keep(content, verify=True)
    assert (copy / "plugin.py").read_bytes() == content.files["plugin.py"]
    assert "was changed" in caplog.text


# Without walls


def _no_walls() -> tiers.Tier:
    """A machine with neither Landlock nor namespaces."""
    return tiers.best(bubblewrap=False, landlock_version=0, filters=True)


@asynccontextmanager
async def _launcher(directory: Path, policy: Policy) -> AsyncIterator[tuple[Launcher, Plugins]]:
    http = CurlLoop(EgressPolicy(()))
    async with _plugins(directory) as store:
        launcher = Launcher(
            directory / "home",
            policy=policy,
            store=store,
            http=http,
            clock=SystemClock(),
            publish=lambda _: None,
            trust=await _loaded(store),
            walls=_no_walls,
        )
        yield launcher, store
    await http.close()


@asynccontextmanager
async def _host(directory: Path, policy: Policy) -> AsyncIterator[PluginHost]:
    """The plugins below ``directory``, which have not started yet."""
    async with _launcher(directory, policy) as (launcher, store):
        host = PluginHost(
            directory / "plugins",
            launcher,
            store,
            calls=policy.calls,
            cpu_share=1.0,
            auto_load=True,
            watch=False,
            clock=SystemClock(),
        )
        try:
            yield host
        finally:
            await host.shutdown()


def _policy(*, sandbox: bool = True, full_trust: Sequence[str] = ()) -> Policy:
    return Policy(
        memory=128 * MIB,
        disk=MIB,
        values=MIB,
        timeout=30.0,
        calls=4,
        imports=None,
        sandbox=sandbox,
        full_trust=full_trust,
    )


async def test_where_no_walls_can_be_built_nothing_runs_but_what_the_settings_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plugins, secret = tmp_path / "plugins", tmp_path / "secret"
    secret.write_text("a secret of the host")
    _folder(plugins)
    (plugins / "walled.py").write_text(_CODE.replace("Greets", "Walled"))
    async with _host(tmp_path, _policy(full_trust=["greets"])) as host:
        host.start()
        await host.started()
        walled, free = host.info("walled"), host.info("greets")
        assert (walled.state, walled.pid, walled.tier) == (PluginState.FAILED, None, None)
        assert "no Landlock" in str(walled.reason)
        with pytest.raises(Conflict):
            await host.execute_plugin("walled")
        assert (free.state, free.tier) == (PluginState.RUNNING, "none")
        assert await host.execute_plugin("greets", str(secret)) == "a secret of the host"
        assert "greets runs without walls" in caplog.text
    async with _host(tmp_path, _policy(sandbox=False)) as host:
        host.start()
        await host.started()
        assert {each.tier for each in host.list_plugins()} == {"none"}


_HANGS = """
    async def initialize(self):
        import asyncio
        print("here")
        await asyncio.sleep(3600)
"""


def _says(host: PluginHost) -> list[str]:
    return list(host.lines("greets")) if host.list_plugins() else []


async def test_a_plugin_whose_key_is_revoked_while_it_starts_does_not(
    tmp_path: Path, publisher: Publisher
) -> None:
    folder = _folder(tmp_path / "plugins")
    with (folder / "plugin.py").open("a") as file:
        file.write(_HANGS)
    publisher.sign(folder)
    async with _host(tmp_path, _policy(sandbox=False)) as host:
        host.start()
        await asyncio.to_thread(
            eventually, lambda: _says(host) == ["here"], lambda: str(host.list_plugins())
        )
        _, ended = await host.publishers.revoke(publisher.key)
        assert ended == ["greets"]
        await host.started()
        found = host.info("greets")
        assert (found.state, found.publisher) == (PluginState.REFUSED, publisher.key)
        assert "revoked" in str(found.reason)


async def test_a_plugin_that_changes_while_it_is_looked_at_is_noticed(tmp_path: Path) -> None:
    package = read(_folder(tmp_path))
    async with _launcher(tmp_path, _policy()) as (launcher, _):
        content, verdict = await launcher.examine(package)
        assert (len(content.files), verdict.signature) == (3, Signature.UNSIGNED)
        _folder(tmp_path, "1.0.0", 'rights.net = ["example.org:443"]\n')
        with pytest.raises(PluginFailed, match="changed while it was read"):
            await launcher.examine(package)


# The service


def _greets(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service.client.get("/plugins/greets")
    return found


def _until(service: Service, state: str) -> dict[str, Any]:
    eventually(
        lambda: any(
            each["id"] == "greets" and each["state"] == state
            for each in service.client.get("/plugins/list")["items"]
        ),
        lambda: str(service.client.get("/plugins/list")),
    )
    return _greets(service)


def _post(service: Service, verb: str, **body: object) -> dict[str, Any]:
    wanted = body if "key" in body else {"plugin_name": "greets", **body}
    found: dict[str, Any] = service.client.post(f"/plugins/{verb}", wanted)
    return found


def test_from_a_key_to_a_plugin_whose_publisher_is_revoked(tmp_path: Path) -> None:
    service = Service(
        tmp_path,
        PLUGIN_SECURITY=json.dumps({"require_signature": True}),
        PLUGIN_FULL_TRUST="greets",
        PLUGIN_HOT_RELOAD="false",
    )
    folder, file = _folder(service.plugins), tmp_path / "ann.key"
    key = service.run("plugins", "keygen", str(file)).out.strip()
    with service:
        refused = _until(service, "refused")
        assert (refused["signature"], refused["publisher"]) == ("unsigned", None)
        ran = service.run("plugins", "sign", str(folder), "--key", str(file))
        assert ran.out == f"greets signed by {key}\n", ran
        refused = _post(service, "enable")
        assert (refused["signature"], refused["publisher"]) == ("untrusted", key)
        assert service.run("plugins", "trust", key, "--name", "Ann").out == f"{key} trusted\n"
        found = _post(service, "enable")
        assert (found["signature"], found["state"], found["tier"]) == ("signed", "running", "none")

        # A good signature lifts no restriction: what asks for more waits for a word.
        ann = read_key(file)
        sign_folder(_folder(service.plugins, "1.1.0", 'rights.net = ["a.org:1"]\n'), [ann])
        with pytest.raises(ServiceError, match="was not granted"):
            _post(service, "reload")
        sign_folder(_folder(service.plugins, "1.1.0"), [ann])
        _flip(folder / "data/words.txt", 0)
        ran = service.run("plugins", "verify", str(folder), "--json")
        assert (ran.status, ran.lines[0]["signature"]) == (1, "tampered")
        with pytest.raises(ServiceError, match="is tampered") as tampered:
            _post(service, "reload")
        assert tampered.value.details["signature"] == "tampered"
        sign_folder(_folder(service.plugins, "1.1.0"), [ann])
        assert _post(service, "reload")["version"] == "1.1.0"
        sign_folder(_folder(service.plugins, "1.0.9"), [ann])
        with pytest.raises(ServiceError, match="downgrade"):
            _post(service, "reload")

        # Another publisher waits for a word, too, however trusted.
        eve = Publisher(tmp_path, "eve")
        eve.sign(_folder(service.plugins, "1.0.0"))
        _post(service, "keys/trust", key=eve.key, name="Eve")
        with pytest.raises(ServiceError, match=f"was signed by {key}"):
            _post(service, "reload")
        assert _greets(service)["version"] == "1.1.0"
        _post(service, "enable", repin=True)
        found = _post(service, "reload")
        assert (found["publisher"], found["version"]) == (eve.key, "1.0.0")

        ran = service.run("plugins", "revoke", eve.key)
        assert ran.out == f"{eve.key} revoked; ended: greets\n", ran
        found = _greets(service)
        assert (found["state"], found["pid"]) == ("refused", None)
        assert "revoked" in _post(service, "enable", repin=True)["reason"]
        service.kill()
        service.start()
        assert "revoked" in _until(service, "refused")["reason"]
        kept = service.run("plugins", "keys", "--json").lines
        assert {(each["key"], each["name"], each["revoked"]) for each in kept} == {
            (key, "Ann", False),
            (eve.key, "Eve", True),
        }
    assert "greets runs without walls" in service.log
