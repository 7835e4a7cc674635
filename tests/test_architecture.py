"""Layers, quiet imports and sizes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bot

ROOT = Path(bot.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))

#: The height of each part; imports go to lower ones, or stay inside of the part.
HEIGHTS = {
    "errors": 1,
    "config_types": 1,
    "config_sources": 1.1,
    "config": 1.2,
    "domain": 2,
    "cache": 3,
    "store": 3,
    "engines": 3,
    "transfers": 4,
    "services": 5,
    "web": 6,
    "lock": 7,
    "app": 8,
    "cli": 9,
    "__main__": 10,
}
#: Parts of one height that may use another all the same.
ALSO: set[tuple[str, str]] = set()


def _part(name: str) -> str:
    return name.removeprefix("bot.").split(".")[0]


def _modules(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bot."):
            yield node.module
        elif isinstance(node, ast.ImportFrom) and node.module == "bot":
            yield from (f"bot.{alias.name}" for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("bot."))


def test_imports_point_down() -> None:
    wrong = []
    for path in SOURCES:
        own = _part(_modules(path))
        if own == "bot":
            continue
        for name in _imports(path):
            other = _part(name)
            if own != other and (own, other) not in ALSO and HEIGHTS[other] >= HEIGHTS[own]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


_QUIET = """
import sys, threading
def hook(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        raise RuntimeError(f"an import writes {arguments[0]}")
    if event in {"socket.bind", "socket.connect", "subprocess.Popen", "os.fork", "os.posix_spawn"}:
        raise RuntimeError(f"an import does {event}")
sys.dont_write_bytecode = True
sys.addaudithook(hook)
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
assert threading.active_count() == 1, threading.enumerate()
"""


def test_importing_does_nothing() -> None:
    scripts = {"bot.__main__"}
    names = [name for name in map(_modules, SOURCES) if name not in scripts]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _QUIET, *names],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT.parent,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_only_the_configuration_reads_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
    }
    # A child gets an environment of its own making, for which some of ours is passed on.
    passing_on = {path for path in readers if path.startswith(("engines/", "transfers/"))}
    assert readers - passing_on <= {"config.py", "config_sources.py"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_so_are_its_functions(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 450
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= 75
    ]
    assert long == []


def test_no_broad_except_swallows_an_error() -> None:
    swallowed = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in _BROAD))
        and all(isinstance(line, ast.Pass) for line in node.body)
    ]
    assert swallowed == []


_BROAD = {"Exception", "BaseException"}
