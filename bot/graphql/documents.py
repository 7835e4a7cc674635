"""From the text of a document to one that may be executed: read, checked, and kept for the next
time."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    ASTValidationRule,
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    parse,
    specified_rules,
    validate,
)

from bot.graphql import freshness, guards
from bot.graphql.freshness import Freshness
from bot.graphql.guards import Limits, Refused

_MOST_ERRORS = 20
_KEPT_SIZE = 16 * 1024 * 1024  # characters of all documents that are kept


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a document. ``roots`` are the root fields that it names."""

    node: OperationDefinitionNode
    name: str | None
    kind: OperationType
    freshness: Freshness
    roots: frozenset[str]


@dataclass(slots=True)
class Document:
    """A document that passed every check that needs no variables. ``errors`` are what validation
    found; then there are no operations."""

    text: str
    fingerprint: str
    ast: DocumentNode
    operations: Mapping[str | None, Operation] = field(default_factory=dict)
    errors: list[GraphQLError] = field(default_factory=list)

    def operation(self, name: str | None) -> Operation:
        """The one of that name, or the only one. Refused where that is none."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        found = self.operations.get(name)
        if found is None:
            raise Refused(
                "unknown_operation",
                "the document has several operations: name one"
                if name is None
                else f"the document has no operation {name[:100]!r}",
            )
        return found


def fingerprint_of(text: str) -> str:
    """The SHA-256 of a document, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Documents:
    """Reads and checks documents. ``kept`` of them are remembered, those used last; 0 for none."""

    def __init__(
        self,
        schema: GraphQLSchema,
        limits: Limits,
        *,
        introspection: bool,
        suggestions: bool,
        longest: float,
        kept: int,
    ) -> None:
        self._schema = schema
        self._limits = limits
        self._suggestions = suggestions
        self._longest = longest
        self._kept = kept
        self._known: OrderedDict[str, Document] = OrderedDict()
        self._size = 0
        # Made once: a rule that is made anew for each request would defeat every cache.
        self._rules: list[type[ASTValidationRule]] = [*specified_rules]
        if not introspection:
            self._rules.append(NoSchemaIntrospectionCustomRule)

    def read(self, text: str) -> Document:
        """The document of a text. Refused where a guard says no, GraphQLError where it is none."""
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known
        document = self._checked(text)
        if self._kept:
            self._known[text] = document
            self._size += len(text)
            while len(self._known) > self._kept or self._size > _KEPT_SIZE:
                gone, _ = self._known.popitem(last=False)
                self._size -= len(gone)
        return document

    def _checked(self, text: str) -> Document:
        ast = self._parsed(text)
        guards.check(ast, self._limits)
        document = Document(text, fingerprint_of(text), ast)
        document.errors = validate(
            self._schema,
            ast,
            self._rules,
            max_errors=_MOST_ERRORS,
            hide_suggestions=not self._suggestions,
        )
        if not document.errors:
            document.operations = {
                operation.name: operation
                for node in ast.definitions
                if isinstance(node, OperationDefinitionNode)
                for operation in (self._operation(ast, node),)
            }
        return document

    def _parsed(self, text: str) -> DocumentNode:
        most = self._limits.tokens
        try:
            return parse(text, max_tokens=most)
        except GraphQLSyntaxError as error:
            if "token" in error.message and str(most) in error.message:
                raise Refused(
                    "too_many_tokens", f"the document has more than {most} words and signs"
                ) from None
            raise
        except RecursionError:
            raise Refused("too_deep", "the document is nested too deep to be read") from None

    def _operation(self, ast: DocumentNode, node: OperationDefinitionNode) -> Operation:
        fields: set[tuple[str, str]] = set()
        guards.walk(self._schema, ast, node, lambda kind, name: fields.add((kind, name)))
        root = self._schema.get_root_type(node.operation)
        roots = frozenset(name for kind, name in fields if root is not None and kind == root.name)
        return Operation(
            node,
            None if node.name is None else node.name.value,
            node.operation,
            freshness.of_fields(fields, self._longest),
            roots,
        )

    def check_cost(
        self, document: Document, operation: Operation, variables: Mapping[str, Any]
    ) -> None:
        """Refused where an answer may be larger than allowed."""
        guards.check_cost(self._schema, document.ast, operation.node, variables, self._limits.cost)
