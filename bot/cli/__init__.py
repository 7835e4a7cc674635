"""The command ``mltb``."""

from bot.cli.commands import main

__all__ = ["main"]
