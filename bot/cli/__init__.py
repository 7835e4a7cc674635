"""The command ``mltb``."""

from bot.cli import alerts, commands, profiling
from bot.cli.common import main

__all__ = ["alerts", "commands", "main", "profiling"]
