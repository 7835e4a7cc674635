"""Users, tokens and the record of what they change."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import Path, Query, Response

from bot.domain.access import Deed
from bot.domain.ports import Token
from bot.services import Scope
from bot.services.users import User
from bot.web import render
from bot.web import schemas as tokens
from bot.web import schemas_access as access
from bot.web.routes import ONCE, Admin, All, TaskId, new_router, reply

router = new_router()
_TAGS: list[Any] = ["access"]

Name = Annotated[str, Path(max_length=100, description="The name of a user.")]


@router.get("/tokens", response_model=tokens.TokenListOut, tags=_TAGS)
async def list_tokens(caller: Admin, services: All) -> Response:
    """Every token, without its secret."""
    items = [_token(token) for token in await services.tokens.list()]
    return reply({"status": "ok", "items": items, "cursor": None})


@router.post(
    "/tokens", status_code=201, dependencies=ONCE, response_model=tokens.NewTokenOut, tags=_TAGS
)
async def create_token(body: tokens.TokenIn, caller: Admin, services: All) -> Response:
    """Make a token; its secret is in this answer and nowhere else."""
    secret, token = await services.tokens.create(
        body.name, Scope[body.scope.upper()], user=body.user, lifetime=body.lifetime
    )
    return reply({**_token(token), "secret": secret}, 201)


@router.delete("/tokens/{token_id}", status_code=204, tags=_TAGS)
async def revoke_token(token_id: TaskId, caller: Admin, services: All) -> Response:
    """End a token, and the sessions that were begun with it."""
    await services.tokens.revoke(token_id)
    return Response(status_code=204)


@router.get("/users", response_model=access.UserListOut, tags=_TAGS)
async def list_users(caller: Admin, services: All) -> Response:
    """Everybody who has an account or tokens."""
    items = [_user(each) for each in await services.users.list(caller)]
    return reply({"status": "ok", "items": items, "cursor": None})


@router.post(
    "/users", status_code=201, dependencies=ONCE, response_model=access.OneUserOut, tags=_TAGS
)
async def add_user(body: access.UserIn, caller: Admin, services: All) -> Response:
    """Let somebody log in with a password."""
    await services.users.add(caller, body.name, body.role, body.password)
    user = await services.users.show(caller, body.name)
    return reply({"status": "ok", **_user(user)}, 201)


@router.get("/users/{name}", response_model=access.OneUserOut, tags=_TAGS)
async def show_user(name: Name, caller: Admin, services: All) -> Response:
    """One user."""
    return reply({"status": "ok", **_user(await services.users.show(caller, name))})


@router.patch("/users/{name}", response_model=access.OneUserOut, tags=_TAGS)
async def change_user(
    name: Name, body: access.UserChangeIn, caller: Admin, services: All
) -> Response:
    """Give a user another role, or a new password, which ends their sessions."""
    await services.users.change(caller, name, role=body.role, password=body.password)
    return reply({"status": "ok", **_user(await services.users.show(caller, name))})


@router.delete("/users/{name}", status_code=204, tags=_TAGS)
async def remove_user(name: Name, caller: Admin, services: All) -> Response:
    """Remove an account and end its sessions; the user's tokens stay."""
    await services.users.remove(caller, name)
    return Response(status_code=204)


@router.get("/audit", response_model=access.DeedPageOut, tags=_TAGS)
async def audit(
    caller: Admin,
    services: All,
    user: Annotated[str | None, Query(max_length=100)] = None,
    action: Annotated[str | None, Query(max_length=200, description="Just this.")] = None,
    since: Annotated[datetime | None, Query(description="Then or later.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[int | None, Query(ge=0, le=2**62, description="Of the page before.")] = None,
) -> Response:
    """Every write, the newest first: who, what, from where, and how it ended."""
    found = await services.audit.find(
        caller,
        user=user,
        action=action,
        since=0.0 if since is None else since.timestamp(),
        before=cursor,
        limit=limit,
    )
    following = str(found[-1].seq) if len(found) == limit else None
    return reply({"status": "ok", "items": [_deed(each) for each in found], "cursor": following})


def _token(token: Token) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(token),
        "created_at": render.moment(token.created_at),
        "expires_at": render.moment(token.expires_at),
        "last_used_at": render.moment(token.last_used_at),
    }


def _user(user: User) -> dict[str, Any]:
    account = user.account
    return {
        "name": user.name,
        "role": account and account.role,
        "created_at": render.moment(account.created_at) if account else None,
        "changed_at": render.moment(account.changed_at) if account else None,
        "tokens": [_token(each) for each in user.tokens],
    }


def _deed(deed: Deed) -> dict[str, Any]:
    shown = msgspec.structs.asdict(deed)
    return {
        **shown,
        "id": shown.pop("seq"),
        "at": render.moment(deed.at),
        "request_id": shown.pop("request"),
    }
