"""Names: changed by pattern, and files chosen by extension."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from bot.domain.ports import StepJob
from bot.domain.task import FileEntry
from bot.errors import InvalidInput, Unsupported
from bot.transfers.steps.files import Output, Stop, in_thread
from bot.transfers.steps.params import Params
from bot.transfers.steps.programs import confined

_SHAPE = "pattern/replacement/count/s, several with | between them"
_PATIENCE = 20.0  # seconds for all names; a pattern that backtracks without end takes years
_LONGEST = 500
_MOST_RULES = 50
_EXTENSION = re.compile(r"[^\s./\\]{1,20}(\.[^\s./\\]{1,20})*")


class Rename:
    r"""The step ``rename``: the base name of every file by patterns.

    Parameter ``pattern``: ``a/b/s | c/d``: the regular expression a becomes b; a number in the
    third place says how often, ``s`` at the end that case matters. ``\/`` and ``\|`` are those
    letters.
    Or ``rules``: a list of objects with pattern, replacement, count and case.
    """

    name = "rename"

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in canonical form (``rules``). Raises InvalidInput."""
        given = Params(self.name, params, ("pattern", "rules"))
        rules = params.get("rules")
        if rules is None:
            rules = _rules_of(given.text("pattern", _SHAPE, needed=True) or "")
        if not isinstance(rules, list) or not 1 <= len(rules) <= _MOST_RULES:
            raise given.wrong("rules", f"a list of 1 to {_MOST_RULES} rules")
        return {"rules": [_checked(rule) for rule in rules]}

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """The files are handed on; where the disk knows no hard links they are copied."""
        return size

    async def run(self, job: StepJob) -> list[FileEntry]:
        """Rename. Raises Unsupported where a pattern takes too long."""
        names = [file.path.rpartition("/")[2] for file in job.files]
        request = {"do": "rename", "names": names, "rules": job.params["rules"]}
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await confined(
                    request, cwd=job.output, file_size=1, on_done=lambda _: None
                )
        except TimeoutError:
            raise Unsupported(
                f"the pattern took longer than {_PATIENCE:g} seconds for {len(names)} names",
                hint="nested repeats such as (a+)+ never end; write it without",
            ) from None
        new = dict(zip(job.files, answer["names"], strict=True))

        def pass_on(stop: Stop) -> list[FileEntry]:
            output = Output(job.output)
            for file, name in new.items():
                folder, slash, _ = file.path.rpartition("/")
                output.pass_on(job.directory, file, stop, f"{folder}{slash}{name}")
            return output.entries(stop)

        return await in_thread(pass_on)


def _rules_of(text: str) -> list[dict[str, Any]]:
    rules = []
    for piece in re.split(r"(?<!\\)\|", text):
        fields = [field.replace(r"\/", "/") for field in re.split(r"(?<!\\)/", piece.strip())]
        rest = fields[2:]
        case = bool(rest) and rest[-1] == "s"
        rest = rest[:-1] if case else rest
        if len(rest) > 1 or (rest and rest[0] and not rest[0].isdecimal()):
            raise InvalidInput(f"rename: {piece.strip()!r} is no rule", hint=f"write {_SHAPE}")
        count = int(rest[0]) if rest and rest[0] else 0
        replacement = fields[1] if len(fields) > 1 else ""
        rules.append(
            {"pattern": fields[0], "replacement": replacement, "count": count, "case": case}
        )
    return rules


def _checked(rule: object) -> dict[str, Any]:
    if not isinstance(rule, dict):
        raise InvalidInput("rename: a rule is no object", hint="pattern, replacement, count, case")
    given = Params("rename", rule, ("pattern", "replacement", "count", "case"))
    pattern = given.text("pattern", "a regular expression", needed=True) or ""
    replacement = given.text("replacement", "a text") or ""
    if max(len(pattern), len(replacement)) > _LONGEST:
        raise given.wrong("pattern", f"at most {_LONGEST} characters, and so is the replacement")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidInput(
            f"rename: {pattern!r} is no regular expression: {error}",
            hint="put \\ before . + * ? ( ) [ ] { } ^ $ | to mean the letter itself",
        ) from None
    return {
        "pattern": pattern,
        "replacement": replacement,
        "count": given.number("count", 0, 0, 1000),
        "case": given.flag("case", True),
    }


class Choose:
    """The steps ``exclude`` and ``include``: files by extension, without regard to case.

    Parameter ``extensions``: a list such as ``["nfo", "txt"]``, or one text with commas.
    """

    def __init__(self, name: str, *, keeps: bool) -> None:
        self._name = name
        self._keeps = keeps

    @property
    def name(self) -> str:
        """``exclude`` or ``include``."""
        return self._name

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in canonical form. Raises InvalidInput."""
        given = Params(self._name, params, ("extensions",))
        allowed = "a list of file extensions such as nfo, txt"
        texts = given.texts("extensions", allowed)
        pieces = [piece.strip().lstrip("*.").lower() for text in texts for piece in text.split(",")]
        extensions = sorted({piece for piece in pieces if piece})
        if not extensions or not all(map(_EXTENSION.fullmatch, extensions)):
            raise given.wrong("extensions", allowed)
        return {"extensions": extensions}

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """The files are handed on; where the disk knows no hard links they are copied."""
        return size

    async def run(self, job: StepJob) -> list[FileEntry]:
        """Choose. Raises Unsupported where nothing is left."""
        suffixes = tuple(f".{extension}" for extension in job.params["extensions"])
        kept = [file for file in job.files if file.path.lower().endswith(suffixes) == self._keeps]
        if not kept:
            raise Unsupported(
                f"{self._name} leaves none of {len(job.files)} files",
                hint=f"the extensions are {', '.join(job.params['extensions'])}",
            )

        def pass_on(stop: Stop) -> list[FileEntry]:
            output = Output(job.output)
            for file in kept:
                output.pass_on(job.directory, file, stop)
            return output.entries(stop)

        return await in_thread(pass_on)
