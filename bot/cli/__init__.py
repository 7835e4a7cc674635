"""The command ``mltb``."""

from bot.cli import alerts, backups, commands, logs, plugins, profiling, recovery
from bot.cli.common import main

__all__ = ["alerts", "backups", "commands", "logs", "main", "plugins", "profiling", "recovery"]
