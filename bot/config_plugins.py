"""The settings of the plugins, under the names that the guide gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings

from bot.config_types import NestedModel, Place, Seconds, split_at


class PluginThresholds(NestedModel):
    """How much of the machine the plugins may have."""

    max_concurrent: int = Field(10, ge=1, le=1000, description="Calls of plugins at the same time.")
    cpu_share: int = Field(
        100, ge=1, le=10_000, description="Per cent of one core that one plugin may use over time."
    )
    disk_quota: int = Field(64, ge=1, description="MB that one plugin may keep in its directory.")
    state_quota: int = Field(
        1024, ge=1, description="KB of values that one plugin may keep in the store."
    )


class PluginSecurity(NestedModel):
    """What is made sure of before a plugin runs."""

    verify_checksum: bool = Field(
        True,
        description="When a plugin is loaded, compare the copy that runs with the files it is made "
        "of, and those with a plugin.files that nobody signed. What is signed is always compared.",
    )
    require_signature: bool = Field(
        False, description="Run only what a key has signed that the operator trusts."
    )


class PluginSettings(BaseSettings):
    """The part of ``Settings`` that is about plugins."""

    # Plugins
    enable_plugin_system: bool = Field(True, description="Whether plugins are run at all.")
    plugins_dir: Place = Field(
        Path("plugins"), description="Where the operator's plugins lie; a file each, or a folder."
    )
    auto_load_plugins: bool = Field(
        True,
        description="Start at once what is new in PLUGINS_DIR; else it waits until it is enabled.",
    )
    plugin_hot_reload: bool = Field(
        True,
        description="Load what changes in PLUGINS_DIR at once: what is new starts, what is gone "
        "ends, and a version that does not come up leaves the one before it.",
    )
    plugin_security: PluginSecurity = Field(
        PluginSecurity(), description="What is made sure of before a plugin runs."
    )
    plugin_sandbox: bool = Field(
        True,
        description="Whether plugins run behind walls; off, each may do whatever this service may.",
    )
    plugin_full_trust: Annotated[list[str], split_at(",")] = Field(
        [], description="Plugins that run without walls all the same, comma separated."
    )
    plugin_allowed_imports: Annotated[list[str], split_at(",")] = Field(
        [],
        description="Modules that plugins may import, comma separated; empty: all that are there. "
        "Advice for authors: the sandbox is what holds.",
    )
    plugin_memory_limit: int = Field(
        256, ge=32, description="MB of memory that one plugin may have, Python itself included."
    )
    plugin_timeout: Seconds = Field(
        300.0, description="Seconds that one call of a plugin may take; then it is killed."
    )
    plugin_hook_timeout: Seconds = Field(
        2.0,
        gt=0,
        description="Seconds that a task waits for one question to all plugins; then it goes on.",
    )
    plugin_thresholds: PluginThresholds = Field(
        PluginThresholds(), description="How much of the machine the plugins may have."
    )
