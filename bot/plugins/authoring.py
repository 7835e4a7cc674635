"""Writes the beginning of a plugin: a folder that works, and its test."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from string import Template

from bot.errors import Conflict, InvalidInput, PluginFailed
from bot.plugins.loading import class_name
from bot.plugins.manifest import MANIFEST, TYPES, identifier

_MANIFEST = """\
id = "$name"
version = "0.1.0"
api = ">=1,<2"
entry = "$name.py"
type = "$type"
description = "$about"
"""
_README = """\
# $name

$about

    mltb plugins test .
    pytest
"""


def write_plugin(name: str, kind: str, directory: Path) -> Path:
    """The folder ``name`` in ``directory``, with a manifest, code, a README and a test.

    InvalidInput where the name or the type is none; Conflict where something is in the way.
    """
    if kind not in TYPES:
        raise InvalidInput(f"there is no type {kind!r}", hint=", ".join(TYPES))
    try:
        words = {"name": identifier(name), "type": kind, "cls": class_name(name)}
    except PluginFailed as error:
        raise InvalidInput(error.message, hint=error.hint) from None
    code, test, more = _template(kind)
    words["about"] = code.partition('"""')[2].partition('"""')[0]
    files = {
        MANIFEST: _MANIFEST + more,
        f"{name}.py": code,
        f"test_{name}.py": test,
        "README.md": _README,
    }
    root = directory / name
    try:
        root.mkdir(parents=True)
        for file, text in files.items():
            content = Template(text).substitute(words)
            (root / file).write_text(content, encoding="utf-8")
    except FileExistsError:
        raise Conflict(f"{root} is there already", hint="choose another name or --dir") from None
    except OSError as error:
        raise InvalidInput(f"{root} can't be written: {error.strerror}") from None
    return root


def _template(kind: str) -> tuple[str, str, str]:
    """The code, its test, and what the manifest has more."""
    place = resources.files("bot.plugins") / "templates" / f"{kind}.txt"
    code, test, more = place.read_text(encoding="utf-8").split("=====\n")
    return code, test, more
