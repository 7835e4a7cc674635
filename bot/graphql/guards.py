"""What a document may be. Each limit has its number in GRAPHQL_SECURITY and its own error code.

Everything here is linear in the document: a fragment is looked at once, however often it is named.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    get_argument_values,
    get_introspection_query,
    get_named_type,
    get_operation_ast,
    get_variable_values,
    is_composite_type,
    is_list_type,
    is_non_null_type,
    parse,
)
from graphql.execution.values import VariableValues

#: Arguments that say how long a list may be.
_SIZES = ("first", "limit")
_UNSIZED = 10  # what a list is taken for that nobody gave a size
_MOST = 10**12  # counts stop growing here
#: The roots of introspection, and what they give. The query of every tool is deeper than others may
#: be, and each level of it is small.
_INTROSPECTION = {"__schema": "__Schema", "__type": "__Type"}
_INTROSPECTION_DEPTH = 16


class Refused(Exception):
    """The document is not taken. ``code`` is for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest numbers; None is no limit."""

    depth: int | None
    length: int
    tokens: int
    aliases: int
    directives: int
    fields: int
    cost: int


@dataclass(slots=True)
class _Size:
    """What a selection comes to, its fragments included; ``inner`` is the depth of
    introspection."""

    depth: int = 0
    inner: int = 0
    fields: int = 0
    aliases: int = 0
    directives: int = 0

    def add(self, other: _Size) -> None:
        """That is beside it."""
        self.depth, self.inner = max(self.depth, other.depth), max(self.inner, other.inner)
        self.fields = min(_MOST, self.fields + other.fields)
        self.aliases = min(_MOST, self.aliases + other.aliases)
        self.directives = min(_MOST, self.directives + other.directives)


def check(document: DocumentNode, limits: Limits) -> None:
    """Refused where the document is deeper, wider or fuller than allowed, or where a fragment
    holds itself. Its operations count together."""
    fragments = fragments_of(document)
    known: dict[str, _Size] = {}
    total = _Size()
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            total.add(_size(definition.selection_set, fragments, known, set()))
            total.directives += len(definition.directives or ())
    for name, fragment in fragments.items():  # those that nobody names count, too
        if name not in known:
            total.add(_size(fragment.selection_set, fragments, known, {name}))
    _hold(total, limits)


def fragments_of(document: DocumentNode) -> Mapping[str, FragmentDefinitionNode]:
    """The fragments of a document by name."""
    return {
        each.name.value: each
        for each in document.definitions
        if isinstance(each, FragmentDefinitionNode)
    }


def _size(
    selections: SelectionSetNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    known: dict[str, _Size],
    within: set[str],
) -> _Size:
    total = _Size()
    for node in selections.selections:
        directives = len(node.directives or ())
        if isinstance(node, FieldNode):
            found = _Size()
            if node.selection_set is not None:
                found.add(_size(node.selection_set, fragments, known, within))
            if node.name.value in _INTROSPECTION:
                found.depth, found.inner = 0, max(found.depth, found.inner)
            found.depth += 1
            found.fields += 1
            found.aliases += node.alias is not None
        elif isinstance(node, InlineFragmentNode):
            found = _size(node.selection_set, fragments, known, within)
        else:
            found = _fragment(cast("FragmentSpreadNode", node), fragments, known, within)
        total.add(found)
        total.directives += directives
    return total


def _fragment(
    node: FragmentSpreadNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    known: dict[str, _Size],
    within: set[str],
) -> _Size:
    name = node.name.value
    if name in within:
        raise Refused("fragment_cycle", f"the fragment {name[:100]} holds itself")
    fragment = fragments.get(name)
    if fragment is None:
        return _Size()  # validation says so
    if name not in known:
        found = _size(fragment.selection_set, fragments, known, within | {name})
        found.directives += len(fragment.directives or ())
        known[name] = found
    return known[name]


def _hold(size: _Size, limits: Limits) -> None:
    if limits.depth is not None:
        for deep, most in ((size.depth, limits.depth), (size.inner, _INTROSPECTION_DEPTH)):
            if deep > most:
                raise Refused(
                    "too_deep", f"the query is {deep} fields deep; at most {most} are taken"
                )
    for code, count, most, what in (
        ("too_many_aliases", size.aliases, limits.aliases, "aliases"),
        ("too_many_directives", size.directives, limits.directives, "directives"),
        ("too_wide", size.fields, limits.fields, "fields"),
    ):
        if count > most:
            raise Refused(code, f"the query has {count} {what}; at most {most} are taken")


@dataclass(slots=True)
class _Costing:
    """``introspection`` is what was found of it, which is no part of the answers to other fields:
    it has a measure of its own."""

    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: VariableValues
    known: dict[str, int] = dataclasses.field(default_factory=dict)
    introspection: int = 0

    def of(self, selections: SelectionSetNode, parent: Any) -> int:
        """Fields that an answer to those selections may have."""
        total = 0
        for node in selections.selections:
            if isinstance(node, FieldNode):
                total += self._field(node, parent)
            elif isinstance(node, InlineFragmentNode):
                named = node.type_condition
                kind = parent if named is None else self.schema.get_type(named.name.value)
                total += self.of(node.selection_set, kind)
            else:
                total += self._fragment(cast("FragmentSpreadNode", node).name.value)
        return min(total, _MOST)

    def _fragment(self, name: str) -> int:
        if name not in self.known:
            fragment = self.fragments[name]
            kind = self.schema.get_type(fragment.type_condition.name.value)
            self.known[name] = self.of(fragment.selection_set, kind)
        return self.known[name]

    def _field(self, node: FieldNode, parent: Any) -> int:
        if node.selection_set is None or not isinstance(
            parent, GraphQLObjectType | GraphQLInterfaceType
        ):
            return 1
        meta = _INTROSPECTION.get(node.name.value)
        if meta is not None:
            self.introspection += self.of(node.selection_set, self.schema.get_type(meta))
            return 1
        field = parent.fields.get(node.name.value)
        kind = None if field is None else get_named_type(field.type)
        if field is None or not is_composite_type(kind):
            return 1
        return 1 + self._length(node, field, parent.name) * self.of(node.selection_set, kind)

    def _length(self, node: FieldNode, field: GraphQLField, parent: str) -> int:
        if parent == "__Schema" and _is_list(field.type):
            return len(self.schema.type_map)
        given = get_argument_values(field, node, self.variables)
        for name in _SIZES:
            size = given.get(name)
            if isinstance(size, int):
                return max(1, size)
        return _UNSIZED if _is_list(field.type) else 1


def _is_list(kind: Any) -> bool:
    return is_list_type(kind.of_type if is_non_null_type(kind) else kind)


@functools.lru_cache(1)
def _everything(schema: GraphQLSchema) -> int:
    """The cost of the query that asks for the whole schema, as tools do."""
    document = parse(get_introspection_query(True, True, True, True, True, False, True))
    return _costing(schema, document, get_operation_ast(document), {})[1]


def _costing(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode | None,
    variables: Mapping[str, Any],
) -> tuple[int, int]:
    """The fields that an answer may have, and those of introspection; nothing where the variables
    don't fit, which the execution says."""
    assert operation is not None
    values = get_variable_values(schema, operation.variable_definitions or (), dict(variables))
    if isinstance(values, list):
        return 0, 0
    costing = _Costing(schema, fragments_of(document), values)
    cost = costing.of(operation.selection_set, schema.get_root_type(operation.operation))
    return cost, costing.introspection


def check_cost(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any],
    most: int,
) -> int:
    """The fields that an answer may have, with the sizes that the variables give. The document has
    passed validation and ``check``. Refused where there are more than ``most``, or where more of
    the schema is asked for than all of it, twice."""
    cost, introspection = _costing(schema, document, operation, variables)
    if cost > most:
        raise Refused(
            "too_costly",
            f"the answer may have {cost} fields; at most {most} are made: ask for fewer at a time",
        )
    if introspection > 2 * _everything(schema):
        raise Refused("too_costly", "that is more than the whole schema, twice")
    return cost


Walk = Callable[[str, str], None]


def walk(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    visit: Walk,
) -> None:
    """Call ``visit`` with the type and the name of every field that an operation can reach."""
    fragments, seen = fragments_of(document), set[str]()

    def inside(selections: SelectionSetNode, parent: Any) -> None:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                visit(parent.name, node.name.value)
                field = getattr(parent, "fields", {}).get(node.name.value)
                if node.selection_set is not None and field is not None:
                    inside(node.selection_set, get_named_type(field.type))
            elif isinstance(node, InlineFragmentNode):
                named = node.type_condition
                kind = parent if named is None else schema.get_type(named.name.value)
                inside(node.selection_set, kind)
            elif (name := cast("FragmentSpreadNode", node).name.value) not in seen:
                seen.add(name)
                fragment = fragments[name]
                kind = schema.get_type(fragment.type_condition.name.value)
                inside(fragment.selection_set, kind)

    inside(operation.selection_set, schema.get_root_type(operation.operation))
