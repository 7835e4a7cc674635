"""The configuration of a plugin: its JSON Schema (draft 2020-12), and what of it is secret.

A schema is the word of a plugin, and so it may be hostile. References lead to ``$defs`` alone and
are put in place before anything is validated, with a cap: nothing is fetched, nothing goes in
circles. Patterns run on an engine that never goes back (time in proportion to the text), which is
why look-around and back-references are refused. Misspelt keywords are errors, as in the manifest.

A value whose schema says ``writeOnly`` is a secret: it is taken, kept and handed to the plugin, and
shown as stars. Stars that come back stand for the value of before. Without a schema, names such as
``password`` or ``api_key`` say it.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from bot.domain.redaction import MASK, names_secret
from bot.errors import InvalidInput, PluginFailed

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_MAX_NODES, _MAX_DEPTH = 2000, 32  # schemas in one, references in place; how deep they lie
_MAX_PATTERNS, _MAX_PATTERN, _MAX_PROGRAM = 32, 200, 256 * 1024  # the last is bytes, compiled
_MAX_CONFIG = 64 * 1024  # bytes as JSON
_MAX_ERRORS = 10
_REFERENCE = re.compile(r"#/\$defs/([A-Za-z0-9_.-]{1,64})")

_ONE = frozenset(
    {
        *("additionalProperties", "unevaluatedProperties", "propertyNames", "items", "contains"),
        *("unevaluatedItems", "not", "if", "then", "else"),
    }
)
_LIST = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAP = frozenset({"properties", "patternProperties", "dependentSchemas"})
_DATA = frozenset(
    {
        *("type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum"),
        *("exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems"),
        *("uniqueItems", "maxContains", "minContains", "maxProperties", "minProperties"),
        *("required", "dependentRequired", "format", "title", "description", "default"),
        *("deprecated", "readOnly", "writeOnly", "examples", "$comment"),
    }
)
#: Those whose schemas are about every value below, whatever its name or place.
_BELOW = ("additionalProperties", "unevaluatedProperties", "items", "contains", "unevaluatedItems")
_HERE = ("if", "then", "else")

Path = tuple[str | int, ...]


class ConfigSchema:
    """What a configuration has to be. ``raw`` is the manifest's table, empty where it has none."""

    def __init__(self, raw: dict[str, Any]) -> None:
        """PluginFailed where it is no schema that is taken."""
        self.raw = raw
        self._schema = _Expansion(raw).root if raw else None
        self._validator = None if self._schema is None else _validator(self._schema)

    def with_defaults(self, config: dict[str, Any]) -> dict[str, Any]:
        """A copy, with the schema's defaults where nothing is set."""
        found = copy.deepcopy(config)
        if self._schema is not None:
            _fill(self._schema, found)
        return found

    def checked(self, config: dict[str, Any]) -> dict[str, Any]:
        """The same, and it fits; else InvalidInput with each place and what is allowed there."""
        found = self.with_defaults(config)
        size = len(msgspec.json.encode(found))
        if size > _MAX_CONFIG:
            raise InvalidInput(f"the configuration has {size} bytes", hint=f"at most {_MAX_CONFIG}")
        if self._validator is None or self._schema is None:
            return found
        wrong = []
        for error in self._validator.iter_errors(found):
            wrong.append({"path": _name(error.instance_path), "message": error.message})
            if len(wrong) == _MAX_ERRORS:
                break
        if wrong:
            known = ", ".join(self._schema.get("properties", ())) or "any"
            raise InvalidInput(
                "; ".join(f"{each['path']}: {each['message']}" for each in wrong),
                hint=f"names that it knows: {known}",
                errors=wrong,
            )
        return found

    def shown(self, config: dict[str, Any]) -> dict[str, Any]:
        """A copy with stars in the places of secrets."""
        found = copy.deepcopy(config)
        for path in self._secrets(config):
            _put(found, path, MASK)
        return found

    def restored(self, config: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
        """A copy in which stars are the secrets of before. InvalidInput where there were none."""
        found = copy.deepcopy(config)
        for path in self._secrets(config):
            if _at(found, path) == MASK:
                value = _at(old, path)
                if value is None:
                    raise InvalidInput(
                        f"{_name(path)}: {MASK} stands for the value of before, and there is none"
                    )
                _put(found, path, copy.deepcopy(value))
        return found

    def secrets(self, config: dict[str, Any]) -> list[str]:
        """The texts that are secret, such as for the redaction of log lines."""
        return [text for path in self._secrets(config) for text in _texts(_at(config, path))]

    def _secrets(self, config: dict[str, Any]) -> list[Path]:
        found = (
            _named_secret(config, ()) if self._schema is None else _said(self._schema, config, ())
        )
        # The outer ones first: what lies in a secret is one with it.
        paths: list[Path] = []
        for path in sorted(set(found), key=len):
            if not any(path[: len(outer)] == outer for outer in paths):
                paths.append(path)
        return paths


class _Expansion:
    """A schema with its references in place."""

    def __init__(self, raw: dict[str, Any]) -> None:
        raw = dict(raw)
        if raw.pop("$schema", DRAFT) != DRAFT:
            raise PluginFailed(f"config: $schema is not {DRAFT}")
        if raw.setdefault("type", "object") != "object" or raw.get("writeOnly"):
            raise PluginFailed('config: the whole is an object, type = "object", and no secret')
        definitions = raw.pop("$defs", {})
        self._definitions = definitions if isinstance(definitions, dict) else {}
        self._nodes = self._patterns = 0
        self._under_way: list[str] = []
        self.root: dict[str, Any] = self._node(raw, 0)

    def _node(self, node: Any, depth: int) -> Any:
        if isinstance(node, bool):
            return node
        self._nodes += 1
        if not isinstance(node, dict):
            raise PluginFailed(f"config: {str(node)[:50]!r} stands where a schema is expected")
        if self._nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise PluginFailed(
                f"config: more than {_MAX_NODES} schemas in one, or {_MAX_DEPTH} levels"
            )
        found: dict[str, Any] = {}
        for keyword, value in node.items():
            if keyword != "$ref":
                found[keyword] = self._value(keyword, value, depth + 1)
        if "$ref" in node:
            target = self._target(node["$ref"], depth + 1)
            if not found:
                return target
            found["allOf"] = [*found.get("allOf", []), target]
        return found

    def _value(self, keyword: str, value: Any, depth: int) -> Any:
        if keyword in _ONE:
            return self._node(value, depth)
        if keyword in _LIST and isinstance(value, list):
            return [self._node(each, depth) for each in value]
        if keyword in _MAP and isinstance(value, dict):
            if keyword == "patternProperties":
                self._pattern(*value)
            return {name: self._node(each, depth) for name, each in value.items()}
        if keyword not in _DATA:
            raise PluginFailed(f"config: {keyword[:50]!r} is no keyword that is taken here")
        if keyword == "pattern":
            self._pattern(value)
        return _json(value, _MAX_DEPTH)

    def _target(self, reference: Any, depth: int) -> Any:
        match = _REFERENCE.fullmatch(str(reference))
        name = match[1] if match else ""
        if name not in self._definitions:
            raise PluginFailed(f"config: $ref = {str(reference)[:100]!r} leads to no #/$defs/NAME")
        if name in self._under_way:
            raise PluginFailed(f"config: {reference!r} goes in circles")
        self._under_way.append(name)
        try:
            return self._node(self._definitions[name], depth)
        finally:
            self._under_way.pop()

    def _pattern(self, *patterns: Any) -> None:
        self._patterns += len(patterns)
        if self._patterns > _MAX_PATTERNS or any(
            len(str(each)) > _MAX_PATTERN for each in patterns
        ):
            raise PluginFailed(
                f"config: more than {_MAX_PATTERNS} patterns, or {_MAX_PATTERN} characters in one"
            )


def _json(value: Any, depth: int) -> Any:
    """The same, of JSON types alone: TOML has more."""
    if isinstance(value, dict) and depth:
        return {name: _json(each, depth - 1) for name, each in value.items()}
    if isinstance(value, list) and depth:
        return [_json(each, depth - 1) for each in value]
    is_plain = value is None or isinstance(value, (str, int))
    if is_plain or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise PluginFailed(f"config: {str(value)[:50]!r} is no JSON")


def _validator(schema: dict[str, Any]) -> Any:
    import jsonschema_rs

    try:
        return jsonschema_rs.Draft202012Validator(
            schema,
            # Errors say where and what is allowed; the value may be a secret.
            mask="the value",
            validate_formats=True,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=_MAX_PROGRAM),
        )
    except jsonschema_rs.ValidationError as error:
        where = ".".join(map(str, error.instance_path))
        raise PluginFailed(f"config: {where or 'it'} is no JSON Schema: {error.message}") from None


def _fill(schema: Any, value: Any) -> None:
    if not isinstance(schema, dict) or not isinstance(value, dict):
        return
    for name, each in schema.get("properties", {}).items():
        if not isinstance(each, dict):
            continue
        if name not in value and "default" in each:
            value[name] = copy.deepcopy(each["default"])
        if name in value:
            _fill(each, value[name])
    for each in schema.get("allOf", ()):
        _fill(each, value)


def _said(schema: Any, value: Any, path: Path) -> Iterator[Path]:
    """Every place that a schema calls secret, in any of its branches: rather one too many."""
    if not isinstance(schema, dict):
        return
    if schema.get("writeOnly") is True and path:
        yield path
        return
    here = [schema[name] for name in _HERE if name in schema]
    here += [each for name in ("allOf", "anyOf", "oneOf") for each in schema.get(name, ())]
    here += schema.get("dependentSchemas", {}).values()
    for each in here:
        yield from _said(each, value, path)
    below = [schema[name] for name in _BELOW if name in schema]
    below += [*schema.get("patternProperties", {}).values(), *schema.get("prefixItems", ())]
    properties = schema.get("properties", {})
    for name, each in _parts(value):
        for one in [*below, properties.get(name)]:
            yield from _said(one, each, (*path, name))


def _named_secret(value: Any, path: Path) -> Iterator[Path]:
    for name, each in _parts(value):
        if isinstance(name, str) and names_secret(name):
            yield (*path, name)
        elif len(path) < _MAX_DEPTH:
            yield from _named_secret(each, (*path, name))


def _parts(value: Any) -> list[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _at(value: Any, path: Path) -> Any:
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def _put(value: Any, path: Path, new: Any) -> None:
    for part in path[:-1]:
        value = value[part]
    value[path[-1]] = new


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, (dict, list)):
        for _, each in _parts(value):
            yield from _texts(each)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _name(path: Any) -> str:
    return ".".join(["config", *map(str, path)])
