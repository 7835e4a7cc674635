"""The command ``mltb``."""

from bot.cli import (
    access,
    alerts,
    backups,
    commands,
    graphql,
    logs,
    plugins,
    plugins_author,
    plugins_trust,
    profiling,
    recovery,
)
from bot.cli.common import main

__all__ = [
    "access",
    "alerts",
    "backups",
    "commands",
    "graphql",
    "logs",
    "main",
    "plugins",
    "plugins_author",
    "plugins_trust",
    "profiling",
    "recovery",
]
