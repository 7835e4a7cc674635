"""Logging in and out, under ``/api/v3/session``."""

from __future__ import annotations

from fastapi import Request, Response

from bot.errors import Forged
from bot.services import Caller, Scope
from bot.services.sessions import csrf_of
from bot.web import schemas_access as schemas
from bot.web.auth import COOKIE, check_write, identify, same_site
from bot.web.routes import All, Viewer, new_router, reply

router = new_router("/session")


@router.post("", response_model=schemas.SessionOut, tags=["access"])
async def log_in(body: schemas.LoginIn, request: Request, services: All) -> Response:
    """Log in with a token, or with user and password; the answer sets the cookie of the
    session."""
    if not same_site(dict(request.scope["headers"])):
        raise Forged("a page of another site asked", hint="log in on the page of this service")
    where = request.client.host if request.client else None
    agent = request.headers.get("user-agent")
    # Whoever they say they are, until they prove it.
    request.state.caller = Caller(body.user or "?", Scope.VIEW, via="nobody")
    if body.token is not None:
        secret, caller = await services.users.log_in_with_token(
            body.token, address=where, agent=agent
        )
    else:
        secret, caller = await services.users.log_in(
            body.user or "", body.password or "", address=where, agent=agent
        )
    request.state.caller = caller
    response = _who(caller, csrf_of(secret))
    response.set_cookie(
        COOKIE,
        secret,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.get("", response_model=schemas.SessionOut, tags=["access"])
async def show(request: Request, services: All) -> Response:
    """Who is logged in, and what their writes have to carry."""
    headers = dict(request.scope["headers"])
    identity = await identify(services, headers, anonymous=services.sessions.anonymous)
    return _who(identity.caller, identity.csrf)


@router.delete("", status_code=204, tags=["access"])
async def log_out(request: Request, services: All) -> Response:
    """End the session."""
    headers = dict(request.scope["headers"])
    identity = await identify(services, headers)
    check_write(identity, request.method, headers)
    request.state.caller = identity.caller
    if identity.session is not None:
        await services.sessions.close(identity.session)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


@router.post("/password", status_code=204, tags=["access"])
async def change_password(
    body: schemas.OwnPasswordIn, request: Request, caller: Viewer, services: All
) -> Response:
    """Change one's own password. Every session ends, this one too."""
    where = request.client.host if request.client else None
    await services.users.change_own(caller, body.current_password, body.new_password, address=where)
    return Response(status_code=204)


def _who(caller: Caller, csrf: str | None) -> Response:
    scope = caller.scope.name.lower()
    response = reply({"status": "ok", "user": caller.user, "scope": scope, "csrf": csrf})
    response.headers["Cache-Control"] = "no-store"
    return response
