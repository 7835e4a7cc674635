"""What a plugin says of itself before any of its code runs, and where its files lie.

Two forms: one file ``name.py``, with the least rights; or a folder with ``plugin.toml``. The names
in a manifest that nothing reads are errors, so that a right which is misspelt is not one less.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from bot.errors import PluginFailed
from bot.plugins.api import API_VERSION
from bot.plugins.config_schema import ConfigSchema

MANIFEST = "plugin.toml"
#: Words of the interface where the name of a plugin would be.
_TAKEN = frozenset({"keys", "list"})
_ID = re.compile(r"[a-z][a-z0-9_]{0,63}")
_VERSION = r"^\d{1,6}\.\d{1,6}\.\d{1,6}(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?\Z"
_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?:\d{1,5}", re.ASCII)
_RANGE = re.compile(r"(>=|>|<=|<|==)\s*(\d{1,6})(?:\.(\d{1,6}))?", re.ASCII)
_PORTS = {"http": 80, "https": 443}
_MANIFEST_SIZE = 64 * 1024

#: What plugins are for; more can be registered.
TYPES = ("backup", "alert", "monitor", "task", "source", "custom")
_TYPE = r"\A[a-z][a-z0-9_]{0,31}\Z"


class Rights(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a plugin asks for. ``net`` are hosts with ports that it reaches through the host;
    ``decide`` lets its answers change what tasks do; ``link`` lets it reach the host of the link
    that it is asked about, while it is; ``net_from_config`` are names in its
    configuration: of the URLs (one, or a list) that the operator sets there, it reaches the hosts.
    """

    net: list[str] = []
    decide: bool = False
    link: bool = False
    net_from_config: list[str] = []

    def hosts(self, config: Mapping[str, Any]) -> list[str]:
        """The hosts with ports, where the configuration is that one."""
        found = [config.get(name) for name in self.net_from_config]
        urls = [url for each in found for url in (each if isinstance(each, list) else [each])]
        return list(dict.fromkeys([*self.net, *filter(None, map(_host_of, urls))]))

    def words(self, config: Mapping[str, Any]) -> list[str]:
        """Each right in the words in which it is granted."""
        nets = [f"net {host}" for host in self.hosts(config)]
        words = {"decide": self.decide, "link": self.link}
        return [*nets, *(word for word, wanted in words.items() if wanted)]


def _host_of(url: Any) -> str | None:
    """``host:port`` of an http(s) URL; None of anything else."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    host = f"{parts.hostname}:{port}"
    wanted = parts.scheme in _PORTS and not host.startswith("*") and _HOST.fullmatch(host)
    return host if wanted else None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Lower limits than the operator's, in MB and seconds; higher ones are cut to those."""

    memory: Annotated[int, msgspec.Meta(ge=32)] | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The links that a source plugin is asked about, as patterns such as ``https://host/*``."""

    match: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=500)]], msgspec.Meta(max_length=50)
    ] = []


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``plugin.toml``. ``api`` is a range of interface versions, ``entry`` a file beside it,
    ``config`` the JSON Schema of the plugin's configuration."""

    id: str
    version: Annotated[str, msgspec.Meta(pattern=_VERSION)] = "0.0.0"
    api: str = ">=1,<2"
    entry: str = "plugin.py"
    type: Annotated[str, msgspec.Meta(pattern=_TYPE)] | None = None
    author: str = ""
    description: str = ""
    rights: Rights = Rights()
    limits: Limits = Limits()
    source: Source = Source()
    config: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Package:
    """A plugin on the disk: its manifest, its root (a file or a folder), its file to load.
    ``origin`` is the distribution that it was installed with, empty for PLUGINS_DIR."""

    manifest: Manifest
    root: Path
    entry: Path
    origin: str = ""

    @property
    def id(self) -> str:
        """Its name."""
        return self.manifest.id

    @property
    def schema(self) -> ConfigSchema:
        """What its configuration has to be."""
        return ConfigSchema(self.manifest.config)

    def asks(self, config: dict[str, Any]) -> list[str]:
        """The rights that it asks for with that configuration, in words."""
        rights = self.manifest.rights
        return rights.words(self.schema.with_defaults(config) if rights.net_from_config else {})


@dataclass(frozen=True, slots=True)
class Broken:
    """What looks like a plugin and is none; ``reason`` says why."""

    id: str
    root: Path
    reason: str
    origin: str = ""


def discover(directory: Path) -> list[Package | Broken]:
    """What lies in the plugins directory, by name; nothing where it is not there."""
    if not directory.is_dir():
        return []
    found: dict[str, Package | Broken] = {}
    for path in sorted(directory.iterdir()):
        name = printable(path.stem if path.suffix == ".py" else path.name)
        if name.startswith((".", "_")):
            continue
        try:
            if path.suffix != ".py" and not (path / MANIFEST).exists():
                continue
            if name in found:
                raise PluginFailed(f"a file and a folder are called {name}; one of them has to go")
            found[name] = read(path)
        except PluginFailed as error:
            found[name] = Broken(name, path, error.message)
        except OSError as error:
            found[name] = Broken(name, path, f"it can't be read: {error.strerror}")
    return list(found.values())


def printable(name: str) -> str:
    """A name from the disk with escapes for what nobody can show, such as bytes that are no
    UTF-8."""
    return name if name.isprintable() else repr(name)[1:-1]


def read(root: Path, name: str | None = None, origin: str = "") -> Package:
    """The plugin at ``root``, which has to have that name (the folder's where None is given).
    PluginFailed where it is none, with the reason."""
    if root.is_symlink():
        raise PluginFailed(f"{root.name} is a link", hint="copy the plugin there")
    if root.suffix == ".py":
        manifest = Manifest(id=identifier(root.stem))
        return Package(manifest, root, root)
    manifest, name = _manifest(root / MANIFEST), name or root.name
    if manifest.id != name:
        raise PluginFailed(f"the folder {printable(name)} holds the plugin {manifest.id}")
    entry = root / manifest.entry
    if entry.parent != root or entry.is_symlink() or not entry.is_file():
        raise PluginFailed(f"entry = {manifest.entry!r}: no file of that name lies in the folder")
    return Package(manifest, root, entry, origin)


def _manifest(path: Path) -> Manifest:
    try:
        with path.open("rb") as file:
            text = file.read(_MANIFEST_SIZE + 1)
    except OSError as error:
        raise PluginFailed(f"{MANIFEST} can't be read: {error.strerror}") from None
    return parse(text)


def parse(text: bytes) -> Manifest:
    """What ``plugin.toml`` says. PluginFailed where it is no manifest, or not for this program."""
    if len(text) > _MANIFEST_SIZE:
        raise PluginFailed(f"{MANIFEST} has more than {_MANIFEST_SIZE} bytes")
    try:
        manifest = msgspec.convert(tomllib.loads(text.decode()), Manifest)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise PluginFailed(f"{MANIFEST}: {error}") from None
    except (RecursionError, ValueError):  # nested without end, or a number without end
        raise PluginFailed(f"{MANIFEST} is no manifest that anybody wrote") from None
    identifier(manifest.id)
    if not fits(manifest.api, API_VERSION):
        raise PluginFailed(f"it needs the interface {manifest.api}; here is {API_VERSION}")
    for host in manifest.rights.net:
        if not _HOST.fullmatch(host):
            raise PluginFailed(f"rights.net: {host!r} is no host:port")
    ConfigSchema(manifest.config)
    return manifest


def identifier(name: str) -> str:
    """The same, where it can be the name of a plugin; else PluginFailed."""
    if name in _TAKEN:
        raise PluginFailed(f"no plugin can be called {name!r}", hint="the interface has that word")
    if not _ID.fullmatch(name):
        raise PluginFailed(
            f"{name!r} is no name of a plugin", hint="a to z, 0 to 9 and _, at most 64 characters"
        )
    return name


def fits(wanted: str, version: str) -> bool:
    """Whether a version is in a range such as ``>=1,<2``; PluginFailed where that is none."""
    have = _parts(version)
    for condition in wanted.split(","):
        match = _RANGE.fullmatch(condition.strip())
        if match is None:
            raise PluginFailed(f"api = {wanted!r} is no range", hint='write ">=1,<2"')
        bound = (int(match[2]), int(match[3] or 0))
        is_met = {
            ">=": have >= bound,
            ">": have > bound,
            "<=": have <= bound,
            "<": have < bound,
            "==": have == bound,
        }
        if not is_met[match[1]]:
            return False
    return True


def _parts(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def check_type(plugin: str, name: str, types: Collection[str]) -> None:
    """PluginFailed where nobody knows that type of plugin."""
    if name not in types:
        raise PluginFailed(
            f"plugin {plugin} is of the type {name!r}", hint=f"there are {', '.join(sorted(types))}"
        )
