"""The command ``mltb``."""

from bot.cli import commands
from bot.cli.common import main

__all__ = ["commands", "main"]
