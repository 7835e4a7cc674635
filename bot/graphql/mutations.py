"""What can be changed. Each answers with what it did, or with a problem."""

from __future__ import annotations

from bot.graphql.declaring import described
from bot.graphql.mutations_access import AccessMutations
from bot.graphql.mutations_plugins import PluginMutations
from bot.graphql.mutations_service import ServiceMutations
from bot.graphql.mutations_tasks import TaskMutations
from bot.graphql.mutations_watch import WatchMutations


@described
class Mutation(TaskMutations, WatchMutations, PluginMutations, ServiceMutations, AccessMutations):
    """What can be changed."""
