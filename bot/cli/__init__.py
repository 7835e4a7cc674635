"""The command ``mltb``."""

from bot.cli import alerts, backups, commands, plugins, profiling, recovery
from bot.cli.common import main

__all__ = ["alerts", "backups", "commands", "main", "plugins", "profiling", "recovery"]
