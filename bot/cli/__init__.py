"""The command ``mltb``."""

from bot.cli import commands, profiling
from bot.cli.common import main

__all__ = ["commands", "main", "profiling"]
