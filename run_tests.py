"""Runs the tests: ``python run_tests.py [PATHS AND OPTIONS OF PYTEST]``, or all of them.

With this Python where pytest is installed for it, else in .venv, which make sets up.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ALL = ["-n", "logical", "--maxprocesses", "8", "--dist", "worksteal", str(ROOT / "tests")]


def main() -> None:
    """Set up what is missing, and become pytest."""
    python = sys.executable
    if importlib.util.find_spec("pytest") is None:
        make = ["make", "-C", str(ROOT), ".venv/.dev", ".venv/.project"]
        if subprocess.run(make, check=False).returncode != 0:
            sys.exit("the tests need make, or `pip install -r requirements-phase3.txt`")
        python = str(ROOT / ".venv/bin/python")
    os.execv(python, [python, "-m", "pytest", *(sys.argv[1:] or ALL)])


if __name__ == "__main__":
    main()
