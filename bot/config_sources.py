"""Where settings come from, and the words for what is wrong with them.

Every source becomes one flat dictionary: ``name``, or ``group__key`` for a key of a setting that
is a dictionary. What a source holds that is no setting becomes a line in ``problems``.
"""

from __future__ import annotations

import difflib
import io
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from dotenv.parser import parse_stream
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bot.config_types import NestedModel

NESTED = "__"


class Declared:
    """The names that a class of settings declares."""

    def __init__(self, settings: type[BaseModel]) -> None:
        self.fields = settings.model_fields
        #: The settings that are dictionaries, with their models.
        self.groups: dict[str, type[NestedModel]] = {
            name: field.annotation
            for name, field in self.fields.items()
            if isinstance(field.annotation, type) and issubclass(field.annotation, NestedModel)
        }
        #: Those that are lists of dictionaries, with the models of these.
        self.lists: dict[str, type[NestedModel]] = {
            name: inner
            for name, field in self.fields.items()
            for inner in get_args(field.annotation)[:1]
            if isinstance(inner, type) and issubclass(inner, NestedModel)
        }

    def leaves(self) -> dict[str, FieldInfo]:
        """Every name that holds one value (``name`` or ``group__key``), in order."""
        found: dict[str, FieldInfo] = {}
        for name, field in self.fields.items():
            if name in self.groups:
                inner = self.groups[name].model_fields
                found |= {f"{name}{NESTED}{key}": value for key, value in inner.items()}
            else:
                found[name] = field
        return found

    def is_secret(self, name: str) -> bool:
        """Whether the value under ``name`` (a leaf, or a whole group) is, or holds, a secret."""
        inner = self.lists[name].model_fields.values() if name in self.lists else ()
        named = (
            field
            for leaf, field in self.leaves().items()
            if leaf == name or leaf.startswith(f"{name}{NESTED}")
        )
        return any("SecretStr" in str(field.annotation) for field in (*named, *inner))

    def unknown(self, name: str, origin: str) -> str:
        """The line about a name that no setting has."""
        known = [leaf.upper() for leaf in [*self.leaves(), *self.groups]]
        near = difflib.get_close_matches(name.upper(), known, n=1)
        did = f"; did you mean {near[0]}?" if near else "; `mltb config` lists the known names"
        return f"{name} ({origin}): no setting has that name{did}"

    def wrong(self, item: Mapping[str, Any], origins: Mapping[str, str]) -> str:
        """The line about a wrong value (``item`` as pydantic reports it): name, origin, value and
        what is allowed."""
        place = [str(part) for part in item["loc"]] or ["settings"]
        depth = 2 if place[0] in self.groups else 1
        name = NESTED.join(place[:depth])
        given = "***" if self.is_secret(name) else repr(item.get("input"))
        allowed = item["msg"].removeprefix("Value error, ")
        if item["type"] == "model_type":
            allowed = f"write a dictionary, or {name.upper()}{NESTED}KEY for each key"
        if item["type"] == "list_type" and name in self.lists:
            allowed = "write a list of dictionaries (as JSON in the environment)"
        if item["type"] == "extra_forbidden" and name in self.lists:
            fields = self.lists[name].model_fields.items()
            allowed = f"known are {', '.join(field.alias or key for key, field in fields)}"
        where = _within(place[depth:]) if name in self.lists else ""
        origin = origins.get(name, "default")
        return f"{name.upper()}{where} ({origin}): {given} is wrong: {allowed}"

    def flat(self, name: str, value: Any, origin: str, problems: list[str]) -> dict[str, Any]:
        """What one setting of a source says, by leaves."""
        model = self.groups.get(name)
        if model is None or not isinstance(value, dict):
            return {name: value}
        found = {}
        for key, inner in value.items():
            if key in model.model_fields:
                found[f"{name}{NESTED}{key}"] = inner
            else:
                problems.append(self.unknown(f"{name}{NESTED}{key}".upper(), origin))
        return found

    def nested(self, leaves: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the class of settings."""
        found: dict[str, Any] = {}
        for leaf, value in leaves.items():
            group, mark, key = leaf.partition(NESTED)
            if mark:
                found.setdefault(group, {})[key] = value
        return found | {leaf: value for leaf, value in leaves.items() if NESTED not in leaf}


def _within(place: Sequence[str]) -> str:
    """Where in a list of dictionaries: ``[0].url``."""
    return "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in place)


def from_dotenv(path: Path, declared: Declared, problems: list[str]) -> dict[str, Any]:
    """The settings of a ``.env`` file; nothing where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: can't be read: {error}")
        return {}
    names: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            # Not the line itself: it may hold a secret.
            problems.append(f"{path}: line {binding.original.line} is not NAME=VALUE")
        elif binding.key is not None:
            names[binding.key] = binding.value or ""
    return from_names(names, ".env", declared, problems, strict=True)


def from_names(
    names: Mapping[str, str], origin: str, declared: Declared, problems: list[str], *, strict: bool
) -> dict[str, Any]:
    """The settings among ``names``; an unknown one is a problem where ``strict``.

    ``GROUP__KEY`` is always ours when GROUP is a dictionary setting, so a wrong KEY is a problem
    in the environment as well. An empty value means the default, as in a compose file that passes
    every name on.
    """
    leaves = declared.leaves()
    found: dict[str, Any] = {}
    keys: dict[str, Any] = {}
    for raw, value in names.items():
        name = raw.lower()
        group, mark, _ = name.partition(NESTED)
        if not raw.isupper() or (name not in leaves and group not in declared.groups):
            if strict:
                problems.append(declared.unknown(raw, origin))
        elif name not in leaves and mark:
            problems.append(declared.unknown(raw, origin))
        elif _is_blank(value):
            continue
        elif mark:
            keys[name] = value
        else:
            found |= declared.flat(name, _parsed(name, value, declared), origin, problems)
    return found | keys


def _parsed(name: str, value: str, declared: Declared) -> Any:
    """A whole dictionary, or a list of some, is written as JSON; everything else stays text."""
    if name in declared.groups or name in declared.lists:
        try:
            return json.loads(value)
        except ValueError:
            pass
    return value


def from_config_py(path: Path, declared: Declared, problems: list[str]) -> dict[str, Any]:
    """The upper-case names of the operator's ``config.py``.

    The dictionary settings are there already, so that ``GROUP["key"] = value`` works. The file is
    code that runs with the rights of the service, so nobody else may be able to write it.
    """
    code = _own_code(path, problems)
    if code is None:
        return {}
    namespace: dict[str, Any] = {name.upper(): {} for name in declared.groups}
    try:
        exec(compile(code, str(path), "exec"), namespace)  # noqa: S102
    except Exception as error:  # noqa: BLE001 - the operator's code may raise anything
        problems.append(f"{path}: {type(error).__name__}: {error}")
        return {}
    found: dict[str, Any] = {}
    for raw, value in namespace.items():
        name = raw.lower()
        if not raw.isupper() or raw.startswith("_"):
            continue
        if name in declared.fields:
            found |= declared.flat(name, value, "config.py", problems)
        else:
            problems.append(declared.unknown(raw, "config.py"))
    return {name: value for name, value in found.items() if not _is_blank(value)}


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _own_code(path: Path, problems: list[str]) -> bytes | None:
    """The content of a file that only this user (or root) can write; None where there is none."""
    try:
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            if info.st_uid in {0, os.getuid()} and not info.st_mode & stat.S_IWOTH:
                return file.read()
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError as error:
        problems.append(f"{path}: can't be read: {error}")
        return None
    problems.append(
        f"{path}: is run as code, but another user can write it; "
        "give it to the user of the service and chmod o-w it"
    )
    return None
