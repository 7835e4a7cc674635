"""Plugins."""

from __future__ import annotations

import strawberry

from bot.graphql.declaring import described, said
from bot.graphql.enums import PluginState
from bot.plugins.known import PluginInfo


@described
class Plugin:
    """A plugin, as it lies in PLUGINS_DIR or in an installed package."""

    id: strawberry.ID = said("Its name.")
    state: PluginState = said("How it is.")
    reason: str | None = said("Why it does not run.")
    type: str = said("What it is for.")
    version: str = said("Its version.")
    author: str = said("Who wrote it.")
    description: str = said("What it does.")
    hooks: list[str] = said("The hooks that it takes part in.")
    rights: list[str] = said("The rights that it asks for.")
    granted: list[str] = said("The rights that it was granted.")
    tier: str | None = said("What confines it while it runs.")
    digest: str | None = said("The SHA-256 of the code that runs, in hex.")
    calls: int = said("How often it was called.")
    failures: int = said("How many calls failed.")
    crashes: int = said("How often its process ended by itself.")
    seconds: float = said("Spent in its calls, all together.")

    @classmethod
    def of(cls, found: PluginInfo) -> Plugin:
        """As the schema has it."""
        return cls(
            id=strawberry.ID(found.id),
            state=found.state,
            reason=found.reason,
            type=found.type,
            version=found.version,
            author=found.author,
            description=found.description,
            hooks=found.hooks,
            rights=found.rights,
            granted=found.granted,
            tier=found.tier,
            digest=found.digest,
            calls=found.calls,
            failures=found.failures,
            crashes=found.crashes,
            seconds=found.seconds,
        )
