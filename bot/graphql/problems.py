"""What a mutation answers where it could not do what was asked, as types.

A query says it in ``errors``; in a mutation it is a part of the answer, so that a client can't
overlook it.
"""

from __future__ import annotations

from bot import errors
from bot.graphql.declaring import Json, described, said, shape


@shape
class Problem:
    """Why something was not done."""

    code: str = said("A stable word for programs.")
    message: str = said("What happened, and with which value.")
    hint: str | None = said("What is allowed, or what to do.")


@described
class InvalidInputProblem(Problem):
    """A value is malformed, or outside of what is allowed."""

    details: Json = said("What exactly.")


@described
class NotFoundProblem(Problem):
    """Nothing exists under that id."""


@described
class ConflictProblem(Problem):
    """It does not fit the present state."""

    details: Json = said("With what; `task` is the one that does the same already.")


@described
class ForbiddenProblem(Problem):
    """The token, or a policy of the operator, does not allow it."""


@described
class LimitProblem(Problem):
    """A limit on the number of requests, tasks or bytes is reached."""

    retry_after: float | None = said("Seconds to wait, where that helps.")


@described
class UnavailableProblem(Problem):
    """A part of the service, or the other side, does not do it now."""


Refusal = (
    InvalidInputProblem
    | NotFoundProblem
    | ConflictProblem
    | ForbiddenProblem
    | LimitProblem
    | UnavailableProblem
)
#: Every one of them.
PROBLEMS: tuple[type[Problem], ...] = (
    InvalidInputProblem,
    NotFoundProblem,
    ConflictProblem,
    ForbiddenProblem,
    LimitProblem,
    UnavailableProblem,
)

_LIMITS = (errors.TooMany, errors.QuotaReached, errors.BodyTooLarge)


def problem(error: errors.MltbError) -> Refusal:
    """An error as a part of an answer; a fault of the program is none, and goes on."""
    code, message, hint = error.code, error.message, error.hint
    if isinstance(error, errors.Conflict):
        return ConflictProblem(code=code, message=message, hint=hint, details=error.details)
    if isinstance(error, errors.InvalidInput | errors.Unsupported):
        return InvalidInputProblem(code=code, message=message, hint=hint, details=error.details)
    if isinstance(error, errors.NotFound):
        return NotFoundProblem(code=code, message=message, hint=hint)
    if isinstance(error, errors.Forbidden | errors.PolicyRefused):
        return ForbiddenProblem(code=code, message=message, hint=hint)
    if isinstance(error, _LIMITS):
        after = getattr(error, "retry_after", None)
        return LimitProblem(code=code, message=message, hint=hint, retry_after=after)
    if error.status >= 500 and error.code == "internal":
        raise error
    return UnavailableProblem(code=code, message=message, hint=hint)
