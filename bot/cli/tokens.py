"""Tokens from the shell: straight at the store, whether a service runs or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from bot.app import opened_store
from bot.app.parts import SystemClock
from bot.config import Settings
from bot.services import Scope, Tokens
from bot.web.render import moment

_DAY = 86400.0
T = TypeVar("T")


def create(settings: Settings, name: str, scope: str, user: str, days: float | None) -> str:
    """The secret of a new token."""

    async def work(tokens: Tokens) -> str:
        lifetime = None if days is None else days * _DAY
        secret, _ = await tokens.create(name, Scope[scope.upper()], user=user, lifetime=lifetime)
        return secret

    return asyncio.run(_with_tokens(settings, work))


def listed(settings: Settings) -> list[dict[str, Any]]:
    """Every token, times as RFC 3339."""

    async def work(tokens: Tokens) -> list[dict[str, Any]]:
        return [_shown(msgspec.structs.asdict(token)) for token in await tokens.list()]

    return asyncio.run(_with_tokens(settings, work))


def revoke(settings: Settings, token_id: str) -> None:
    """End a token; NotFound where there is none."""
    asyncio.run(_with_tokens(settings, lambda tokens: tokens.revoke(token_id)))


async def _with_tokens(settings: Settings, work: Callable[[Tokens], Awaitable[T]]) -> T:
    async with opened_store(settings) as store:
        return await work(Tokens(store, SystemClock()))


def _shown(token: dict[str, Any]) -> dict[str, Any]:
    return {key: moment(value) if key.endswith("_at") else value for key, value in token.items()}
