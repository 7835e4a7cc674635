"""Runs a step as the runner does: an input directory, an empty output, what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.domain.ports import Step, StepJob
from bot.domain.task import FileEntry, Progress
from bot.transfers.steps import Programs, build_steps, find_programs

PROGRAMS = find_programs()
BARE = Programs(None, None)


@dataclass
class Bench:
    """Steps with limits, a place to work, and what was reported."""

    root: Path
    programs: Programs = PROGRAMS
    max_size: int = 64 * 1024 * 1024
    max_files: int = 1000
    max_ratio: float = 100.0
    max_depth: int = 3
    timeout: float = 60.0
    reports: list[str] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)

    @property
    def steps(self) -> Mapping[str, Step]:
        return build_steps(
            self.programs,
            max_size=self.max_size,
            max_files=self.max_files,
            max_ratio=self.max_ratio,
            max_depth=self.max_depth,
            timeout=self.timeout,
            report=self.reports.append,
        )

    @property
    def input(self) -> Path:
        return self._made("input")

    @property
    def output(self) -> Path:
        return self._made("output")

    def _made(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    def put(self, path: str, content: bytes = b"") -> Path:
        target = self.input / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    async def run(self, step: str, /, **params: Any) -> dict[str, bytes]:
        """The output of the step over the whole input, by path, compared with its entries."""
        entries = [
            FileEntry(path.relative_to(self.input).as_posix(), path.stat().st_size)
            for path in sorted(self.input.rglob("*"))
            if path.is_file()
        ]
        return await self.run_on(step, entries, params)

    async def run_on(
        self, name: str, entries: list[FileEntry], params: dict[str, Any]
    ) -> dict[str, bytes]:
        step = self.steps[name]
        checked = step.check(params)
        assert step.check(checked) == checked
        job = StepJob("t1", self.input, entries, self.output, checked, self.progress.append)
        before = self._tree(self.input)
        found = await step.run(job)
        assert self._tree(self.input) == before, "a step leaves its input alone"
        assert not any(path.is_symlink() for path in self.output.rglob("*"))
        result = self._tree(self.output)
        assert [entry.path for entry in found] == sorted(result)
        for entry in found:
            assert entry.size == len(result[entry.path])
            assert entry.sha256 == hashlib.sha256(result[entry.path]).hexdigest()
        return result

    def left(self) -> dict[str, bytes]:
        """What lies in the output now."""
        return self._tree(self.output)

    @staticmethod
    def _tree(root: Path) -> dict[str, bytes]:
        found = {}
        for path in root.rglob("*"):
            if path.is_file():
                found[path.relative_to(root).as_posix()] = path.read_bytes()
        return found
