"""Names changed by regular expressions, which may take for ever: so not in the service itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bot.errors import Unsupported
from bot.transfers.confined.names import clean

_MOST = 4096


def rename_all(names: Sequence[str], rules: Sequence[dict[str, Any]]) -> list[str]:
    """Every name after all rules, made safe. A rule has pattern, replacement, count (0: all) and
    case (whether upper and lower case differ)."""
    compiled = [
        (
            re.compile(rule["pattern"], 0 if rule["case"] else re.IGNORECASE),
            rule["replacement"],
            rule["count"],
        )
        for rule in rules
    ]
    changed = []
    for name in names:
        text = name
        for pattern, replacement, count in compiled:
            try:
                text = pattern.sub(replacement, text, count=count)[:_MOST]
            except (re.error, IndexError) as error:
                raise Unsupported(
                    f"the replacement {replacement!r} does not fit its pattern: {error}",
                    hint=r"\1 is what the first group found",
                ) from None
        changed.append(clean(text))
    return changed
