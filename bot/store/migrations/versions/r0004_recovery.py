"""Checks of integrity with what they found, and the starts of the service."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables, and the index that finds the receipts of a path."""
    op.create_index("receipts_by_path", "receipts", ["path"], postgresql_using="hash")
    op.create_table(
        "checks",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("target", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double()),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("wrong", sa.BigInteger(), nullable=False),
        sa.Column("findings", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("checks_by_state", "checks", ["state", "id"])
    op.create_table(
        "findings",
        sa.Column("check_id", sa.Text(), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("task", sa.Text()),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("expected", sa.Text()),
        sa.Column("found", sa.Text()),
    )
    op.create_table(
        "starts",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double()),
        sa.Column("body", sa.Text(), nullable=False),
    )
