"""Layers, quiet imports, names that say what they are, and sizes."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bot

ROOT = Path(bot.__file__).parent
REPOSITORY = ROOT.parent
SOURCES = sorted(ROOT.rglob("*.py"))

#: The height of each part; imports go to lower ones, or stay inside of the part.
HEIGHTS = {
    "errors": 1,
    "config_types": 1,
    "config_sources": 1.1,
    "config_operations": 1.1,
    "config_access": 1.1,
    "config_dashboard": 1.1,
    "config_graphql": 1.1,
    "config_plugins": 1.1,
    "config": 1.2,
    "domain": 2,
    "cache": 3,
    "store": 3,
    "engines": 3,
    "plugins": 3.5,
    "transfers": 4,
    "operations": 4,
    "services": 5,
    "web": 6,
    "graphql": 6.5,
    "core": 7.5,
    "lock": 7,
    "app": 8,
    "cli": 9,
    # The rest of core is what a running service fills. This one starts a whole service, as the
    # command line does, in a process that is not ours; nothing of ours imports it.
    "core.enhanced_startup_phase3": 9.5,
    "__main__": 10,
}
#: Those that read the settings; all other parts are given their values.
CONFIGURED = {
    "app",
    "cli",
    "config",
    "config_access",
    "config_dashboard",
    "config_graphql",
    "config_operations",
    "config_plugins",
    "config_sources",
    "core.enhanced_startup_phase3",
}
#: Runs before each child, in an interpreter that knows no packages.
BARE = ROOT / "engines/leash.py"
#: Those that hand a part of our environment on to a child.
PASSING_ON = {"engines/children.py", "engines/ytdlp_process.py"}


def _part(name: str) -> str:
    inner = name.removeprefix("bot.")
    return inner if inner in HEIGHTS else inner.split(".")[0]


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


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_part_has_its_height() -> None:
    assert {_part(_modules(path)) for path in SOURCES} - {"bot"} == set(HEIGHTS)


def test_imports_point_down() -> None:
    wrong = []
    for path in SOURCES:
        own = _part(_modules(path))
        if own == "bot":
            continue
        for name in _imports(path):
            other = _part(name)
            if own != other and HEIGHTS[other] >= HEIGHTS[own]:
                wrong.append(f"{_name(path)} imports {name}")
    assert wrong == []


def test_parts_are_given_their_settings() -> None:
    readers = {
        _part(_modules(path))
        for path in SOURCES
        if any(name.startswith("bot.config") for name in _imports(path))
    }
    assert readers <= CONFIGURED


def test_what_runs_in_a_bare_interpreter_needs_the_standard_library_alone() -> None:
    needed = []
    for node in ast.walk(ast.parse(BARE.read_text())):
        if isinstance(node, ast.ImportFrom):
            needed.append(node.module or ".")
        elif isinstance(node, ast.Import):
            needed += [alias.name for alias in node.names]
    assert needed
    assert {name.partition(".")[0] for name in needed} <= sys.stdlib_module_names


# Every event of these means that something outside of the interpreter is touched.
_QUIET = """
import os, sys
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ACTS = ("socket.", "subprocess.", "tempfile.", "shutil.")
CALLS = {"_thread.start_new_thread", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn",
         "os.system", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink",
         "os.chmod", "os.chown", "os.truncate", "os.putenv", "os.unsetenv", "sqlite3.connect"}
def hook(event, arguments):
    if event == "open":
        _, mode, flags = arguments
        if set(mode or "") & set("wax+") or (flags or 0) & WRITES:
            raise RuntimeError(f"an import writes {arguments[0]}")
    elif event in CALLS or event.startswith(ACTS):
        raise RuntimeError(f"an import does {event} {arguments}")
def refuse(*_):
    raise RuntimeError("an import starts a thread")
import _thread, threading
_thread.start_new_thread = threading._start_new_thread = refuse
sys.dont_write_bytecode = True
sys.addaudithook(hook)
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def _quiet(*names: str) -> subprocess.CompletedProcess[str]:
    # Without the coverage measurement of the tests: it keeps a file of its own open.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "COVERAGE_"))}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _QUIET, *names],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env=environment,
    )


def test_importing_does_nothing() -> None:
    # One interpreter for all: what one of them did would have been done at its first import.
    scripts = {"bot.__main__"}
    done = _quiet(*(name for name in map(_modules, SOURCES) if name not in scripts))
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    "body",
    [
        "import threading\nthreading.Thread(target=print).start()",
        "import socket\nsocket.socket()",
        "import asyncio\nasyncio.new_event_loop()",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-V'])",
        "import pathlib\npathlib.Path('x').write_text('')",
        "import os\nos.open('x', os.O_CREAT | os.O_WRONLY)",
        "import os\nos.environ['X'] = 'y'",
        "import sqlite3\nsqlite3.connect(':memory:')",
    ],
)
def test_an_import_that_does_something_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    (tmp_path / "loud.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "RuntimeError: an import" in _quiet("loud").stderr


def test_only_the_configuration_reads_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
    }
    # ``config.py`` alone reads it; a child gets an environment made of some of ours.
    assert readers == {"config.py", *PASSING_ON}


#: What is longer than a file or a function may be. Nothing joins this list; all may leave it.
TOO_LONG: dict[str, int] = {}
FILE, FUNCTION = 400, 60  # lines


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_file_is_short_and_so_are_its_functions(path: Path) -> None:
    text, name = path.read_text(), _name(path)
    assert text.count("\n") <= TOO_LONG.get(name, FILE)
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None
    }
    limits = {each: TOO_LONG.get(f"{name}:{each}", FUNCTION) for each in long}
    assert {each: lines for each, lines in long.items() if lines > limits[each]} == {}


def _undocumented(node: ast.AST, where: str) -> Iterator[str]:
    """The public names in ``node`` that say nothing; what is inside of a function is not public."""
    for each in ast.iter_child_nodes(node):
        if not isinstance(each, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        decorators = {ast.unparse(decorator) for decorator in each.decorator_list}
        if each.name.startswith("_") or decorators & {"overload", "override"}:
            continue
        if not ast.get_docstring(each):
            yield f"{where}: {each.name}"
        if isinstance(each, ast.ClassDef):
            yield from _undocumented(each, f"{where}: {each.name}")


def test_public_names_say_what_they_are() -> None:
    modules = [path for path in SOURCES if "migrations" not in path.parts]
    found = [
        text for path in modules for text in _undocumented(ast.parse(path.read_text()), _name(path))
    ]
    assert found == []


def test_types_are_for_others_too() -> None:
    assert (ROOT / "py.typed").is_file()


def test_no_file_names_the_host_of_a_package_index() -> None:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no clone of the repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    # In two halves, so that this file does not name them.
    hosts = [
        a + b
        for a, b in (
            ("py", "pi.org"),
            ("python", "hosted.org"),
            ("npm", "js.org"),
            ("npm", "js.com"),
            ("crates", ".io"),
            ("proxy.golang", ".org"),
            ("rubygems", ".org"),
        )
    ]
    naming = [
        f"{name}: {host}"
        for name in listed.stdout.split("\0")
        if name and (REPOSITORY / name).is_file()
        for host in hosts
        if host.encode() in (REPOSITORY / name).read_bytes()
    ]
    assert naming == []


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
