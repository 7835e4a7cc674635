"""What a failure of yt-dlp means: one of our errors, in yt-dlp's own words."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from bot.errors import (
    Corrupt,
    NetworkFailed,
    NoSpace,
    PolicyRefused,
    Refused,
    SourceNotFound,
    TransferError,
    Unauthorised,
    Unsupported,
)

_KINDS: dict[str, type[TransferError]] = {
    kind.code: kind
    for kind in (
        *(Corrupt, NetworkFailed, NoSpace, PolicyRefused),
        *(Refused, SourceNotFound, Unauthorised, Unsupported),
    )
}
#: Kinds of failure of one item of a playlist after which the others may still be had.
OF_ONE_ITEM = frozenset({"source_not_found", "unauthorised", "unsupported", "policy"})

_COOKIES = "give username and password, or let the operator set YTDLP_COOKIES"
_FFMPEG = "install ffmpeg, or let the operator set FFMPEG_PATH"
_FORMATS = "choose another quality; best takes what there is"
_UPDATE = "a newer yt-dlp may read it"
_ABSENT = "yt-dlp finds no video there; another engine may fetch the page itself"
_NO_LOGIN = (
    r"private|sign in|log.?in|logged|password|members|subscri|cookies|confirm your age|authenticat"
    r"|authoriz|purchase"
)
_NO_SOURCE = (
    r"not found|unavailable|removed|deleted|does ?n.t exist|not exist"
    r"|no longer|terminated"
)
_NO_NETWORK = (
    r"timed? ?out|connection|getaddrinfo|resolve|network|incomplete|reset|ssl|certificate|fragment"
)
_STATUS = {
    401: "unauthorised",
    402: "unauthorised",
    403: "unauthorised",
    404: "source_not_found",
    410: "source_not_found",
    429: "refused",
}
#: In order: the first that is found in the message decides.
_WORDS: tuple[tuple[str, str, str | None], ...] = (
    (r"ff(mpeg|probe)\b.*(not (found|installed)|is not)", "unsupported", _FFMPEG),
    (r"drm", "unsupported", "protected videos can't be mirrored"),
    (r"not available (in|from) your (country|location|region)|geo.?restrict", "unsupported", None),
    (r"requested format|no video formats|invalid format", "unsupported", _FORMATS),
    (r"live event|premieres? in|will begin|is offline|not currently live", "unsupported", None),
    (r"too many requests|rate.?limit|try again later", "refused", None),
    (_NO_LOGIN, "unauthorised", _COOKIES),
    (_NO_SOURCE, "source_not_found", None),
    (r"unsupported url", "unsupported", _ABSENT),
    (_NO_NETWORK, "network", None),
)


def describe(error: BaseException, refused: list[str], actions: list[str]) -> dict[str, str]:
    """``code``, ``message`` and perhaps ``hint`` of a failure in yt-dlp's process.

    ``refused`` are addresses and ``actions`` other things that the guard did not let happen.
    """
    chain = list(_chain(error))
    told = any(address in str(link) for address in refused for link in chain)
    if told or (refused and any(map(_of_network, chain))):
        return _answer("policy", refused[0], "the operator can let it through: EGRESS_ALLOW")
    if actions and any("not allowed here" in str(link) for link in chain):
        return _answer(
            "unsupported", f"the video needs what is not allowed here: {actions[-1]}"[:300], None
        )
    for link in chain:
        if isinstance(link, OSError) and link.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return _answer("no_space", f"no room: {link.strerror}", "free some room and retry")
    message = clean(str(error))
    said = re.search(r"HTTP Error (\d{3})", message)
    status = int(said[1]) if said else next((s for s in map(_status, chain) if s), 0)
    if status and not said:
        message = f"{message} (HTTP Error {status})"
    if status in _STATUS or status >= 500:
        code = _STATUS.get(status, "refused")
        return _answer(code, message, _COOKIES if code == "unauthorised" else None)
    for pattern, code, hint in _WORDS:
        if re.search(pattern, message, re.IGNORECASE):
            return _answer(code, message, hint)
    if any(_of_network(link) for link in chain):
        return _answer("network", message, None)
    return _answer("unsupported", message, _UPDATE)


def _answer(code: str, message: str, hint: str | None) -> dict[str, str]:
    answer = {"code": code, "message": message}
    return answer if hint is None else {**answer, "hint": hint}


def raised(failure: dict[str, str]) -> TransferError:
    """The error that ``describe`` described, on the other side of the pipe."""
    kind = _KINDS.get(failure.get("code", ""), Unsupported)
    return kind(failure.get("message", "yt-dlp failed"), hint=failure.get("hint"))


def clean(message: str) -> str:
    """The message without colours, markers, user information in URLs and the way to the tracker."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", message)
    text = re.sub(r"^ERROR:\s*", "", text.strip())
    text = re.sub(r";?\s*please report this issue on .*", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*\(caused by .*\)$", "", text, flags=re.DOTALL)
    text = re.sub(r"(://)[^/@\s]+@", r"\1", text)
    return "".join(char for char in text if char.isprintable())[:500]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that led to it."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < 30:
        link = waiting.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        information = getattr(link, "exc_info", None)
        inner = information[1] if isinstance(information, tuple) and len(information) > 1 else None
        waiting += [inner, getattr(link, "cause", None), link.__cause__, link.__context__]


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    return status if isinstance(status, int) and 400 <= status < 600 else None


def _of_network(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"TransportError", "PermissionError", "ConnectionError", "TimeoutError"})
