"""The whole error tree of the project, drawn in one place.

Every error that a user can meet has a ``code`` (stable, lower case, for programs), an HTTP
``status`` and a message for people. A door (REST, chat, command line) turns an error into its own
shape once; nothing else formats errors.

    MltbError
    ├── ConfigError            the settings can't be used; the start stops
    ├── RequestError           the caller asked for something that can't be
    │   ├── InvalidInput
    │   ├── Unauthenticated
    │   ├── Forbidden
    │   │   └── Forged
    │   ├── NotFound
    │   ├── Conflict
    │   │   └── IllegalMove
    │   ├── Duplicate
    │   ├── BodyTooLarge
    │   └── TooMany
    ├── Unavailable            a part of the service that the caller needs does not run
    └── TransferError          a stage of a task failed; the subclass says how
        ├── NetworkFailed      Refused       SourceNotFound   Unauthorised
        ├── NoSpace            QuotaReached  Corrupt          Unsupported
        └── PolicyRefused      PluginFailed  InternalFailure
"""

from __future__ import annotations

from typing import ClassVar


class MltbError(Exception):
    """Base of every error of the project.

    ``message`` says what happened and with which value; ``hint`` says what is allowed or what to
    do. ``details`` are machine-readable extras (JSON types only).
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str | None = None, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(MltbError):
    """The settings can't be used: an unknown name or a wrong value."""

    code = "config_invalid"


class RequestError(MltbError):
    """The caller asked for something that can't be."""

    code = "bad_request"
    status = 400


class InvalidInput(RequestError):
    """A value is malformed or outside of what is allowed."""

    code = "invalid_input"
    status = 422


class Unauthenticated(RequestError):
    """No valid token came with the request."""

    code = "unauthenticated"
    status = 401


class Forbidden(RequestError):
    """The token is valid, but its scope does not reach so far."""

    code = "forbidden"
    status = 403


class Forged(Forbidden):
    """A browser sent it, and nothing says that a page of ours made it do so."""

    code = "csrf"


class NotFound(RequestError):
    """Nothing exists under that id."""

    code = "not_found"
    status = 404


class Conflict(RequestError):
    """The request does not fit the present state."""

    code = "conflict"
    status = 409


class IllegalMove(Conflict):
    """The state table has no such move."""

    code = "illegal_move"


class Duplicate(Conflict):
    """An unfinished task does the same thing already; ``details["task"]`` is its id."""

    code = "duplicate"


class BodyTooLarge(RequestError):
    """The body of a request is larger than what is read."""

    code = "body_too_large"
    status = 413


class TooMany(RequestError):
    """A limit on the number of requests, tasks or bytes is reached."""

    code = "too_many"
    status = 429


class Unavailable(MltbError):
    """A part of the service that the request needs does not run."""

    code = "unavailable"
    status = 503


class TransferError(MltbError):
    """A stage of a task failed. ``retryable`` says whether the same stage may be tried again.

    ``retry_after`` is what the other side asked for, in seconds.
    """

    code = "internal"
    status = 502
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retry_after: float | None = None,
        **details: object,
    ) -> None:
        super().__init__(message, hint=hint, **details)
        self.retry_after = retry_after


class NetworkFailed(TransferError):
    """The connection could not be made, broke or timed out."""

    code = "network"
    retryable = True


class Refused(TransferError):
    """The other side answered, and said not now (429, 5xx, too many connections)."""

    code = "refused"
    retryable = True


class SourceNotFound(TransferError):
    """The other side says that there is no such thing (404, 410, no such file)."""

    code = "source_not_found"


class Unauthorised(TransferError):
    """The other side wants other credentials (401, 403, login incorrect)."""

    code = "unauthorised"


class NoSpace(TransferError):
    """The bytes don't fit where they should go."""

    code = "no_space"
    status = 507


class QuotaReached(TransferError):
    """A user's limit is reached."""

    code = "quota"
    status = 429


class Corrupt(TransferError):
    """The bytes are not what they should be: checksum, length, archive."""

    code = "corrupt"


class Unsupported(TransferError):
    """No engine, step or tool here can do that."""

    code = "unsupported"
    status = 422


class PolicyRefused(TransferError):
    """The egress policy, the local roots or another rule of the operator says no."""

    code = "policy"
    status = 403


class PluginFailed(TransferError):
    """A plugin failed or refused."""

    code = "plugin"


class InternalFailure(TransferError):
    """A fault of this program; the log has the details."""

    code = "internal"
    status = 500
