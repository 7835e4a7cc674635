"""What is sent and answered about access."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from bot.services.passwords import LONGEST, SHORTEST
from bot.web.schemas import TokenOut

Role = Literal["viewer", "operator", "admin"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
_Name = Annotated[str, StringConstraints(pattern=NAME)]
_Password = Annotated[str, Field(min_length=SHORTEST, max_length=LONGEST)]
_Given = Annotated[str, Field(max_length=LONGEST)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LoginIn(_In):
    """How somebody proves who they are: a token, or user and password."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"token": "mltb_..."},
                {"user": "ann", "password": "correct horse battery"},
            ]
        }
    )

    token: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    user: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    password: _Given | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        by_password = self.user is not None and self.password is not None
        partly = self.user is not None or self.password is not None
        if (self.token is None) != by_password or (self.token is not None and partly):
            raise ValueError("send a token, or user and password")
        return self


class OwnPasswordIn(_In):
    """A new password of one's own."""

    current_password: _Given
    new_password: _Password


class SessionOut(BaseModel):
    """Who is logged in."""

    status: Literal["ok"]
    user: str = Field(examples=["ann"])
    scope: Literal["view", "operate", "admin"]
    csrf: str | None = Field(description="To be sent as X-CSRF-Token with each write.")


class UserIn(_In):
    """A new account."""

    name: _Name = Field(examples=["ann"])
    role: Role = Field("operator", description="What they may do; each includes those before it.")
    password: _Password = Field(examples=["correct horse battery"])


class UserChangeIn(_In):
    """What is to be another."""

    role: Role | None = None
    password: _Password | None = Field(None, description="A new one; it ends every session.")


class UserOut(BaseModel):
    """Somebody with an account (a role), with tokens, or with both."""

    name: str
    role: Role | None
    created_at: datetime | None
    changed_at: datetime | None
    tokens: list[TokenOut]


class OneUserOut(UserOut):
    """One of them."""

    status: Literal["ok"]


class UserListOut(BaseModel):
    """Everybody, by name."""

    status: Literal["ok"]
    items: list[UserOut]
    cursor: None


class DeedOut(BaseModel):
    """Something that was changed, or refused."""

    id: int
    at: datetime
    user: str
    via: Literal["token", "session", "nobody"]
    action: str = Field(examples=["POST /api/v3/tasks/{task_id}/cancel"])
    target: str | None
    address: str | None = Field(description="From where; null: from the machine itself.")
    outcome: int = Field(description="The status of HTTP.", examples=[200])
    request_id: str | None
    details: dict[str, Any] = Field(description="What was sent, without secrets.")


class DeedPageOut(BaseModel):
    """A page of the record, the newest first."""

    status: Literal["ok"]
    items: list[DeedOut]
    cursor: str | None
