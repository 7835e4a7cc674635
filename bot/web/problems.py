"""Errors as problem details (RFC 9457), in one shape wherever they come from."""

from __future__ import annotations

import logging
import secrets

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from bot.domain.context import REQUEST
from bot.errors import InvalidInput, MltbError, NotFound, RequestError, Unauthenticated
from bot.web import render

log = logging.getLogger(__name__)

MEDIA = "application/problem+json"


def problem(error: MltbError, status: int | None = None) -> Response:
    """The answer that tells of an error."""
    shaped = render.problem(error)
    if status is not None:
        shaped["status"] = status
    shaped["request_id"] = REQUEST.get()
    response = Response(msgspec.json.encode(shaped), shaped["status"], media_type=MEDIA)
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = 'Bearer realm="mltb"'
    if (wait := error.details.get("retry_after")) is not None:
        response.headers["Retry-After"] = str(wait)
    return response


def answer_to(request: Request, error: Exception) -> Response:
    """The answer to a request that met ``error``, whatever that is."""
    if isinstance(error, MltbError) and not (error.status >= 500 and error.code == "internal"):
        return problem(error)
    if isinstance(error, RequestValidationError):
        return problem(_invalid(error))
    if isinstance(error, HTTPException):
        return _refused(request, error)
    return _fault(request, error)


def _invalid(error: RequestValidationError) -> InvalidInput:
    wrong = [
        {"at": ".".join(map(str, item["loc"])), "message": item["msg"]} for item in error.errors()
    ]
    first = wrong[0] if wrong else {"at": "body", "message": "is wrong"}
    return InvalidInput(f"{first['at']}: {first['message']}", errors=wrong[:50])


def _refused(request: Request, error: HTTPException) -> Response:
    if error.status_code == NotFound.status:
        return problem(NotFound(f"there is nothing at {request.url.path}"))
    if isinstance(error.__context__, MltbError):  # met while the body was read
        return problem(error.__context__)
    response = problem(RequestError(str(error.detail)), error.status_code)
    response.headers.update(error.headers or {})
    return response


def _fault(request: Request, error: Exception) -> Response:
    """A fault of the program: the caller gets an id that finds the log line, and no more."""
    reference = secrets.token_hex(6)
    log.error("fault %s in %s %s", reference, request.method, request.url.path, exc_info=error)
    return problem(
        MltbError(
            "a fault of the service",
            hint=f"the log has it under {reference}",
            id=reference,
        )
    )


def add_errors(app: FastAPI) -> None:
    """For what no route of ours answers."""

    async def answer(request: Request, error: Exception) -> Response:
        return answer_to(request, error)

    for kind in (MltbError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)
