"""What a plugin's author imports."""

from bot.plugins.api import (
    AlertPlugin,
    BackupPlugin,
    BasePlugin,
    MonitorPlugin,
    PluginMetadata,
    Response,
    SourcePlugin,
    TaskPlugin,
)

__all__ = [
    "AlertPlugin",
    "BackupPlugin",
    "BasePlugin",
    "MonitorPlugin",
    "PluginMetadata",
    "Response",
    "SourcePlugin",
    "TaskPlugin",
]
