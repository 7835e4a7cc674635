"""The settings of the GraphQL interface, under the names that the guide gives them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from bot.config_types import NestedModel, Place, Seconds


class GraphqlSecurity(NestedModel):
    """What a query may be, and who may ask. A query over one of these is refused, not cut."""

    require_authentication: bool = Field(
        True, description="Whether a token is needed; else anybody may look, as nobody's user."
    )
    rate_limit_queries: bool = Field(True, description="Whether max_queries_per_minute holds.")
    max_queries_per_minute: int = Field(
        100, ge=1, description="Requests of one caller in a minute."
    )
    block_deeply_nested_queries: bool = Field(True, description="Whether max_depth holds.")
    max_depth: int = Field(10, ge=1, description="Fields within fields.")
    max_body: int = Field(256 * 1024, ge=1024, description="Bytes of a request.")
    max_length: int = Field(32 * 1024, ge=1024, description="Characters of a document.")
    max_tokens: int = Field(2000, ge=10, description="Words and signs of a document.")
    max_aliases: int = Field(30, ge=0, description="Fields under another name.")
    max_directives: int = Field(50, ge=0, description="Directives.")
    max_fields: int = Field(500, ge=1, description="Fields, with those of fragments in each place.")
    max_cost: int = Field(
        20_000, ge=1, description="Fields that an answer may have: those of lists times their size."
    )
    max_subscriptions: int = Field(20, ge=1, description="Subscriptions of one connection.")
    max_connections: int = Field(
        20, ge=1, description="WebSockets and event streams of one caller at a time."
    )
    suggestions: bool = Field(
        False, description="Whether errors say what an unknown name may have meant."
    )


class GraphqlSettings(BaseSettings):
    """The part of ``Settings`` that is about GraphQL."""

    # GraphQL
    enable_graphql_api: bool = Field(True, description="Whether there is /graphql.")
    graphql_introspection: bool = Field(
        True, description="Whether the schema can be asked for, and GraphiQL is there."
    )
    graphql_security: GraphqlSecurity = Field(
        GraphqlSecurity(), description="What a query may be, and who may ask."
    )
    graphql_timeout: Seconds = Field(30.0, description="Seconds that one operation may take.")
    graphql_trusted_documents: Place | None = Field(
        None,
        description="A directory of documents (`mltb graphql trust`); given, no other is taken.",
    )
    query_cache_enabled: bool = Field(True, description="Whether answers are kept.")
    query_cache_ttl: Seconds = Field(
        300.0, description="Seconds that an answer is kept at most; a change drops it before."
    )
    query_cache_backend: Literal["memory", "redis"] = Field(
        "memory", description="Where answers are kept; redis needs REDIS_URL."
    )
    query_cache_size: int = Field(
        32, ge=1, description="MB of answers in memory; the least used go first."
    )
    cache_key_prefix: str = Field(
        "mltb_graphql_", min_length=1, max_length=64, description="Before each key in Redis."
    )
    enable_query_optimization: bool = Field(
        True, description="Whether a document that was asked before is not read and checked again."
    )
    index_hot_queries: bool = Field(
        True, description="Whether answers that are asked often are made anew before they expire."
    )
