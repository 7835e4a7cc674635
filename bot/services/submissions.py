"""From a submission to those that its link stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from bot.domain.links import Link, LinkSources
from bot.domain.task import StepSpec, TaskOptions
from bot.errors import MltbError, TooMany, Unsupported

MAX_SUBMISSIONS = 10_000


class Submission(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody wants mirrored. ``again`` allows a second unfinished task of the same kind."""

    source: str
    to: str | None = None
    options: TaskOptions = TaskOptions()
    steps: list[StepSpec] = []
    priority: int = 0
    start_at: float | None = None
    force: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """A submission after its link was looked at. ``index`` is that of the one it came from;
    ``note`` says so, and ``error`` is what those who were asked about the link failed at."""

    index: int
    submission: Submission
    note: str | None = None
    error: str | None = None

    def explained(self, error: MltbError) -> MltbError:
        """``error``, with what went wrong before where no engine takes the link."""
        if self.error is None or not isinstance(error, Unsupported):
            return error
        return Unsupported(f"{error.message}; {self.error}", hint=error.hint)


async def expand(sources: LinkSources | None, wanted: Sequence[Submission]) -> list[Wanted]:
    """What the submissions stand for; those that come out of it are not asked about again."""
    asked = [
        index
        for index, each in enumerate(wanted)
        if sources is not None and each.options.engine is None and sources.wants(each.source)
    ]
    if sources is None or not asked:
        return [Wanted(index, each) for index, each in enumerate(wanted)]
    answers = await sources.expand([wanted[index].source for index in asked])
    found = dict(zip(asked, answers, strict=True))
    expanded: list[Wanted] = []
    for index, each in enumerate(wanted):
        answer = found.get(index)
        if answer is None or not answer.links:
            expanded.append(Wanted(index, each, error=None if answer is None else answer.error))
        else:
            expanded += _several(index, each, answer.links)
    if len(expanded) > MAX_SUBMISSIONS:
        raise TooMany(f"{len(expanded)} links at once", hint=f"at most {MAX_SUBMISSIONS}")
    return expanded


def _several(index: int, wanted: Submission, links: Sequence[Link]) -> list[Wanted]:
    count = len(links)
    return [
        Wanted(
            index,
            msgspec.structs.replace(
                wanted, source=link.url, options=_options(wanted, link, single=count == 1)
            ),
            note=f"{number} of {count} links of {wanted.source[:200]}",
        )
        for number, link in enumerate(links, 1)
    ]


def _options(wanted: Submission, link: Link, *, single: bool) -> TaskOptions:
    """Those of the submission. What is said of one file is not of several, and what is for one host
    goes to no other."""
    options = wanted.options
    if not single:
        options = msgspec.structs.replace(options, name=None, checksum=None, select=None)
    if options.name is None:
        options = msgspec.structs.replace(options, name=link.name)
    before, after = urlsplit(wanted.source), urlsplit(link.url)
    if (before.scheme, before.netloc) != (after.scheme, after.netloc):
        options = msgspec.structs.replace(options, headers={}, username=None, password=None)
    return options
