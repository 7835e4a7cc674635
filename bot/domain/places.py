"""Places in an order: texts that sort, with room for another between any two."""

from __future__ import annotations

from bot.errors import Conflict

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def between(low: str, high: str | None) -> str:
    """A text that sorts after ``low`` and before ``high`` (None is the end). Conflict where there
    is none."""
    if high is not None and low >= high:
        raise Conflict("there is no place between those two", hint="move another task")
    shared = 0
    if high is not None:
        while shared < len(high) and (low[shared : shared + 1] or "0") == high[shared]:
            shared += 1
        if shared == len(high):
            raise Conflict("there is no place between those two", hint="move another task")
    return (high or "")[:shared] + _middle(low[shared:], None if high is None else high[shared:])


def _middle(low: str, high: str | None) -> str:
    """As ``between``, where the first characters differ. It never ends with the lowest digit, which
    would leave no room below."""
    first = _DIGITS.index(low[0]) if low else 0
    last = len(_DIGITS) if high is None else _DIGITS.index(high[0])
    if last - first > 1:
        return _DIGITS[(first + last) // 2]
    if high is not None and len(high) > 1:
        return high[0]
    return _DIGITS[first] + _middle(low[1:], None)
