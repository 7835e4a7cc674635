"""What can be asked: each field calls a service and shapes its answer."""

from __future__ import annotations

from bot.graphql.declaring import described
from bot.graphql.queries_service import ServiceQueries
from bot.graphql.queries_tasks import TaskQueries
from bot.graphql.queries_watch import WatchQueries


@described
class Query(TaskQueries, WatchQueries, ServiceQueries):
    """What can be asked. A caller without the scope ADMIN sees own tasks only."""
