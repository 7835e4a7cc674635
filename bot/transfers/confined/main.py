"""The child's side: one request in (JSON on standard input), progress and one answer out (JSON
lines). An error of the tree goes back as its code, message and hint."""

from __future__ import annotations

import errno
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bot.errors import Corrupt, MltbError, NoSpace, PolicyRefused
from bot.transfers.confined.budget import Budget
from bot.transfers.confined.patterns import rename_all
from bot.transfers.confined.streams import DAMAGE, Forward, open_stream
from bot.transfers.confined.tar import looks_like_tar, unpack_single, unpack_tar
from bot.transfers.confined.writer import Writer
from bot.transfers.confined.zip import pack_zip, unpack_zip

_TICK = 0.2  # seconds between two lines of progress


def say(message: dict[str, Any]) -> None:
    """Write one line. ASCII: a name that is no valid UTF-8 must pass as well."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class _Ticker:
    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._whole = budget.size
        self._next = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _TICK
            say({"done": self._whole - self._budget.size})


def _unpack(request: dict[str, Any]) -> dict[str, Any]:
    budget = Budget(**request["budget"])
    writer = Writer(Path(request["output"]), budget, _Ticker(budget))
    paths = [Path(path) for path in request["paths"]]
    single = False
    if request["kind"] == "zip":
        unpack_zip(paths[0], request["passwords"], writer)
    else:
        stream = Forward(open_stream(request["kind"], paths, request["sevenzip"]), budget)
        single = not looks_like_tar(stream.peek(512))
        if single and request["kind"] == "tar":
            raise Corrupt("the file is no tar archive")
        if single:
            unpack_single(stream, request["name"], writer)
        else:
            unpack_tar(stream, writer)
    return {
        "files": writer.files,
        "skipped": writer.skipped,
        "single": single,
        "budget": asdict(budget),
    }


def _do(request: dict[str, Any]) -> dict[str, Any]:
    if request["do"] == "rename":
        return {"names": rename_all(request["names"], request["rules"])}
    if request["do"] == "pack":
        pack_zip(Path(request["staging"]), Path(request["target"]), request["level"])
        return {}
    return _unpack(request)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": _do(request)}
    except MltbError as error:
        failure = error
    except MemoryError:
        failure = PolicyRefused("the archive wants more memory than a step may have")
    except DAMAGE as error:
        code = getattr(error, "errno", None)
        if code in {errno.ENOSPC, errno.EDQUOT}:
            failure = NoSpace("the disk is full")
        elif code == errno.EFBIG:
            failure = PolicyRefused("a file of the archive is larger than a step may write")
        else:
            failure = Corrupt(f"the archive is damaged: {error}")
    return {"error": {"code": failure.code, "message": failure.message, "hint": failure.hint}}


def main() -> None:
    """Answer the request."""
    say(_answer(json.load(sys.stdin)))


if __name__ == "__main__":
    main()
