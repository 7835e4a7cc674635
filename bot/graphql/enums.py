"""The enumerations of the schema: those of the domain, declared before anything names them."""

from __future__ import annotations

from bot.domain.alerts import AlertState, Severity
from bot.domain.integrity import CheckScope, CheckState, Condition
from bot.domain.plugins import PluginState, Signature
from bot.domain.task import StageKind, StageState, TaskState
from bot.graphql.declaring import choice
from bot.services.callers import Scope

__all__ = [
    "AlertState",
    "CheckScope",
    "CheckState",
    "Condition",
    "PluginState",
    "Scope",
    "Severity",
    "Signature",
    "StageKind",
    "StageState",
    "TaskState",
]

for _each in (
    AlertState,
    CheckScope,
    CheckState,
    Condition,
    PluginState,
    Scope,
    Severity,
    Signature,
    StageKind,
    StageState,
    TaskState,
):
    choice(_each)
