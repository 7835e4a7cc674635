"""Accounts, sessions and the record of what was changed, in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from bot.domain.access import Account, Deed, Session
from bot.errors import Duplicate
from bot.store.backend import AlreadyThere, Backend
from bot.store.schema import accounts, audit, sessions, tokens

#: How far the role of an account reaches.
_SCOPES = {"viewer": "view", "operator": "operate", "admin": "admin"}


class Access:
    """Satisfies ``SessionStore``, ``AccountStore`` and ``DeedStore``."""

    def __init__(self, database: Backend) -> None:
        self._database = database

    # Sessions

    async def add_session(self, session: Session, digest: bytes) -> None:
        """Store one."""
        values = msgspec.structs.asdict(session)
        await self._database.insert(sessions, [{**values, "digest": digest}])

    async def find_session(self, digest: bytes, now: float) -> Session | None:
        """The session whose secret has that digest, with the role of now; None where there is
        none, it is over, or what it was begun with (token, account) is gone."""
        query = (
            sa.select(
                sessions,
                tokens.c.id.label("token_id"),
                tokens.c.expires_at.label("token_expires_at"),
                accounts.c.role,
            )
            .outerjoin(tokens, tokens.c.id == sessions.c.token)
            .outerjoin(accounts, accounts.c.name == sessions.c.user)
            .where(sessions.c.digest == digest, sessions.c.expires_at > now)
        )
        rows = await self._database.read(query)
        if not rows:
            return None
        row = rows[0]
        if row["token"] is not None:
            ends = row["token_expires_at"]
            alive = row["token_id"] is not None and (ends is None or ends > now)
            return _session(row, row["scope"]) if alive else None
        return _session(row, _SCOPES[row["role"]]) if row["role"] in _SCOPES else None

    async def touch_session(self, session_id: str, at: float) -> None:
        """Remember when it was used last."""
        used = sa.update(sessions).where(sessions.c.id == session_id).values(seen_at=at)
        await self._database.write(used)

    async def delete_session(self, digest: bytes) -> bool:
        """Whether there was one to end."""
        gone = sa.delete(sessions).where(sessions.c.digest == digest)
        return await self._database.write(gone) > 0

    async def delete_sessions(self, user: str) -> int:
        """End all of a user; how many there were."""
        return await self._database.write(sa.delete(sessions).where(sessions.c.user == user))

    async def delete_old_sessions(self, expired: float, unseen: float) -> int:
        """End those that were to end before ``expired``, and those not seen since ``unseen``."""
        old = sa.or_(sessions.c.expires_at <= expired, sessions.c.seen_at <= unseen)
        return await self._database.write(sa.delete(sessions).where(old))

    # Accounts

    async def add_account(self, account: Account, password: str) -> None:
        """Store one with the hash of its password; Duplicate where the name is taken."""
        values = {**msgspec.structs.asdict(account), "password": password}
        try:
            await self._database.insert(accounts, [values])
        except AlreadyThere as error:
            raise Duplicate(f"there is a user {account.name!r} already") from error

    async def find_account(self, name: str) -> tuple[Account, str] | None:
        """The account and the hash of its password, or None."""
        rows = await self._database.read(sa.select(accounts).where(accounts.c.name == name))
        return (_account(rows[0]), rows[0]["password"]) if rows else None

    async def list_accounts(self) -> Sequence[Account]:
        """All of them, by name."""
        rows = await self._database.read(sa.select(accounts).order_by(accounts.c.name))
        return [_account(row) for row in rows]

    async def change_account(
        self, name: str, at: float, *, role: str | None = None, password: str | None = None
    ) -> bool:
        """Change the role, or the hash of the password (which ends the sessions); whether there
        is one of that name."""
        values: dict[str, Any] = {"changed_at": at}
        values |= {} if role is None else {"role": role}
        values |= {} if password is None else {"password": password}
        change = sa.update(accounts).where(accounts.c.name == name).values(**values)
        if not await self._database.write(change):
            return False
        if password is not None:
            await self.delete_sessions(name)
        return True

    async def delete_account(self, name: str) -> bool:
        """Remove it and end its sessions; whether there was one."""
        found = await self._database.write(sa.delete(accounts).where(accounts.c.name == name))
        await self.delete_sessions(name)
        return found > 0

    # What was changed

    async def add_deeds(self, deeds: Sequence[Deed]) -> None:
        """Store them in one transaction."""
        rows = []
        for deed in deeds:
            values = msgspec.structs.asdict(deed)
            del values["seq"]
            rows.append({**values, "details": msgspec.json.encode(deed.details).decode()})
        await self._database.insert(audit, rows)

    async def find_deeds(
        self, *, user: str | None, action: str | None, since: float, before: int | None, limit: int
    ) -> Sequence[Deed]:
        """The newest, those before the number ``before`` where it is given."""
        query = sa.select(audit).where(audit.c.at >= since)
        if user is not None:
            query = query.where(audit.c.user == user)
        if action is not None:
            query = query.where(audit.c.action == action)
        if before is not None:
            query = query.where(audit.c.seq < before)
        rows = await self._database.read(query.order_by(audit.c.seq.desc()).limit(limit))
        return [Deed(**{**row, "details": msgspec.json.decode(row["details"])}) for row in rows]

    async def delete_deeds(self, before: float) -> int:
        """Forget those from before then (UNIX seconds)."""
        return await self._database.write(sa.delete(audit).where(audit.c.at < before))


def _session(row: Mapping[str, Any], scope: str) -> Session:
    names = Session.__struct_fields__
    return Session(**{**{name: row[name] for name in names}, "scope": scope})


def _account(row: Mapping[str, Any]) -> Account:
    return Account(**{name: row[name] for name in Account.__struct_fields__})
