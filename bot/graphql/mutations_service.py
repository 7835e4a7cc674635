"""What can be changed of the service: kept answers, tokens, the profiler."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import strawberry

from bot.graphql.declaring import Asked, argument, choice, described, resolver, said
from bot.graphql.doing import Id, asked, tried, waited
from bot.graphql.enums import Scope
from bot.graphql.inputs import checked
from bot.graphql.problems import Refusal
from bot.graphql.types.service import Token
from bot.services.callers import Scope as TokenScope
from bot.web import schemas


class ProfileFormat(Enum):
    """How a profile is written."""

    TEXT = "text"
    HTML = "html"
    SPEEDSCOPE = "speedscope"


choice(ProfileFormat)


@described
class InvalidateCachePayload:
    """Answers that are forgotten."""

    tags: list[str] = said("What they were about; empty: everything.")


@described
class CreateTokenPayload:
    """A token that was made."""

    token: Token = said("The token.")
    secret: str = said("What is sent as `Authorization: Bearer`; it is shown this once.")


@described
class RevokedToken:
    """A token that is no good any more."""

    id: strawberry.ID = said("Its id.")


@described
class ResetProfilerPayload:
    """The figures of the profiler are gone."""

    done: bool = said("Always true.")


@described
class Profile:
    """A sampling profile of the running service."""

    format: ProfileFormat = said("How it is written.")
    seconds: float = said("How long it looked.")
    samples: int = said("How often it looked.")
    content: str = said("The profile; JSON for the program of that name, of `SPEEDSCOPE`.")


CreateTokenResult = Annotated[CreateTokenPayload | Refusal, strawberry.union("CreateTokenResult")]
RevokeTokenResult = Annotated[RevokedToken | Refusal, strawberry.union("RevokeTokenResult")]
ResetProfilerResult = Annotated[
    ResetProfilerPayload | Refusal, strawberry.union("ResetProfilerResult")
]
ProfileResult = Annotated[Profile | Refusal, strawberry.union("ProfileResult")]
InvalidateCacheResult = Annotated[
    InvalidateCachePayload | Refusal, strawberry.union("InvalidateCacheResult")
]


@described
class ServiceMutations:
    """Kept answers, tokens, the profiler."""

    @resolver
    async def create_token(
        self,
        info: Asked,
        name: Annotated[str, argument("What it is for.")],
        scope: Annotated[Scope, argument("How far it reaches.")] = Scope.OPERATE,
        user: Annotated[str, argument("Whose it is.")] = "admin",
        lifetime: Annotated[float | None, argument("Seconds; for ever if left out.")] = None,
    ) -> CreateTokenResult:
        """Make a token (for admins)."""
        caller, services = asked(info)

        async def work() -> CreateTokenPayload:
            caller.require(TokenScope.ADMIN)
            wanted = {"name": name, "scope": scope.name.lower(), "user": user}
            of = checked(schemas.TokenIn, {**wanted, "lifetime": lifetime})
            secret, token = await services.tokens.create(
                of.name, scope, user=of.user, lifetime=of.lifetime
            )
            return CreateTokenPayload(token=Token.of(token), secret=secret)

        return await tried(info, work())

    @resolver
    async def revoke_token(self, info: Asked, id: Id) -> RevokeTokenResult:  # noqa: A002
        """End a token (for admins)."""
        caller, services = asked(info)

        async def work() -> RevokedToken:
            caller.require(TokenScope.ADMIN)
            await services.tokens.revoke(str(id))
            return RevokedToken(id=id)

        return await tried(info, work())

    @resolver
    async def reset_profiler(self, info: Asked) -> ResetProfilerResult:
        """Forget the figures of all operations and begin anew (for admins)."""
        caller, services = asked(info)

        async def work() -> ResetProfilerPayload:
            services.profiling.reset(caller)
            return ResetProfilerPayload(done=True)

        return await tried(info, work())

    @resolver
    async def take_profile(
        self,
        info: Asked,
        seconds: Annotated[float, argument("How long to look, up to 25.")] = 5.0,
        format: Annotated[  # noqa: A002
            ProfileFormat, argument("How it is written.")
        ] = ProfileFormat.TEXT,
    ) -> ProfileResult:
        """Take a sampling profile of the running service (for admins)."""
        caller, services = asked(info)

        async def work() -> Profile:
            found = await services.profiling.profile(caller, waited(seconds), format.value)
            return Profile(
                format=ProfileFormat(found.format),
                seconds=found.seconds,
                samples=found.samples,
                content=found.content,
            )

        return await tried(info, work())

    @resolver
    async def invalidate_cache(
        self,
        info: Asked,
        tags: Annotated[
            list[str] | None, argument("About these alone, such as `tasks`; all if left out.")
        ] = None,
    ) -> InvalidateCacheResult:
        """Forget kept answers (for admins)."""
        desk, caller = info.context.desk, info.context.caller

        async def work() -> InvalidateCachePayload:
            return InvalidateCachePayload(tags=list(await desk.invalidate(caller, tags)))

        return await tried(info, work())
