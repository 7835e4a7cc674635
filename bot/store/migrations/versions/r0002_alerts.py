"""Alerts, silences and the notifications that are to be told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _key() -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("seq", kind, primary_key=True, autoincrement=True)


def upgrade() -> None:
    op.create_table(
        "alerts",
        _key(),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("resolved_at", sa.Double()),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("alerts_by_state", "alerts", ["state", "severity", "rule"])
    op.create_index("alerts_by_end", "alerts", ["resolved_at"])
    op.create_table(
        "alert_silences",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_table(
        "alert_notifications",
        _key(),
        sa.Column("notification", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("tried_for", sa.Double(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("alert_notifications_by_channel", "alert_notifications", ["channel", "state"])
    op.create_index("alert_notifications_by_time", "alert_notifications", ["created_at"])
