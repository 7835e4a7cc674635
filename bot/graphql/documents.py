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
    MaxIntrospectionDepthRule,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    OverlappingFieldsCanBeMergedRule,
    ValidationContext,
    parse,
    specified_rules,
    validate,
)
from graphql.validation.validate import ValidationAbortedError

from bot.domain.ports import Profiler
from bot.graphql import freshness, guards
from bot.graphql.freshness import Freshness
from bot.graphql.guards import Limits, Refused

_MOST_ERRORS = 20
_KEPT_SIZE = 24 * 1024 * 1024  # bytes of all documents that are kept, roughly
_OF_TOKEN = 900  # bytes that a word or sign takes once it is read
#: Fields that may have one name in the answer are compared in pairs: so many steps of that at most.
_COMPARISONS = 10_000


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


class _Merging(OverlappingFieldsCanBeMergedRule):
    """The rule of that name, with less patience: it is quadratic in the document."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.rule_context.remaining_complexity_budget = _COMPARISONS


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
        profiler: Profiler,
    ) -> None:
        self._schema = schema
        self._limits = limits
        self._suggestions = suggestions
        self._longest = longest
        self._kept = kept
        self._profiler = profiler
        self._known: OrderedDict[str, Document] = OrderedDict()
        self._size = 0
        # Made once: a rule that is made anew for each request would defeat every cache.
        self._rules: list[type[ASTValidationRule]] = [
            _Merging if rule is OverlappingFieldsCanBeMergedRule else rule
            for rule in (*specified_rules, MaxIntrospectionDepthRule)
        ]
        if not introspection:
            self._rules.append(NoSchemaIntrospectionCustomRule)

    def read(self, text: str) -> Document:
        """The document of a text. Refused where a guard says no, GraphQLError where it is none."""
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known
        if len(text) > self._limits.length:
            raise Refused(
                "too_long",
                f"the document has {len(text)} characters; at most {self._limits.length} are taken",
            )
        try:
            with self._profiler.measure("graphql.read", size=len(text)):
                document = self._checked(text)
        except RecursionError:
            raise Refused("too_deep", "the document is nested too deep to be read") from None
        if self._kept and not document.errors:
            self._known[text] = document
            self._size += _weight(document)
            while len(self._known) > self._kept or self._size > _KEPT_SIZE:
                _, gone = self._known.popitem(last=False)
                self._size -= _weight(gone)
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
        if any(isinstance(error, ValidationAbortedError) for error in document.errors):
            if len(document.errors) == 1:
                raise Refused("too_intricate", "the document takes too long to be checked")
            document.errors.pop()  # there were more than anybody reads
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
            if "nested too deeply" in error.message:
                raise Refused("too_deep", "the document is nested too deep to be read") from None
            raise

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


def _weight(document: Document) -> int:
    return len(document.text) + _OF_TOKEN * document.ast.token_count
