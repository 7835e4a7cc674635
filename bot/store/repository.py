"""The store: tasks, receipts and tokens that survive ``kill -9``."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bot.domain.ports import LiveTasks, Profiler, TaskPage, TaskQuery, Token
from bot.domain.profiling import UNPROFILED
from bot.domain.task import FINAL, Receipt, Task, TaskState
from bot.errors import ConfigError, Duplicate, InternalFailure, InvalidInput, MltbError
from bot.store import pages, rows
from bot.store.backend import AlreadyThere, Backend
from bot.store.journal import Journal
from bot.store.migrate import History
from bot.store.profiled import ProfiledBackend
from bot.store.schema import receipts, tasks, tokens

_FINAL = sorted(state.value for state in FINAL)
_UNFINISHED = sorted(state.value for state in TaskState if state not in FINAL)
_KNOWN_URLS = "write sqlite:////absolute/file or postgresql://USER:PASSWORD@HOST/NAME"
#: Rows that are made ready at once before others get their turn.
_CHUNK = 500
#: Characters of what has an index; PostgreSQL takes 2,700 bytes.
_MAX_KEY = 255


def _none_is_live(_task_id: str) -> None:
    """Who asks the store alone has no tasks in memory."""


async def open_store(
    url: str,
    *,
    history: History | None = None,
    busy_timeout: float = 10.0,
    profiler: Profiler = UNPROFILED,
) -> Store:
    """Open the database at ``url``, make it if it is a file that is not there, and migrate it.

    ``url`` is ``sqlite:////absolute/file``, ``sqlite:///relative/file``, ``postgresql://...`` or
    ``postgres://...``. ``busy_timeout`` is how long, in seconds, a write waits for another program
    that uses the same file. ConfigError where the URL or the database can't be used, Unavailable
    where it does not answer.
    """
    database = await _opened(url, history or History(), busy_timeout)
    return Store(ProfiledBackend(database, profiler) if profiler.enabled else database)


async def _opened(url: str, history: History, busy_timeout: float) -> Backend:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise ConfigError("DATABASE_URL is not a URL of a database", hint=_KNOWN_URLS) from error
    kind = parsed.drivername
    if kind in {"sqlite", "sqlite+aiosqlite"}:
        from bot.store.sqlite import open_sqlite

        return await open_sqlite(_file_of(parsed), history, busy_timeout)
    if kind in {"postgres", "postgresql", "postgresql+asyncpg"}:
        from bot.store.postgresql import open_postgresql

        return await open_postgresql(parsed, history)
    raise ConfigError(
        f"DATABASE_URL: {kind}:// is no database that this program knows",
        hint=_KNOWN_URLS,
    )


def _file_of(url: sa.URL) -> Path:
    if not url.database or url.database.startswith(":") or url.query or url.host:
        raise ConfigError(
            f"DATABASE_URL: {url.render_as_string(hide_password=True)} names no file",
            hint="tasks must survive a restart: give a file, as in sqlite:////var/lib/mltb/mltb.db",
        )
    return Path(url.database).expanduser().absolute()


class Store:
    """Tasks, receipts and tokens. Satisfies ``TaskStore`` and ``TokenStore`` of the ports."""

    def __init__(self, database: Backend) -> None:
        #: For the parts of the store that have a module of their own.
        self.database = database
        self._journal = Journal(database.save)

    async def close(self) -> None:
        """Store what waits, then let go of the database."""
        await self._journal.close()
        await self.database.close()

    # Tasks

    async def add(self, new: Sequence[Task]) -> None:
        """Store new tasks, all or none.

        Duplicate where an idempotency key of their user exists already; InvalidInput where a value
        can't be stored.
        """
        if not new:
            return
        positions: Counter[tuple[str, str]] = Counter()
        values = []
        for number, task in enumerate(new):
            position = None
            if task.key is not None:
                position = positions[task.user, task.key]
                positions[task.user, task.key] += 1
            if len(task.user) > _MAX_KEY or len(task.key or "") > _MAX_KEY:
                raise InvalidInput(
                    "the user or the idempotency key is too long",
                    hint=f"each may have {_MAX_KEY} characters",
                )
            try:
                values.append(rows.task_row(task, position))
            except InternalFailure as error:
                raise InvalidInput(error.message) from error
            if number % _CHUNK == _CHUNK - 1:
                await asyncio.sleep(0)
        try:
            await self.database.insert(tasks, values)
        except AlreadyThere as error:
            await self._refuse(list(positions), error)

    async def _refuse(self, keys: Sequence[tuple[str, str]], error: AlreadyThere) -> None:
        for user, key in keys:
            known = await self.by_key(user, key)
            if known:
                raise Duplicate(
                    f"the idempotency key {key!r} was used already",
                    hint="ask for the task that it made, or send another key",
                    task=known[0].id,
                ) from error
        raise InternalFailure(f"a new task has the id of one that exists: {error}") from error

    async def save(self, task: Task) -> None:
        """Store the present state of ``task`` and count its version up; durable on return.

        The state is taken at the call, whatever becomes of ``task`` meanwhile. When the caller is
        cancelled, the save happens all the same. InternalFailure where another has changed the
        task since it was loaded, or where it is gone; NoSpace, Unavailable or InternalFailure by
        what the database says. User, key and time of creation never change.
        """
        task.version += 1
        version = task.version
        try:
            await self._journal.put(rows.change_of(task))
        except MltbError:
            # Later saves may have gone on from this version; what they write is whole anyway.
            if task.version == version:
                task.version -= 1
            raise

    async def get(self, task_id: str) -> Task | None:
        """The task, or None."""
        found = await self._tasks(tasks.c.id == task_id)
        return found[0] if found else None

    async def get_many(self, task_ids: Sequence[str]) -> list[Task]:
        """Those of the tasks that there are."""
        return await self._tasks(tasks.c.id.in_(list(task_ids)))

    async def page(self, query: TaskQuery, live: LiveTasks = _none_is_live) -> TaskPage:
        """A page of tasks. ``since`` (inclusive) and ``until`` are times of creation.

        A task that ``live`` has in memory is taken from there: its row is neither read nor
        decoded. InvalidInput where sort, limit, text or cursor are not what they can be.
        """
        found = await self.database.read(await pages.page_query(query, self.database))
        ids = [place["id"] for place in found[: query.limit]]
        known = {task_id: task for task_id in ids if (task := live(task_id)) is not None}
        stored = [place["seq"] for place in found[: query.limit] if place["id"] not in known]
        if stored:
            query_of_rows = pages.rows_query(tasks.c.seq.in_(stored))
            for row in await self.database.read(query_of_rows):
                known[row["id"]] = rows.task_of(row)
        # One that was removed between the two reads is left out.
        items = [known[task_id] for task_id in ids if task_id in known]
        cursors = [
            pages.cursor_after(place, query)
            for place in (found[: query.limit] if query.cursors else ())
            if place["id"] in known
        ]
        more = len(found) > query.limit
        following = pages.cursor_after(found[query.limit - 1], query) if more else None
        return TaskPage(items, following, cursors)

    async def count(self, user: str | None = None) -> dict[TaskState, int]:
        """How many tasks are in each state, of one user or of all."""
        query = sa.select(tasks.c.state, sa.func.count().label("n")).group_by(tasks.c.state)
        if user is not None:
            # All states are named, so that the index by state and user serves this as well.
            every = [state.value for state in TaskState]
            query = query.where(tasks.c.state.in_(every), tasks.c.user == user)
        counts = dict.fromkeys(TaskState, 0)
        for row in await self.database.read(query):
            counts[TaskState(row["state"])] = row["n"]
        return counts

    async def unfinished(self) -> list[Task]:
        """Every task that is not final, oldest first."""
        return await self._tasks(tasks.c.state.in_(_UNFINISHED))

    async def by_key(self, user: str, key: str) -> list[Task]:
        """The tasks that a submission with that idempotency key made, in its order."""
        return await self._tasks(tasks.c.user == user, tasks.c.key == key)

    async def _tasks(self, *conditions: sa.ColumnElement[bool]) -> list[Task]:
        query = pages.rows_query(*conditions).order_by(tasks.c.created_at, tasks.c.seq)
        return [rows.task_of(row) for row in await self.database.read(query)]

    async def delete(self, task_ids: Sequence[str]) -> int:
        """Forget those of the tasks that are finished (receipts stay); how many there were."""
        final = tasks.c.state.in_(_FINAL)
        statements = [
            sa.delete(tasks).where(tasks.c.id.in_(task_ids[start : start + _CHUNK]), final)
            for start in range(0, len(task_ids), _CHUNK)
        ]
        return await self.database.write(*statements) if statements else 0

    # Receipts

    async def receipts(self, source: str | None, limit: int) -> Sequence[Receipt]:
        """The newest receipts, of one source or of all."""
        query = sa.select(receipts).order_by(receipts.c.finished_at.desc(), receipts.c.task.desc())
        if source is not None:
            query = query.where(
                receipts.c.source_key == rows.source_key(source), receipts.c.source == source
            )
        found = await self.database.read(query.limit(limit))
        return [rows.receipt_of(row) for row in found]

    async def usage(self, user: str, since: float) -> int:
        """The bytes that ``user`` had delivered since then (UNIX seconds)."""
        total = sa.func.coalesce(sa.func.sum(receipts.c.size), 0).label("total")
        query = sa.select(total).where(receipts.c.user == user, receipts.c.finished_at >= since)
        found = await self.database.read(query)
        return int(found[0]["total"])

    # Tokens

    async def add_token(self, token: Token, digest: bytes) -> None:
        """Store a token by the SHA-256 of its secret."""
        values: dict[str, Any] = {
            "id": token.id,
            "name": token.name,
            "scope": token.scope,
            "user": token.user,
            "created_at": token.created_at,
            "expires_at": token.expires_at,
            "last_used_at": token.last_used_at,
            "digest": digest,
        }
        try:
            await self.database.insert(tokens, [values])
        except AlreadyThere as error:
            raise Duplicate(f"a token {token.id} exists already") from error

    async def find_token(self, digest: bytes) -> Token | None:
        """The token whose secret has that digest, or None."""
        found = await self.database.read(sa.select(tokens).where(tokens.c.digest == digest))
        return rows.token_of(found[0]) if found else None

    async def list_tokens(self) -> Sequence[Token]:
        """All of them, oldest first."""
        query = sa.select(tokens).order_by(tokens.c.created_at, tokens.c.id)
        return [rows.token_of(row) for row in await self.database.read(query)]

    async def delete_token(self, token_id: str) -> bool:
        """Whether there was one to remove."""
        return await self.database.write(sa.delete(tokens).where(tokens.c.id == token_id)) > 0

    async def touch_token(self, token_id: str, at: float) -> None:
        """Remember when it was used last."""
        used = sa.update(tokens).where(tokens.c.id == token_id).values(last_used_at=at)
        await self.database.write(used)
