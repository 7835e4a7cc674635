"""What can be changed of users."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import strawberry

from bot.graphql.declaring import Asked, argument, choice, described, resolver, said
from bot.graphql.doing import asked, tried
from bot.graphql.inputs import checked
from bot.graphql.problems import Refusal
from bot.graphql.types.service import Token, User
from bot.services import users
from bot.web import schemas_access


class Role(Enum):
    """What somebody may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


choice(Role)

Name = Annotated[str, argument("The name of the user.")]


@described
class RemovedUser:
    """An account that is gone."""

    name: str = said("Its name.")


UserResult = Annotated[User | Refusal, strawberry.union("UserResult")]
RemoveUserResult = Annotated[RemovedUser | Refusal, strawberry.union("RemoveUserResult")]


def shown(found: users.User) -> User:
    """A user as the schema has it."""
    return User(
        name=found.name,
        role=found.account.role if found.account else None,
        tokens=[Token.of(token) for token in found.tokens],
    )


@described
class AccessMutations:
    """Users."""

    @resolver
    async def add_user(
        self,
        info: Asked,
        name: Name,
        role: Annotated[Role, argument("What they may do.")],
        password: Annotated[str, argument("What they log in with.")],
    ) -> UserResult:
        """Let somebody log in with a password (for admins)."""
        caller, services = asked(info)

        async def work() -> User:
            wanted = {"name": name, "role": role.value, "password": password}
            of = checked(schemas_access.UserIn, wanted)
            await services.users.add(caller, of.name, of.role, of.password)
            return shown(await services.users.show(caller, of.name))

        return await tried(info, work())

    @resolver
    async def change_user(
        self,
        info: Asked,
        name: Name,
        role: Annotated[Role | None, argument("What they may do from now on.")] = None,
        password: Annotated[str | None, argument("A new one, which ends their sessions.")] = None,
    ) -> UserResult:
        """Give a user another role, or a new password (for admins)."""
        caller, services = asked(info)

        async def work() -> User:
            wanted = {"role": None if role is None else role.value, "password": password}
            of = checked(schemas_access.UserChangeIn, wanted)
            await services.users.change(caller, name, role=of.role, password=of.password)
            return shown(await services.users.show(caller, name))

        return await tried(info, work())

    @resolver
    async def remove_user(self, info: Asked, name: Name) -> RemoveUserResult:
        """Remove an account and end its sessions; the user's tokens stay (for admins)."""
        caller, services = asked(info)

        async def work() -> RemovedUser:
            await services.users.remove(caller, name)
            return RemovedUser(name=name)

        return await tried(info, work())
