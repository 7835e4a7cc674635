"""What an archive may unpack to, in bytes and entries, over all its layers together."""

from __future__ import annotations

from dataclasses import dataclass

from bot.errors import PolicyRefused

#: Below this sum the ratio says nothing: a small text file may well shrink a thousandfold.
RATIO_FLOOR = 64 * 1024 * 1024


@dataclass(slots=True)
class Budget:
    """How many bytes and entries may still come. ``packed`` is the size of the archives that the
    step was given, ``by_ratio`` says that the ratio set the limit and not the size."""

    size: int
    files: int
    packed: int
    by_ratio: bool = False
    max_size: int = 0
    max_files: int = 0

    @classmethod
    def of(cls, *, packed: int, max_size: int, max_files: int, max_ratio: float) -> Budget:
        """The budget for archives of ``packed`` bytes under the limits of the operator."""
        by_ratio = max(RATIO_FLOOR, int(packed * max_ratio))
        size = min(max_size, by_ratio)
        return cls(size, max_files, packed, by_ratio < max_size, size, max_files)

    def check(self, size: int, files: int = 0) -> None:
        """PolicyRefused where ``size`` more bytes or ``files`` more entries are too many."""
        if files > self.files:
            raise PolicyRefused(
                f"the archive holds more than {self.max_files} entries",
                hint="the limit is ARCHIVE_MAX_FILES",
            )
        if size <= self.size:
            return
        if self.by_ratio:
            raise PolicyRefused(
                f"the archive of {self.packed} bytes unpacks to more than {self.max_size}, "
                "as bombs do",
                hint="the limit is ARCHIVE_MAX_RATIO",
            )
        raise PolicyRefused(
            f"the archive unpacks to more than {self.max_size} bytes",
            hint="the limit is ARCHIVE_MAX_SIZE",
        )

    def spend(self, size: int, files: int = 0) -> None:
        """Take that from the budget; PolicyRefused where it is not there."""
        self.check(size, files)
        self.size -= size
        self.files -= files
