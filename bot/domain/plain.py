"""Foreign text made safe to show in a message: names of files, words of servers.

What reads messages reads much into them: Discord and Slack see mentions and links, mail clients
HTML, terminals control sequences. Whoever names a file must not be able to call a whole channel.
"""

from __future__ import annotations

import re
import unicodedata

#: Control, format (direction marks, zero width), surrogate and private characters, and separators
#: of lines: https://www.unicode.org/reports/tr44/#General_Category_Values
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: What nobody sees, and what keeps the two sides of it apart.
_APART = "\u200b"
#: Tags and code begin with these; what looks alike does not.
_HARMLESS = {ord("<"): "‹", ord(">"): "›", ord("`"): "'"}
_MENTION = re.compile(f"@(?!{_APART})")
_CUT = "…"


def plain(text: str, limit: int) -> str:
    """``text`` on one line of at most ``limit`` characters, without anything that acts."""
    # Cut at first: ten kilobytes of a name need not be looked at.
    rough = text[: 4 * limit]
    seen = (c if c == _APART or unicodedata.category(c) not in _INVISIBLE else " " for c in rough)
    line = " ".join("".join(seen).split()).translate(_HARMLESS)
    safe = _MENTION.sub(f"@{_APART}", line)
    # A link with a text of its own, and one that shows where it leads.
    safe = safe.replace("](", f"]{_APART}(").replace("://", f":/{_APART}/")
    return safe if len(safe) <= limit else safe[: limit - 1] + _CUT


def plain_lines(text: str, limit: int) -> str:
    """The same for text of several lines, which stay."""
    lines = (plain(line, limit) for line in text[: 4 * limit].splitlines())
    safe = "\n".join(lines)
    return safe if len(safe) <= limit else safe[: limit - 1] + _CUT
