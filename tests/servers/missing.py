"""Components that a machine may lack: tests that need one skip, and the run says how to get it."""

import shutil
from collections.abc import Iterable

import pytest

_PREFIX = "missing component: "
_HOW = "; to get it: "


def requires(name: str, *, how: str, found: object = None) -> None:
    """Skip the test, fixture or module that calls this unless the component is there.

    `found` is what tells (true or false); left out, a program of that name on the path does.
    """
    if shutil.which(name) if found is None else found:
        return
    pytest.skip(f"{_PREFIX}{name}{_HOW}{how}", allow_module_level=True)


def missing(reasons: Iterable[str]) -> dict[str, tuple[str, int]]:
    """The components that skip reasons name: how to get each, and how many tests lacked it."""
    found: dict[str, tuple[str, int]] = {}
    for reason in reasons:
        if _PREFIX in reason:
            name, _, how = reason.partition(_PREFIX)[2].partition(_HOW)
            found[name] = (how, found.get(name, ("", 0))[1] + 1)
    return dict(sorted(found.items()))
