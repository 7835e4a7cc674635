"""Names of films and episodes by patterns, as media servers expect them.

``Some.Film.2019.1080p.mkv`` becomes ``Some Film (2019).mkv``, and ``some_show-s01e02.en.srt``
becomes ``some show S01E02.en.srt``. What is neither keeps its name. A submission may give patterns
of its own as parameters of the step; where they have slashes, they make folders below the one of
the task.
"""

import logging
import re
from pathlib import PurePosixPath

from bot.core.plugin_manager import TaskPlugin

log = logging.getLogger(__name__)

VIDEOS = frozenset(
    {".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm", ".wmv"}
)
SUBTITLES = frozenset({".ass", ".idx", ".srt", ".ssa", ".sub", ".vtt"})
LANGUAGE = re.compile(r"\.([a-z]{2,3}(-[A-Za-z]{2,4})?(\.(forced|sdh))?)$")
EPISODES = (
    re.compile(
        r"(?P<title>.+?)[ ._-]+s(?P<season>\d{1,3})[ ._-]?e(?P<episode>\d{1,4})(?!\d)",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?P<title>.+?)[ ._-]+(?P<season>\d{1,2})x(?P<episode>\d{2,3})(?!\d)", re.IGNORECASE
    ),
)
# The last year of the name: a title may have one, too ("Blade Runner 2049 2017").
FILM = re.compile(r"(?P<title>.+)[ ._-]+[(\[]?(?P<year>(?:19|20)\d\d)(?!\d)")


class MediaRenamer(TaskPlugin):
    """Names for films and episodes"""

    async def execute(self, files, params):
        patterns = {**self.get_config(), **(params or {})}
        taken = {file.path for file in files}
        changes = []
        for file in files:
            path = new_path(file.path, patterns)
            if path is None or path == file.path:
                continue
            if path in taken:
                log.warning("%s keeps its name: there is a %s already", file.path, path)
                continue
            taken.add(path)
            changes.append({"index": file.index, "path": path})
        return changes


def new_path(path, patterns):
    """The path by the pattern that fits; None where it is neither a film nor an episode."""
    name = PurePosixPath(path).name
    stem, suffix = split(name)
    if suffix is None:
        return None
    for expression in EPISODES:
        if match := expression.match(stem):
            season, episode = int(match["season"]), int(match["episode"])
            facts = {"title": words(match["title"]), "season": season, "episode": episode}
            return patterns["episode"].format(**facts) + suffix
    if match := FILM.match(stem):
        facts = {"title": words(match["title"]), "year": int(match["year"])}
        return patterns["film"].format(**facts) + suffix
    return None


def split(name):
    """The name and what stays at its end, with the language of subtitles; None for other files."""
    kind = PurePosixPath(name).suffix
    stem = name.removesuffix(kind)
    if kind.lower() in VIDEOS:
        return stem, kind.lower()
    if kind.lower() in SUBTITLES:
        language = LANGUAGE.search(stem)
        end = language[0] if language else ""
        return stem.removesuffix(end), end + kind.lower()
    return name, None


def words(title):
    """Dots and underscores are spaces, where no space is."""
    if " " not in title:
        title = title.replace(".", " ").replace("_", " ")
    return " ".join(title.split()).strip(" -([")
