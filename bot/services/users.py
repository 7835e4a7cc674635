"""People who log in with a password."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bot.domain.access import Account, AccountStore
from bot.domain.ports import Clock, Token
from bot.domain.throttle import Throttle, network_of
from bot.errors import Forbidden, InvalidInput, NotFound, TooMany, Unauthenticated
from bot.services.callers import Caller, Scope
from bot.services.passwords import Passwords
from bot.services.sessions import Sessions
from bot.services.tokens import Tokens

#: How far each role reaches.
ROLES = {"viewer": Scope.VIEW, "operator": Scope.OPERATE, "admin": Scope.ADMIN}
_REFILL = 1 / 30  # tries a second that come back
_BY_ADDRESS, _BY_USER = 10, 20  # wrong tries at once


class User(msgspec.Struct, frozen=True):
    """Somebody with an account, tokens or both."""

    name: str
    account: Account | None
    tokens: list[Token]


class Users:
    """Accounts: who may log in with a password, and as what."""

    def __init__(
        self, store: AccountStore, sessions: Sessions, tokens: Tokens, clock: Clock
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._tokens = tokens
        self._clock = clock
        self._passwords = Passwords()
        self._by_address = Throttle(_REFILL, _BY_ADDRESS, clock)
        self._by_user = Throttle(_REFILL, _BY_USER, clock)

    async def log_in(
        self, name: str, password: str, *, address: str | None, agent: str | None
    ) -> tuple[str, Caller]:
        """The secret of a new session, and who holds it. Unauthenticated, which says nothing of
        what was wrong; TooMany after too many wrong tries from there, or for that user."""
        self._try(name, address)
        found = await self._store.find_account(name)
        if not await self._passwords.check(password, found and found[1]) or found is None:
            raise Unauthenticated("user or password is wrong", hint="mltb user password sets one")
        self._succeeded(name, address)
        return await self._sessions.open(Caller(name, ROLES[found[0].role]), address, agent)

    async def log_in_with_token(
        self, token: str, *, address: str | None, agent: str | None
    ) -> tuple[str, Caller]:
        """As above, with a token."""
        self._try(None, address)
        caller = await self._tokens.authenticate(token)
        self._succeeded(None, address)
        return await self._sessions.open(caller, address, agent)

    async def list(self, caller: Caller) -> Sequence[User]:
        """Everybody, by name."""
        caller.require(Scope.ADMIN)
        tokens: dict[str, list[Token]] = {}
        for token in await self._tokens.list():
            tokens.setdefault(token.user, []).append(token)
        accounts = {each.name: each for each in await self._store.list_accounts()}
        names = sorted(tokens.keys() | accounts.keys())
        return [User(name, accounts.get(name), tokens.get(name, [])) for name in names]

    async def show(self, caller: Caller, name: str) -> User:
        """One of them. NotFound."""
        for user in await self.list(caller):
            if user.name == name:
                return user
        raise _unknown(name)

    async def add(self, caller: Caller, name: str, role: str, password: str) -> Account:
        """A new account. Duplicate where there is one of that name."""
        caller.require(Scope.ADMIN)
        _check_role(role)
        now = self._clock.now()
        account = Account(name, role, now, now)
        await self._store.add_account(account, await self._passwords.hash(password))
        return account

    async def change(
        self, caller: Caller, name: str, *, role: str | None = None, password: str | None = None
    ) -> None:
        """Change the role, or the password, which ends every session. NotFound."""
        caller.require(Scope.ADMIN)
        if role is None and password is None:
            raise InvalidInput("nothing is to be changed", hint="give a role or a password")
        if role is not None:
            _check_role(role)
        await self._change(name, role, password)

    async def change_own(
        self, caller: Caller, current: str, new: str, *, address: str | None
    ) -> None:
        """Change one's own password, which ends every session, this one too. Forbidden where the
        current one is wrong."""
        self._try(caller.user, address)
        found = await self._store.find_account(caller.user)
        if not await self._passwords.check(current, found and found[1]):
            raise Forbidden("the current password is wrong")
        self._succeeded(caller.user, address)
        await self._change(caller.user, None, new)

    async def remove(self, caller: Caller, name: str) -> None:
        """Remove an account, and end its sessions; tokens of that user stay. NotFound."""
        caller.require(Scope.ADMIN)
        removed = await self._store.delete_account(name)
        self._sessions.forget()
        if not removed:
            raise _unknown(name)

    async def _change(self, name: str, role: str | None, password: str | None) -> None:
        hashed = None if password is None else await self._passwords.hash(password)
        changed = await self._store.change_account(
            name, self._clock.now(), role=role, password=hashed
        )
        self._sessions.forget()
        if not changed:
            raise _unknown(name)

    def _try(self, name: str | None, address: str | None) -> None:
        """Count a try, as if it went wrong."""
        waits = [self._by_address.take(network_of(address or "local"))]
        if name is not None:
            waits.append(self._by_user.take(name))
        if wait := max(waits):
            raise TooMany(
                "too many tries to log in", hint=f"wait {wait:.0f} s", retry_after=int(wait) + 1
            )

    def _succeeded(self, name: str | None, address: str | None) -> None:
        self._by_address.give_back(network_of(address or "local"))
        if name is not None:
            self._by_user.give_back(name)


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise InvalidInput(f"there is no role {role!r}", hint=f"one of {', '.join(ROLES)}")


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no user {name!r}", hint="mltb user list shows them")
