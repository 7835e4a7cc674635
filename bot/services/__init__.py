"""The use cases. Every door (REST, chat, command line) parses, calls one of these, renders.

``Caller`` says who asks: a caller without the scope ``admin`` sees and moves own tasks only.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.services.alerts import Alerts
from bot.services.audit import Audit
from bot.services.backups import Backups
from bot.services.callers import OWNER, Caller, Scope
from bot.services.history import History
from bot.services.logs import Logs
from bot.services.metrics import Metrics
from bot.services.plugins import Plugins
from bot.services.profiling import Profiling
from bot.services.recovery import Recovery
from bot.services.sessions import Sessions
from bot.services.submissions import MAX_SUBMISSIONS, Submission
from bot.services.system import System
from bot.services.tasks import Submitted, Tasks, TaskView
from bot.services.tokens import Tokens
from bot.services.users import Users

__all__ = [
    "MAX_SUBMISSIONS",
    "OWNER",
    "Alerts",
    "Audit",
    "Backups",
    "Caller",
    "History",
    "Logs",
    "Metrics",
    "Plugins",
    "Profiling",
    "Recovery",
    "Scope",
    "Services",
    "Sessions",
    "Submission",
    "Submitted",
    "System",
    "TaskView",
    "Tasks",
    "Tokens",
    "Users",
]


@dataclass(frozen=True, slots=True)
class Services:
    """All of them, as a door gets them."""

    tasks: Tasks
    tokens: Tokens
    sessions: Sessions
    users: Users
    audit: Audit
    logs: Logs
    metrics: Metrics
    history: History
    profiling: Profiling
    alerts: Alerts
    backups: Backups
    recovery: Recovery
    plugins: Plugins
    system: System
