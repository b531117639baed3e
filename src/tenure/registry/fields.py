"""What the fields of a manifest are made of: texts, addresses, amounts, and how each is checked."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
EMAIL = r"^[^@\s<>\",;:]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$"
PREFIX = r"^[A-Za-z0-9_-]{0,32}$"
HOST = r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?$"
MEDIA = r"^[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+*-]+$"
SKILL = r"^[A-Za-z0-9_.-]{1,64}$"
FINGERPRINT = r"^sha256:[0-9a-f]{64}$"
TOOL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[A-Za-z0-9_.-]{1,128}$"


def _one_line(value: str) -> str:
    if "\n" in value or "\r" in value:
        raise PydanticCustomError("one_line", "must be one line")
    return value


def _web_address(value: str) -> str:
    match = re.match(r"https?://([^/?#\s]+)(/[^\s?#]*)?\Z", value)
    if not match:
        raise PydanticCustomError("web_address", "must be an address such as https://host/path, without ? or #")
    if "@" in match[1]:
        raise PydanticCustomError("secret", "carries a credential; name a secret in credential_secret instead")
    return value.rstrip("/")


def _zone(value: str) -> str:
    try:
        return value if value == "UTC" else ZoneInfo(value).key
    except (KeyError, ValueError, OSError):
        raise PydanticCustomError("zone", "must be a time zone such as UTC or Europe/Berlin") from None


def _money(value: Any) -> Any:
    """To the one spelling that amounts have: a decimal number of dollars, as text, with two digits for cents."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise PydanticCustomError("money", "must be an amount such as 25 or 2.50")
    try:
        amount = Decimal(str(value))
        cents = amount * 100
        exact = amount.is_finite() and cents == cents.to_integral_value() and 0 <= amount <= 1_000_000_000
    except InvalidOperation:
        exact = False
    if not exact:
        raise PydanticCustomError("money", "must be an amount such as 25 or 2.50, in whole cents and not negative")
    return f"{amount:.2f}"


Label = Annotated[str, Field(pattern=LABEL)]
Variable = Annotated[str, Field(pattern=VARIABLE)]
Email = Annotated[str, Field(pattern=EMAIL, max_length=254)]
Line = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_one_line)]
Text = Annotated[str, Field(min_length=1, max_length=8_000)]
Address = Annotated[str, Field(min_length=8, max_length=2_000), AfterValidator(_web_address)]
Level = Annotated[int, Field(ge=1, le=4)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Media = Annotated[str, Field(pattern=MEDIA, max_length=127)]
Money = Annotated[
    str,
    BeforeValidator(_money),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d{1,2})?$"}]}),
]
Tokens = Annotated[int, Field(ge=0, le=1_000_000_000_000)]
Trust = Literal["trusted", "untrusted"]
Source = Literal["tool", "document", "web", "memory"]
LIMITED = ("calls", "tokens", "input_tokens", "output_tokens", "usd")
"""What a limit can be about."""
Zone = Annotated[str, Field(max_length=64), AfterValidator(_zone)]


class Part(BaseModel):
    """A mapping of a manifest: nothing that it does not know, and nothing of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


Mode = Literal["draft", "simulate"]
MODE = (
    "What becomes of calls that change something, instead of being made: draft (a person sees them, and may make or "
    "discard them), simulate (they are answered as if)"
)
AskBelow = Annotated[int, Field(ge=1, le=100)] | None
ASK_BELOW = "Percent: a call that the agent states less confidence with waits for a person"
