"""The kinds of values that settings have: how each is read, checked and shown."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
)

_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.?")
_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:([kmgt])(i?b)?|b)?", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_STARS = "***"


class NestedModel(BaseModel):
    """Base of a setting that is a dictionary: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def split_at(separator: str) -> BeforeValidator:
    """Accept a string of values with ``separator`` between them where a list is meant."""

    def split(value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(separator) if part.strip()]
        return value

    return BeforeValidator(split)


def _egress_entry(value: str) -> str:
    """An address, a CIDR or a host (``*.example.org`` for its subdomains), in canonical form."""
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        if _HOST.fullmatch(value) and not re.fullmatch(r"[\d./:]+", value):
            return value.lower().rstrip(".")
    raise ValueError(f"{value!r} is neither an address, a CIDR nor a host name")


def _size(value: object) -> int:
    """Bytes, or a number with a unit: ``10M`` and ``10MiB`` count in 1024, ``10MB`` in 1000."""
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        number, unit, suffix = found.groups()
        base = 1000 if (suffix or "").lower() == "b" else 1024
        factor = base ** _POWERS[(unit or "").lower()]
        return int(number) * factor if number.isdecimal() else int(float(number) * factor)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("write bytes, or a number with K, M, G or T behind it, such as 10G")


def _optional_size(value: object) -> int | None:
    return None if value is None else _size(value)


def _rate(value: object) -> int | None:
    """``10M``, ``512K`` and ``1.5 MiB/s`` are bytes a second; ``off``, 0 and empty: no limit."""
    if isinstance(value, str):
        value = value.strip().removesuffix("/s")
        if value.lower() in {"", "off", "none"}:
            return None
    return _optional_size(value) or None


def _place(value: Path) -> Path:
    """Absolute, so that a later change of the working directory changes nothing."""
    try:
        return value.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def _web_address(value: SecretStr) -> SecretStr:
    """A URL of http or https with a host. Secret: its query or login may be."""
    try:
        parts = urlsplit(value.get_secret_value())
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("write a URL that begins with http:// or https:// and names a host")
    return value


def _header_secret(value: SecretStr) -> SecretStr:
    """What can stand in a header: visible ASCII."""
    if re.fullmatch(r"[!-~]+", value.get_secret_value()) is None:
        raise ValueError("it may hold visible ASCII characters only, and no space")
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Size = Annotated[ByteSize, BeforeValidator(_size)]
OptionalSize = Annotated[ByteSize | None, BeforeValidator(_optional_size)]
Rate = Annotated[ByteSize | None, BeforeValidator(_rate)]
EgressEntry = Annotated[str, AfterValidator(_egress_entry)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Place = Annotated[Path, AfterValidator(_place)]
WebAddress = Annotated[SecretStr, AfterValidator(_web_address)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_header_secret)]
AnyCase = BeforeValidator(_lower)


def secrets_in(value: object) -> Iterator[str]:
    """Every secret in ``value``: in a setting, a dictionary, a list or all settings."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from secrets_in(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from secrets_in(each)


def shown(value: object) -> str:
    """A value as ``mltb config`` prints it; of a secret URL scheme, user and place, else stars."""
    if isinstance(value, SecretStr):
        return _redacted(value.get_secret_value())
    if isinstance(value, list) and value and isinstance(value[0], NestedModel):
        return json.dumps([_plain_values(each) for each in value])
    if isinstance(value, list):
        return (":" if value and isinstance(value[0], Path) else ",").join(map(shown, value))
    return "" if value is None else str(value)


def _plain_values(model: NestedModel) -> dict[str, object]:
    """What was set of a dictionary; of its secrets nothing, for a token may be anywhere in them."""
    given = model.model_dump(by_alias=True, exclude_unset=True)
    return {k: _STARS if isinstance(v, SecretStr) else v for k, v in given.items()}


def _redacted(secret: str) -> str:
    """The URL without password and query. What stands before the last ``@`` may hold anything."""
    scheme, mark, rest = secret.partition("://")
    if not mark:
        return _STARS if secret else ""
    login, at, place = rest.rpartition("@")
    place, query, _ = place.partition("?")
    user, colon, _ = login.partition(":")
    who = f"{user if colon else ''}:{_STARS}@" if at else ""
    return f"{scheme}://{who}{place}{query}{_STARS if query else ''}"
