"""The public surface of the plugins, as the guide shows it; its snippets are run as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

import bot.core.plugin_manager as surface
from bot.app import running
from bot.config import Settings, load
from bot.core.plugin_manager import plugin_manager
from bot.domain.plugins import PluginState
from bot.errors import NotFound, Unavailable
from tests.guide import PLUGINS


def _settings(directory: Path) -> Settings:
    plugins = directory / "plugins"
    plugins.mkdir()
    for name, text in PLUGINS.items():
        (plugins / f"{name}.py").write_text(text)
    environ = {
        "DATA_DIR": str(directory / "data"),
        "DOWNLOAD_DIR": str(directory / "files"),
        "PLUGINS_DIR": str(plugins),
    }
    return load(environ, directory).settings


def _state(name: str) -> PluginState:
    return {each.id: each.state for each in plugin_manager.list_plugins()}[name]


async def test_the_snippets_of_the_guide(tmp_path: Path) -> None:
    async with running(_settings(tmp_path)):
        await plugin_manager.started()
        assert {each.id: (each.type, each.state) for each in plugin_manager.list_plugins()} == {
            "my_custom_plugin": ("custom", "running"),
            "custom_backup_plugin": ("backup", "running"),
            "custom_alert_plugin": ("alert", "running"),
            "custom_monitor_plugin": ("monitor", "running"),
            "configured": ("custom", "running"),
        }
        plugin_name, data = "my_custom_plugin", {"any": "data"}
        result = await plugin_manager.execute_plugin(plugin_name, **data)
        assert result == {"status": "success"}
        assert await plugin_manager.execute_plugin(
            "custom_backup_plugin", source_path="/x", backup_name="y"
        )
        assert await plugin_manager.execute_plugin("custom_alert_plugin", alert_data={})
        metrics = {"cpu_percent": 1.5}
        found = await plugin_manager.execute_plugin("custom_monitor_plugin", metrics=metrics)
        assert found == metrics
        assert (await plugin_manager.execute_plugin("configured"))["batch_size"] == 100


async def test_plugins_are_loaded_unloaded_enabled_and_disabled(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    name = "my_custom_plugin"
    async with running(settings):
        await plugin_manager.started()
        assert (await plugin_manager.unload_plugin(name)).state is PluginState.DISABLED
        assert (await plugin_manager.load_plugin(name)).state is PluginState.RUNNING
        first = (await plugin_manager.reload_plugin(name)).pid
        assert first is not None
        assert (await plugin_manager.unload_plugin(name)).pid is None
        assert (await plugin_manager.disable_plugin("configured")).state is PluginState.DISABLED
        with pytest.raises(NotFound, match="nobody"):
            await plugin_manager.load_plugin("nobody")
    async with running(settings):
        await plugin_manager.started()
        assert _state(name) is PluginState.RUNNING
        assert _state("configured") is PluginState.DISABLED
        assert (await plugin_manager.enable_plugin("configured")).state is PluginState.RUNNING
        await plugin_manager.shutdown()
        assert {each.pid for each in plugin_manager.list_plugins()} == {None}
    with pytest.raises(Unavailable, match="no service"):
        plugin_manager.list_plugins()


def test_the_surface_is_pinned() -> None:
    assert sorted(surface.__all__) == [
        "AlertPlugin",
        "BackupPlugin",
        "BasePlugin",
        "MonitorPlugin",
        "PluginManager",
        "PluginMetadata",
        "Response",
        "SourcePlugin",
        "TaskPlugin",
        "plugin_manager",
    ]
    public = {name for name in vars(surface.PluginManager) if not name.startswith("_")}
    assert public == {
        "attached",
        "disable_plugin",
        "enable_plugin",
        "execute_plugin",
        "list_plugins",
        "load_plugin",
        "register_hook",
        "register_plugin_type",
        "reload_plugin",
        "shutdown",
        "started",
        "trigger_hook",
        "unload_plugin",
    }


_NAMED = """
from bot.core.plugin_manager import BasePlugin

class Named(BasePlugin):
    async def execute(self, name, method, timeout, fds, data):
        return [name, method, timeout, fds, data]
"""


async def test_arguments_of_a_plugin_may_have_any_name(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    (settings.plugins_dir / "named.py").write_text(_NAMED)
    async with running(settings):
        await plugin_manager.started()
        found = await plugin_manager.execute_plugin(
            "named", name="a", method="b", timeout=0, fds=[], data={}
        )
        assert found == ["a", "b", 0, [], {}]


async def test_code_beside_the_service_has_hooks_and_types(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    (settings.plugins_dir / "mine.py").write_text(
        "from bot.core.plugin_manager import BasePlugin\n"
        "class Mine(BasePlugin):\n    type = 'reporter'\n"
    )
    told: list[object] = []
    async with running(settings):
        await plugin_manager.started()
        assert _state("mine") is PluginState.FAILED
        plugin_manager.register_plugin_type("reporter")
        assert (await plugin_manager.load_plugin("mine")).type == "reporter"
        deaf = plugin_manager.register_hook("custom.done", told.append)
        plugin_manager.trigger_hook("custom.done", {"a": 1})
        deaf()
        plugin_manager.trigger_hook("custom.done", {"a": 2})
    assert told == [{"a": 1}]
