"""From a file to a plugin object, inside of the sandbox.

The class is the one named after the file (``my_custom_plugin`` → ``MyCustomPlugin``), else the only
subclass of ``BasePlugin`` that the file defines.
"""

from __future__ import annotations
import __future__

import builtins
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bot.plugins.api import BasePlugin, Host, PluginMetadata
from bot.plugins.hooks import PAYLOADS

if TYPE_CHECKING:
    from bot.plugins.worker import Spec

#: What every plugin may import, whatever the allow-list says: its own base classes.
_ALWAYS = ("bot.core.plugin_manager", "typing", "__future__")
#: Annotations are not evaluated (PEP 563), so a name that only they use needs no import.
_ANNOTATIONS = __future__.annotations.compiler_flag


class BadPlugin(Exception):
    """The file is no plugin; the message says why."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin and what the host is told about it."""

    plugin: BasePlugin
    description: dict[str, Any]


def load_plugin(spec: Spec, host: Host) -> Loaded:
    """Read, compile and run the file, and make the plugin. BadPlugin where that can't be."""
    path = Path(spec.code)
    source = path.read_bytes()
    try:
        code = compile(source, str(path), "exec", _ANNOTATIONS, dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise BadPlugin(f"{path.name} is no Python: {error}") from None
    module = types.ModuleType(spec.module)
    module.__file__ = str(path)
    module.__dict__["__builtins__"] = _builtins(spec.imports)
    sys.modules[spec.module] = module
    exec(code, module.__dict__)  # noqa: S102 - this is what the sandbox is for
    kind = _plugin_class(module, spec.module)
    given = (
        msgspec.structs.asdict(kind.metadata) if kind.metadata is not BasePlugin.metadata else {}
    )
    metadata = PluginMetadata(
        **{
            "type": kind.type,
            "description": (kind.__doc__ or "").strip().split("\n")[0],
            **given,
            **spec.metadata,
            "name": spec.plugin,
        }
    )
    plugin = kind(metadata, host)
    plugin.replace_config(spec.config)
    hooks = sorted(PAYLOADS.keys() & set(_methods(kind)))
    return Loaded(
        plugin,
        {
            **msgspec.to_builtins(metadata),
            "type": metadata.type,
            "hooks": hooks,
            "state_version": kind.state_version,
        },
    )


def _methods(kind: type) -> Iterable[str]:
    """The public names that a class and its bases below ``BasePlugin`` define."""
    for each in kind.__mro__:
        if each is BasePlugin:
            return
        yield from (name for name in vars(each) if not name.startswith("_"))


def class_name(module: str) -> str:
    """``my_custom_plugin`` → ``MyCustomPlugin``."""
    return "".join(part.capitalize() for part in module.split("_"))


def _plugin_class(module: types.ModuleType, name: str) -> type[BasePlugin]:
    wanted = class_name(name)
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__
    ]
    for kind in found:
        if kind.__name__.lower() == wanted.lower():
            if not issubclass(kind, BasePlugin):
                raise BadPlugin(f"{kind.__name__} is no subclass of BasePlugin")
            return kind
    plugins = [kind for kind in found if issubclass(kind, BasePlugin)]
    if len(plugins) != 1:
        names = ", ".join(kind.__name__ for kind in plugins) or "none"
        raise BadPlugin(
            f"a class {wanted} is needed, or one subclass of BasePlugin; there: {names}"
        )
    return plugins[0]


def _builtins(allowed: list[str] | None) -> dict[str, Any]:
    """The built-in names, with imports that say early what would not work later.

    A policy with a clear error, not a boundary: the kernel is that.
    """
    names = dict(vars(builtins))
    if allowed is None:
        return names
    permitted = {*allowed, *_ALWAYS}
    original = builtins.__import__

    def guarded(
        name: str,
        globals: Any = None,  # noqa: A002
        locals: Any = None,  # noqa: A002
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        parts = name.split(".")
        if level == 0 and not any(
            ".".join(parts[:count]) in permitted for count in range(1, len(parts) + 1)
        ):
            known = ", ".join(sorted(allowed))
            raise ImportError(f"{name} may not be imported: PLUGIN_ALLOWED_IMPORTS has {known}")
        return original(name, globals, locals, fromlist, level)

    names["__import__"] = guarded
    return names
