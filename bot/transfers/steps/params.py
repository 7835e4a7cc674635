"""The parameters of steps, checked: what is wrong is named with what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bot.errors import InvalidInput

_LONGEST = 1024


class Params:
    """The parameters given to the step ``step``; a name that is not in ``known`` is an error."""

    def __init__(self, step: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
        self._step = step
        self._given = {name: value for name, value in given.items() if value is not None}
        names = sorted(known)
        for name in given:
            if name not in names:
                raise InvalidInput(
                    f"the step {step} has no parameter {name!r}",
                    hint=f"it has {', '.join(names)}" if names else "it has none",
                )

    def wrong(self, name: str, allowed: str) -> InvalidInput:
        """The error for the parameter ``name``, whose value is not as ``allowed`` says."""
        secret = name == "password"
        value = "***" if secret else repr(self._given.get(name))[:100]
        return InvalidInput(f"{self._step}: {name} {value} is wrong", hint=f"{name} is {allowed}")

    def text(self, name: str, allowed: str, *, needed: bool = False) -> str | None:
        """A text of one line, or None where it is not given (or empty) and not ``needed``."""
        value = self._given.get(name, "")
        if not isinstance(value, str) or len(value) > _LONGEST or _has_control(value):
            raise self.wrong(name, allowed)
        if not value and needed:
            raise InvalidInput(f"the step {self._step} needs {name}", hint=f"{name} is {allowed}")
        return value or None

    def texts(self, name: str, allowed: str) -> list[str]:
        """A list of texts; one text alone stands for a list of one."""
        value = self._given.get(name, [])
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or len(items) > 1000:
            raise self.wrong(name, allowed)
        for item in items:
            bad = not isinstance(item, str) or not item or len(item) > _LONGEST
            if bad or _has_control(item):
                raise self.wrong(name, allowed)
        return list(items)

    def number(self, name: str, default: int | None, least: int, most: int) -> int:
        """A whole number from ``least`` to ``most``, also written in digits."""
        value = self._given.get(name, default)
        if value is None:
            raise InvalidInput(
                f"the step {self._step} needs {name}", hint=f"{name} is {least} to {most}"
            )
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(name, f"a whole number from {least} to {most}")
        return value

    def seconds(self, name: str, default: float | None) -> float | None:
        """Seconds from 0 to a day, or None."""
        value = self._given.get(name, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86400:
            raise self.wrong(name, "seconds, from 0 to 86400")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._given.get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def choice(self, name: str, default: str | None, allowed: Iterable[str]) -> str:
        """One of ``allowed``, in lower case."""
        value = self._given.get(name, default)
        names = sorted(allowed)
        if not isinstance(value, str) or value.lower() not in names:
            raise self.wrong(name, f"one of {', '.join(names)}")
        return value.lower()


def _has_control(text: str) -> bool:
    return any(
        ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) < 0xE000 for letter in text
    )
