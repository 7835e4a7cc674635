"""Tasks, receipts and tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SORTED = ("created_at", "updated_at", "size", "name_key", "priority")
_NAMES = ("created", "updated", "size", "name", "priority")


def upgrade() -> None:
    _tasks()
    _receipts()
    op.create_table(
        "tokens",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("last_used_at", sa.Double()),
        sa.Column("digest", sa.LargeBinary(), nullable=False, unique=True),
    )
    if op.get_bind().dialect.name == "sqlite":
        _text_index_of_sqlite()
    else:
        _text_index_of_postgresql()


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text()),
        sa.Column("name", sa.Text()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("start_at", sa.Double()),
        sa.Column("finished_at", sa.Double()),
        sa.Column("key", sa.Text()),
        sa.Column("position", sa.Integer()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column(
            "name_key",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("search", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    for name, column in zip(_NAMES, _SORTED, strict=True):
        held = [column, "seq", "state", "user", "engine"]
        held += [] if column == "created_at" else ["created_at"]
        op.create_index(f"tasks_by_{name}", "tasks", held)
    op.create_index("tasks_by_state", "tasks", ["state", "user"])
    op.create_index("tasks_by_key", "tasks", ["user", "key", "position"], unique=True)


def _receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("task", sa.Text(), primary_key=True),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_key", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("path", sa.Text()),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text()),
        sa.Column("finished_at", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("receipts_by_source", "receipts", ["source_key", "finished_at"])
    op.create_index("receipts_by_time", "receipts", ["finished_at"])
    op.create_index("receipts_by_user", "receipts", ["user", "finished_at", "size"])


def _text_index_of_sqlite() -> None:
    # https://sqlite.org/fts5.html#external_content_tables: the index keeps no text of its own, so
    # a removal has to hand it the old text. The text is without case already.
    op.execute(
        "CREATE VIRTUAL TABLE tasks_text USING fts5(search, content='tasks', content_rowid='seq',"
        " tokenize='trigram case_sensitive 1', detail='none', columnsize=0)"
    )
    # Every sequence of three characters with the tasks that have it, for texts that are shorter.
    op.execute("CREATE VIRTUAL TABLE tasks_text_terms USING fts5vocab('tasks_text', 'instance')")
    remove = (
        "INSERT INTO tasks_text(tasks_text, rowid, search) VALUES ('delete', old.seq, old.search);"
    )
    insert = "INSERT INTO tasks_text(rowid, search) VALUES (new.seq, new.search);"
    op.execute(f"CREATE TRIGGER tasks_text_insert AFTER INSERT ON tasks BEGIN {insert} END")
    op.execute(f"CREATE TRIGGER tasks_text_delete AFTER DELETE ON tasks BEGIN {remove} END")
    op.execute(
        "CREATE TRIGGER tasks_text_update AFTER UPDATE OF search ON tasks"
        f" WHEN old.search <> new.search BEGIN {remove} {insert} END"
    )


def _text_index_of_postgresql() -> None:
    """Without the extension a search reads the whole table, and is right all the same."""
    connection = op.get_bind()
    if connection.scalar(sa.text("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'")):
        try:
            with connection.begin_nested():
                op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        except sa.exc.ProgrammingError:
            return  # This user of the database may not; an extension that is there is no error.
        op.execute("CREATE INDEX tasks_text ON tasks USING gin (search gin_trgm_ops)")
