"""The tables, as they are after the newest revision in ``migrations``.

Times are UNIX seconds, sizes are bytes. What a query filters or sorts by has a column; the rest of
a task or a receipt is JSON in ``body`` (see ``rows``).

Every order of a page has one index that begins with the sorted column and ``seq`` and holds every
filter as well, so that a page is found by walking that index alone, however rare its matches are.
"""

from __future__ import annotations

import sqlalchemy as sa

#: Every revision, oldest first. The program reads this instead of the scripts (a test compares).
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")

#: The name of the trigram index over ``tasks.search`` in SQLite (FTS5) and PostgreSQL (GIN).
TEXT_INDEX = "tasks_text"
#: The terms of that index, in SQLite.
TEXT_TERMS = "tasks_text_terms"

#: The column of each order that ``TaskQuery.sort`` can name.
SORTS = {
    "created": "created_at",
    "updated": "updated_at",
    "size": "size",
    "name": "name_key",
    "priority": "priority",
}

metadata = sa.MetaData()

# Compared byte by byte in both databases, so that one order and one cursor fit them both.
_BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("seq", _KEY, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("engine", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("destination", sa.Text, nullable=False),
    # -1 where it is not known: a NULL has no place in an order that a cursor goes on from.
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("priority", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Column("start_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    # The idempotency key of the submission, and which of its tasks this one is.
    sa.Column("key", sa.Text),
    sa.Column("position", sa.Integer),
    sa.Column("version", sa.BigInteger, nullable=False),
    # The first characters of the name without case, to sort by.
    sa.Column("name_key", _BYTEWISE, nullable=False),
    # Name and source without case, to look for text in.
    sa.Column("search", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

for _name, _column in SORTS.items():
    _held = [tasks.c[_column], tasks.c.seq, tasks.c.state, tasks.c.user, tasks.c.engine]
    _held += [] if _column == "created_at" else [tasks.c.created_at]
    sa.Index(f"tasks_by_{_name}", *_held)
sa.Index("tasks_by_state", tasks.c.state, tasks.c.user)
sa.Index("tasks_by_key", tasks.c.user, tasks.c.key, tasks.c.position, unique=True)

receipts = sa.Table(
    "receipts",
    metadata,
    # No foreign key: a receipt outlives its task.
    sa.Column("task", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    # A digest of the source: a magnet link can be longer than an index of PostgreSQL takes.
    sa.Column("source_key", sa.Text, nullable=False),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("path", sa.Text),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text),
    sa.Column("finished_at", sa.Double, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
sa.Index("receipts_by_source", receipts.c.source_key, receipts.c.finished_at)
sa.Index("receipts_by_time", receipts.c.finished_at)
sa.Index("receipts_by_user", receipts.c.user, receipts.c.finished_at, receipts.c.size)
# By hash in PostgreSQL: a path can be longer than an index in order takes there.
sa.Index("receipts_by_path", receipts.c.path, postgresql_using="hash")

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double),
    sa.Column("last_used_at", sa.Double),
    # The SHA-256 of the secret, which is stored nowhere.
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
)

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("seq", _KEY, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("resolved_at", sa.Double),
    sa.Column("body", sa.Text, nullable=False),
)
sa.Index("alerts_by_state", alerts.c.state, alerts.c.severity, alerts.c.rule)
sa.Index("alerts_by_end", alerts.c.resolved_at)

alert_silences = sa.Table(
    "alert_silences",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

# What is to be told, one row for each channel that has to; it stays after that as the record.
alert_notifications = sa.Table(
    "alert_notifications",
    metadata,
    sa.Column("seq", _KEY, primary_key=True, autoincrement=True),
    sa.Column("notification", sa.Text, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    # pending, delivered or failed
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("finished_at", sa.Double),
    sa.Column("attempts", sa.Integer, nullable=False),
    # Seconds for which it was tried while the service ran; a clock that jumps does not count.
    sa.Column("tried_for", sa.Double, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("body", sa.Text, nullable=False),
)
sa.Index(
    "alert_notifications_by_channel", alert_notifications.c.channel, alert_notifications.c.state
)
sa.Index("alert_notifications_by_time", alert_notifications.c.created_at)

# Samples (step 0) and buckets of the history of metrics: see ``operations.blocks``.
series_blocks = sa.Table(
    "series_blocks",
    metadata,
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("settled", sa.Boolean, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

checks = sa.Table(
    "checks",
    metadata,
    # Identifiers sort by time, also where the clock was set back.
    sa.Column("id", sa.Text, primary_key=True),
    # Who asked for it, and whose receipts were looked at (NULL: everybody's).
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("target", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("finished_at", sa.Double),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("files", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("wrong", sa.BigInteger, nullable=False),
    # Findings that are stored; there may have been more.
    sa.Column("findings", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
sa.Index("checks_by_state", checks.c.state, checks.c.id)

findings = sa.Table(
    "findings",
    metadata,
    sa.Column("check_id", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("condition", sa.Text, nullable=False),
    sa.Column("task", sa.Text),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("expected", sa.Text),
    sa.Column("found", sa.Text),
)

starts = sa.Table(
    "starts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("started_at", sa.Double, nullable=False),
    # NULL until it ended as it should: what has none and does not run was killed.
    sa.Column("ended_at", sa.Double),
    sa.Column("body", sa.Text, nullable=False),
)

plugins = sa.Table(
    "plugins",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)

plugin_keys = sa.Table(
    "plugin_keys",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)

plugin_values = sa.Table(
    "plugin_values",
    metadata,
    sa.Column("plugin", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    # The hash that argon2 made of it.
    sa.Column("password", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("changed_at", sa.Double, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    # The SHA-256 of the secret, which is stored nowhere.
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    # The token that it was begun with; NULL: a password.
    sa.Column("token", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("seen_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("address", sa.Text),
    sa.Column("agent", sa.Text),
)
sa.Index("sessions_by_user", sessions.c.user)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", _KEY, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("via", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text),
    sa.Column("address", sa.Text),
    # The status of HTTP.
    sa.Column("outcome", sa.Integer, nullable=False),
    sa.Column("request", sa.Text),
    sa.Column("details", sa.Text, nullable=False),
)
sa.Index("audit_by_time", audit.c.at)
sa.Index("audit_by_user", audit.c.user, audit.c.seq)
