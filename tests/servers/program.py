"""A server that is a program: started, waited for until it says that it listens, and ended."""

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_GUARD = str(Path(__file__).with_name("guard.py"))


class ProgramFailed(Exception):
    """The program ended, or said nothing in time; carries what it wrote."""


class Program:
    """A child whose output is read all the time and which dies with this process.

    An `interactive` one reads its standard input itself, and has to end when that does.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        interactive: bool = False,
    ) -> None:
        guard = [] if interactive else [sys.executable, "-I", "-S", _GUARD]
        self._said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            [*guard, *argv],
            env=dict(os.environ if env is None else env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            self._said.append(text)
            self._lines.put(text)
        self._lines.put(None)

    @property
    def output(self) -> str:
        """What it wrote so far, to both of its outputs."""
        return "\n".join(self._said)

    def expect(self, pattern: str, timeout: float = 20.0) -> re.Match[str]:
        """Wait for a line that holds the pattern."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                raise ProgramFailed(f"it ended:\n{self.output}")
            if found := re.search(pattern, line):
                return found
        raise ProgramFailed(f"no {pattern!r} within {timeout} s:\n{self.output}")

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """End it and wait; stopping twice is fine."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        self._process.stdout.close()
