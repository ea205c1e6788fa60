"""Parameters and bodies of requests, checked and bounded."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio
from starlette.requests import Request

from minari._base.json_text import parse_json, shortened
from minari._base.suggestions import did_you_mean
from minari.errors import ArgumentError
from minari.viewer.answers import Refusal


__all__ = ["Body", "Query", "read_body"]

_LONGEST: Final = 4_000  # characters of a parameter
_MOST_BYTES: Final = 1_000_000  # of a body
_PATIENCE: Final = 30  # seconds for a body to arrive
_MOST_NUMBERS: Final = 100_000  # in a list of a body
_WHOLE: Final = re.compile(r"-?[0-9]{1,16}", re.ASCII)


class Query:
    """The parameters of a request.

    Args:
        pairs: names and values, in order.
        known: the names that the request may have.

    Raises:
        ArgumentError: a name is unknown, or a value too long.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], known: Sequence[str]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if name not in known:
                expected = f"expected one of {', '.join(known)}" if known else "and this request has none"
                raise ArgumentError(f"{shortened(name)} is not a parameter, {expected}.{did_you_mean(name, known)}")
            if len(value) > _LONGEST:
                raise ArgumentError(f"{name} has {len(value)} characters, expected at most {_LONGEST}.")
            self._values.setdefault(name, []).append(value)

    def all(self, name: str) -> list[str]:
        """Return all values of a parameter."""
        return self._values.get(name, [])

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text.

        Raises:
            ArgumentError: it is missing, and there is not a default; or it is given twice.
        """
        values = self.all(name)
        if len(values) > 1:
            raise ArgumentError(f"{name} is given {len(values)} times, expected it once.")
        if not values and default is None:
            raise ArgumentError(f"{name} is missing, expected one.")
        return values[0] if values else str(default)

    def number(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number from ``low`` to ``high``.

        Raises:
            ArgumentError: it is not one; or it is missing, and there is not a default.
        """
        text = self.text(name, None if default is None else str(default))
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise ArgumentError(f"{name} is {shortened(text)}, expected a whole number from {low} to {high}.")
        return int(text)


class Body:
    """The JSON object in the body of a request.

    Args:
        value: the parsed body.
        known: the keys that it may have.

    Raises:
        ArgumentError: it is not an object, or has another key.
    """

    def __init__(self, value: Any, known: Sequence[str]) -> None:
        if not isinstance(value, dict):
            raise ArgumentError(f"The body is {shortened(value)}, expected a JSON object.")
        self._values: Mapping[str, Any] = value
        for key in value:
            if key not in known:
                raise ArgumentError(
                    f"The body has the key {shortened(key)}, expected {', '.join(known)}.{did_you_mean(key, known)}"
                )

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that is not empty.

        Raises:
            ArgumentError: it is not one; or it is missing, and there is not a default.
        """
        value = self._values.get(key, default)
        if not isinstance(value, str) or not value or len(value) > _LONGEST:
            raise ArgumentError(f"{key} is {shortened(value)}, expected a text of 1 to {_LONGEST} characters.")
        return value

    def text_or_null(self, key: str) -> str | None:
        """Return a text; None if it is null or missing."""
        return None if self._values.get(key) is None else self.text(key)

    def flag(self, key: str) -> bool:
        """Return true or false, and nothing that only looks like it.

        Raises:
            ArgumentError: it is something else, or missing.
        """
        value = self._values.get(key)
        if not isinstance(value, bool):
            raise ArgumentError(f"{key} is {shortened(value)}, expected true or false.")
        return value

    def value(self, key: str) -> str | int | float | bool | None:
        """Return a text, a number, true, false or null.

        Raises:
            ArgumentError: it is something else, or missing.
        """
        value: Any = self._values.get(key, ...)
        is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        is_text = isinstance(value, str) and len(value) <= _LONGEST
        if not (value is None or is_number or is_text):
            shown = "missing" if value is ... else shortened(value)
            raise ArgumentError(
                f"{key} is {shown}, expected a number, true, false, null, or a text of at most {_LONGEST} characters."
            )
        return value  # type: ignore[no-any-return]

    def numbers(self, key: str) -> list[int]:
        """Return numbers of episodes, each once, in increasing order.

        Raises:
            ArgumentError: it is not a list of whole numbers from 0, or is empty.
        """
        value = self._values.get(key)
        if (
            not isinstance(value, list)
            or not 0 < len(value) <= _MOST_NUMBERS
            or not all(type(number) is int and 0 <= number < 2**53 for number in value)
        ):
            raise ArgumentError(
                f"{key} is {shortened(value)}, expected a list of 1 to {_MOST_NUMBERS} whole numbers from 0."
            )
        return sorted(set(value))


async def read_body(request: Request) -> Any:
    """Return the parsed body of a request.

    Raises:
        Refusal: it is too large, or not declared to be JSON.
        ArgumentError: it is not valid JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "WrongContentType", "The Content-Type is not application/json, which requests have to say.")
    announced = request.headers.get("content-length", "0")
    body = b""
    too_large = Refusal(413, "TooLarge", f"The body is larger than {_MOST_BYTES:,} bytes; send fewer episodes at once.")
    if not announced.isdecimal() or len(announced) > 15 or int(announced) > _MOST_BYTES:
        raise too_large
    with anyio.move_on_after(_PATIENCE) as waiting:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise too_large
    if waiting.cancelled_caught:
        raise Refusal(408, "TooSlow", f"The body has not come within {_PATIENCE} seconds; send it again.")
    try:
        return parse_json(body)
    except ValueError as error:
        raise ArgumentError(f"The body is not valid JSON: {error}.") from error
