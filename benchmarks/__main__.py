"""``python -m benchmarks [NAME...]``: measure, print, and keep the figures in RESULTS.md.

What is not measured in a run keeps its figures; each section says when it was made and how busy the
machine was before.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.rig import Result, nginx_program
from tests.servers.rclone import program as rclone_program

_HERE = Path(__file__).parent
_KEPT = _HERE / "results.json"
_NOTES = _HERE / "NOTES.md"
NAMES = (
    "idle",
    "store",
    "history",
    "profiler",
    "events",
    "submit",
    "http_large",
    "http_throttled",
    "http_many",
    "rclone_upload",
    "in_flight",
    "plugins",
    "graphql",
    "dashboard",
    "rest",
    "live",
)
_MET = {True: "met", False: "**missed**", None: "–"}


def main() -> None:
    """Run the named benchmarks, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}")
    names = parser.parse_args().names
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    sections = json.loads(_KEPT.read_text()) if _KEPT.exists() else {}
    for name in names or NAMES:
        sections[name] = _section(name)
        _KEPT.write_text(json.dumps(sections, indent=1, ensure_ascii=False) + "\n")
        (_HERE / "RESULTS.md").write_text(_page(sections))


def _section(name: str) -> dict[str, Any]:
    """Measure one benchmark; what RESULTS.md says about it."""
    began = datetime.now(UTC)
    load = os.getloadavg()[0]
    module = importlib.import_module(f"benchmarks.{name}")
    rows = []
    print(f"{name}:", flush=True)
    for result in module.measure():
        rows.append(_row(result))
        print("  " + "; ".join(filter(None, rows[-1])), flush=True)
    return {
        "title": (module.__doc__ or name).splitlines()[0].rstrip("."),
        "made": began.strftime("%Y-%m-%d %H:%M UTC"),
        "load": round(load, 1),
        "rows": rows,
    }


def _row(result: Result) -> list[str]:
    return [result.claim, result.figure, result.target, _MET[result.met]]


def _page(sections: dict[str, dict[str, Any]]) -> str:
    lines = [
        "# Results",
        "",
        "Made by `make bench`: through the running service, against the named peer in the same",
        "run. The machine of the last run:",
        "",
        *(f"- {line}" for line in _machine()),
    ]
    for name in NAMES:
        if name in sections:
            lines += ["", *_table(name, sections[name])]
    if _NOTES.exists():
        lines += ["", _NOTES.read_text().rstrip()]
    return "\n".join(lines) + "\n"


def _table(name: str, section: dict[str, Any]) -> list[str]:
    return [
        f"## {name}",
        "",
        f"{section['title']}. {section['made']}, load before: {section['load']}.",
        "",
        "| what | figure | target | |",
        "|---|---|---|---|",
        *("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"
          for row in section["rows"]),
    ]  # fmt: skip


def _machine() -> list[str]:
    names = {line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo", "model name")}
    memory = int(_lines("/proc/meminfo", "MemTotal")[0].split()[1]) * 1024
    packages = " ".join(f"{name} {metadata.version(name)}" for name in ("pycurl", "uvicorn"))
    return [
        (
            f"{os.cpu_count()} × {', '.join(names)}, {memory / 2**30:.0f} GiB, "
            f"Linux {platform.release()}"
        ),
        f"Python {platform.python_version()}, {packages}",
        (
            f"{_first_line('curl', '--version').split(' (')[0]}, "
            f"{_first_line(rclone_program(), 'version')}, "
            f"{_first_line(nginx_program(), '-v').removeprefix('nginx version: ')}, "
            f"{_first_line('sha256sum', '--version')}"
        ),
    ]


def _lines(path: str, start: str) -> list[str]:
    return [line for line in Path(path).read_text().splitlines() if line.startswith(start)]


def _first_line(*argv: str) -> str:
    done = subprocess.run(
        argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout.splitlines()[0]


if __name__ == "__main__":
    main()
