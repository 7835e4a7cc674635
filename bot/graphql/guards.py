"""What a document may be. Each limit has its number in GRAPHQL_SECURITY and its own error code.

Everything here is linear in the document: a fragment is looked at once, however often it is named.
"""

from __future__ import annotations

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
    get_named_type,
    get_variable_values,
    is_composite_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.values import VariableValues

#: Arguments that say how long a list may be.
_SIZES = ("first", "limit")
_UNSIZED = 10  # what a list is taken for that nobody gave a size
_MOST = 10**12  # counts stop growing here
_INTROSPECTION = ("__schema", "__type", "__typename")


class Refused(Exception):
    """The document is not taken. ``code`` is for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest numbers; None is no limit."""

    depth: int | None
    tokens: int
    aliases: int
    directives: int
    fields: int
    cost: int


@dataclass(slots=True)
class _Size:
    """What a selection comes to, its fragments included."""

    depth: int = 0
    fields: int = 0
    aliases: int = 0
    directives: int = 0


def check(document: DocumentNode, limits: Limits) -> None:
    """Refused where the document is deeper, wider or fuller than allowed, or where a fragment
    holds itself."""
    fragments = fragments_of(document)
    known: dict[str, _Size] = {}
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            size = _size(definition.selection_set, fragments, known, set())
            size.directives += len(definition.directives or ())
            _hold(size, limits)
    for name, fragment in fragments.items():  # those that nobody names count, too
        if name not in known:
            _hold(_size(fragment.selection_set, fragments, known, {name}), limits)


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
            below = _Size()
            if node.selection_set is not None and node.name.value not in _INTROSPECTION:
                below = _size(node.selection_set, fragments, known, within)
            found = _Size(
                below.depth + 1,
                below.fields + 1,
                below.aliases + (node.alias is not None),
                below.directives,
            )
        elif isinstance(node, InlineFragmentNode):
            found = _size(node.selection_set, fragments, known, within)
        else:
            found = _fragment(cast("FragmentSpreadNode", node), fragments, known, within)
        total.depth = max(total.depth, found.depth)
        total.fields = min(_MOST, total.fields + found.fields)
        total.aliases = min(_MOST, total.aliases + found.aliases)
        total.directives = min(_MOST, total.directives + found.directives + directives)
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
    if limits.depth is not None and size.depth > limits.depth:
        raise Refused(
            "too_deep", f"the query is {size.depth} fields deep; at most {limits.depth} are taken"
        )
    for code, count, most, what in (
        ("too_many_aliases", size.aliases, limits.aliases, "aliases"),
        ("too_many_directives", size.directives, limits.directives, "directives"),
        ("too_wide", size.fields, limits.fields, "fields"),
    ):
        if count > most:
            raise Refused(code, f"the query has {count} {what}; at most {most} are taken")


@dataclass(frozen=True, slots=True)
class _Costing:
    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: VariableValues
    known: dict[str, int]

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
        field = parent.fields.get(node.name.value)
        if field is None:
            return 1  # __schema and __type
        kind = get_named_type(field.type)
        if not is_composite_type(kind):
            return 1
        return 1 + self._length(node, field) * self.of(node.selection_set, kind)

    def _length(self, node: FieldNode, field: GraphQLField) -> int:
        given = get_argument_values(field, node, self.variables)
        for name in _SIZES:
            size = given.get(name)
            if isinstance(size, int):
                return max(1, size)
        return _UNSIZED if _is_list(field.type) else 1


def _is_list(kind: Any) -> bool:
    return is_list_type(kind.of_type if is_non_null_type(kind) else kind)


def check_cost(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any],
    most: int,
) -> int:
    """The fields that an answer may have, with the sizes that the variables give. The document has
    passed validation and ``check``. Refused where there are more than ``most``."""
    values = get_variable_values(schema, operation.variable_definitions or (), dict(variables))
    if isinstance(values, list):
        return 0  # they don't fit, which the execution says
    costing = _Costing(schema, fragments_of(document), values, {})
    cost = costing.of(operation.selection_set, schema.get_root_type(operation.operation))
    if cost > most:
        raise Refused(
            "too_costly",
            f"the answer may have {cost} fields; at most {most} are made: ask for fewer at a time",
        )
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
