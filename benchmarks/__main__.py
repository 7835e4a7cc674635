"""``python -m benchmarks [NAME...]``: measure, print, and keep the figures in RESULTS.md."""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import claims
from benchmarks.rig import Result

HERE = Path(__file__).parent
NAMES = (
    "idle",
    "submit",
    "http_large",
    "http_throttled",
    "http_many",
    "rclone_upload",
    "in_flight",
)
_WORDS = {True: "met", False: "**missed**", None: ""}


def main(wanted: list[str]) -> None:
    """Run the named benchmarks, all of them by default."""
    kept = HERE / "results.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    for name in wanted or NAMES:
        rows = []
        for found in getattr(claims, name)():
            print(f"{name}: {found.claim}: {found.figure} [{_WORDS[found.met]}]", flush=True)
            rows.append(_row(found))
        known[name] = {"date": datetime.now(UTC).date().isoformat(), "rows": rows}
        kept.write_text(json.dumps(known, indent=1) + "\n")
    (HERE / "RESULTS.md").write_text(_page(known))


def _row(found: Result) -> list[str]:
    return [found.claim, found.figure, found.target, _WORDS[found.met], found.note]


def _page(known: dict[str, dict[str, object]]) -> str:
    notes = HERE / "NOTES.md"
    lines = [
        "# Results\n\n",
        "Made by `make bench`. Each ratio is against the named peer in the same run, on two\n",
        f"shared, noisy cores; Python {platform.python_version()}.\n\n",
        "| benchmark | claim | figure | target | | date |\n|---|---|---|---|---|---|\n",
    ]
    for name in NAMES:
        entry = known.get(name)
        for row in entry["rows"] if entry else ():  # type: ignore[attr-defined]
            claim, figure, target, met, _ = row
            date = entry["date"] if entry else ""
            lines.append(f"| `{name}` | {claim} | {figure} | {target} | {met} | {date} |\n")
    return "".join(lines) + ("\n" + notes.read_text() if notes.exists() else "")


if __name__ == "__main__":
    main(sys.argv[1:])
