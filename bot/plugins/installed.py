"""Plugins that come in installed packages, by the entry point ``mltb.plugins``.

    [project.entry-points."mltb.plugins"]
    acme_alerts = "acme.alerts"

The name is that of the plugin, the value the package whose folder holds its ``plugin.toml``.
Nothing of it is imported here: the list of the distribution's files says where the folder lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from bot.errors import PluginFailed
from bot.plugins.manifest import MANIFEST, Broken, Package, discover, printable, read

GROUP = "mltb.plugins"


def find(directory: Path) -> list[Package | Broken]:
    """Every plugin: what lies in ``directory``, and what is installed. A name that two have is
    nobody's."""
    found = {each.id: each for each in discover(directory)}
    for each in _installed():
        other = found.get(each.id)
        if other is not None:
            theirs = other.origin or str(other.root)
            reason = f"{each.origin} and {theirs} have a plugin called {each.id}; one has to go"
            each = Broken(each.id, each.root, reason, each.origin)  # noqa: PLW2901
        found[each.id] = each
    return list(found.values())


def _installed() -> Iterator[Package | Broken]:
    for point in metadata.entry_points(group=GROUP):
        distribution = point.dist
        if distribution is None:
            continue
        origin = printable(distribution.name)
        path = Path(*point.module.split("."), MANIFEST)
        try:
            yield read(_folder(distribution, path), point.name, origin)
        except PluginFailed as error:
            yield Broken(printable(point.name), path.parent, error.message, origin)


def _folder(distribution: metadata.Distribution, manifest: Path) -> Path:
    for file in distribution.files or ():
        if Path(file) == manifest:
            return Path(str(distribution.locate_file(file))).parent
    raise PluginFailed(
        f"{distribution.name} lists no file {printable(str(manifest))}",
        hint="one that was installed as editable is not looked into",
    )
