"""JSON bodies as arguments, named the way libmodsecurity names them: json.user.name, json.list.array_0.

Knows bytes and names. Bounded in depth and in number of values.
"""

import json
import re
from typing import Any

LONGEST_NAME = 1024  # a long name of an object is repeated in the name of every value inside

_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonError(ValueError):
    """The body is no JSON, or more of it than is looked at; the message says why."""


class _Object(list[tuple[str, Any]]):
    """The members of an object in order, repeated names included."""


def arguments(body: bytes, *, max_depth: int, max_values: int) -> list[tuple[bytes, bytes]]:
    """Every value with its path. Raises JsonError."""
    try:
        document = _DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise JsonError("nested too deep") from None
    except ValueError as error:
        raise JsonError(str(error)) from None
    found: list[tuple[bytes, bytes]] = []
    _add("json", document, max_depth, found, max_values)
    return found


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Object, parse_float=str, parse_int=str, parse_constant=_constant
)


def _add(path: str, value: Any, depth: int, found: list[tuple[bytes, bytes]], most: int) -> None:
    """Append every value inside `value`. Raises JsonError."""
    if isinstance(value, list):
        if depth == 0:
            raise JsonError("nested too deep")
        if isinstance(value, _Object):
            for name, member in value:
                _add(f"{path}.{name}", member, depth - 1, found, most)
        else:
            for index, element in enumerate(value):
                _add(f"{path}.array_{index}", element, depth - 1, found, most)
        return
    if len(found) >= most:
        raise JsonError(f"more than {most} values")
    if len(path) > LONGEST_NAME:
        raise JsonError(f"a name of more than {LONGEST_NAME} characters")
    found.append((_bytes(path), _bytes(_text(value))))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if value is True:
        return "true"
    return "false" if value is False else value  # numbers are kept as written


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return _SURROGATE.sub("?", text).encode()
