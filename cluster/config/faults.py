"""Faults of a configuration in words: where, what, the nearest valid key, what was expected.

Turns pydantic's findings into the sentences a user acts on; judges nothing itself.
"""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import ValidationError

from cluster.config.document import Document, Location, Problem
from cluster.config.sections.top import Config
from cluster.config.values import Expects, Section
from cluster.errors import UsageError

_REASONS = {
    "value_error": "{error}",  # pydantic's error types whose cause the expectation alone does not tell
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}


class Faults:
    """Collects the faults of one configuration, made of a document and flags laid over it."""

    def __init__(self, document: Document, name: str, flags: Mapping[Location, str]) -> None:
        """`name` is what messages call the document; `flags` says which parts came from which flag."""
        self.document = document
        self.name = name
        self.flags = flags
        self.flag_faults: list[str] = []
        self.problems = list(document.problems)
        self.unread = {(problem.line, problem.column) for problem in document.problems}

    def invalid(self, error: ValidationError) -> None:
        """Everything pydantic found."""
        for item in error.errors(include_url=False):
            location, kind = item["loc"], item["type"]
            if kind == "extra_forbidden":
                self.unknown_key(location)
            elif kind == "missing":
                outer = location[:-1]
                self.add(outer, f"missing key '{location[-1]}'{self.inside(outer)}{expects(location)}")
            else:
                reason = _REASONS.get(kind, "").format(**item.get("ctx", {}))
                self.bad_value(location, item["input"], reason)

    def unknown_key(self, location: Location) -> None:
        """A key no model declares."""
        *outer, key = location
        valid = list(section_at(tuple(outer)).model_fields)
        near = get_close_matches(str(key), valid, n=1, cutoff=0.5)
        if near:
            hint = f"did you mean '{near[0]}'?{expects((*outer, near[0]))}"
        else:
            hint = f"the keys here are {', '.join(valid)}"
        self.add(tuple(outer), f"unknown key '{key}'{self.inside(tuple(outer))}; {hint}", key=str(key))

    def bad_value(self, location: Location, value: object, reason: str) -> None:
        """A value its key cannot take."""
        place, words = self.document.place(location)
        if self.flag(location) is None and (place.line, place.column) in self.unread:
            return  # it could not be read in the first place: that is told already
        about = f" for '{words}'" if words and not self.flag(location) else ""
        why = f": {reason}" if reason else ""
        self.add(location, f"bad value {show(value)}{about}{why}{expects(location)}")

    def add(self, location: Location, message: str, *, key: str | None = None) -> None:
        """A fault of what stands at `location`, or of its key `key`."""
        flag = self.flag(location)
        if flag is not None:
            self.flag_faults.append(f"{flag}: {message}")
            return
        place, _ = self.document.place(location)
        line, column = place.keys.get(key, (place.line, place.column)) if key else (place.line, place.column)
        self.problems.append(Problem(line, column, message))

    def flag(self, location: Location) -> str | None:
        """The flag that gave what stands at `location`."""
        return next((flag for start, flag in self.flags.items() if location[: len(start)] == start), None)

    def inside(self, location: Location) -> str:
        _, words = self.document.place(location)
        return f" in '{words}'" if words else ""

    def raise_if_any(self) -> None:
        """Raise UsageError with every fault, in the order of the file; flags first."""
        found = sorted(set(self.problems))  # what an alias repeats is told once
        lines = self.flag_faults + [f"{self.name}:{one.line}:{one.column}: {one.message}" for one in found]
        if len(lines) == 1:
            raise UsageError(lines[0])
        if lines:
            text = "\n".join(f"  {line}" for line in lines)
            raise UsageError(f"{len(lines)} errors in the configuration:\n{text}")


def show(value: object) -> str:
    """A value as the user wrote it, or what it is when it is large."""
    if isinstance(value, dict):
        return "(a mapping)"
    if isinstance(value, list):
        return "(a list)"
    if isinstance(value, str):
        return f"'{value}'"
    return json.dumps(value, default=str)


def expects(location: Location) -> str:
    """' (expects ...)' for the value at `location`; '' where no value is expected."""
    phrase = _phrase(_type_at(location))
    return f" (expects {phrase})" if phrase else ""


def section_at(location: Location) -> type[Section]:
    """The model of the mapping at `location`."""
    return _section(_type_at(location)) or Config


def _type_at(location: Location) -> Any:
    """The declared type of the value at `location`, with its annotations; None when there is no such key."""
    if location and location[-1] == "[key]":  # pydantic's word for a key that its mapping cannot take
        return get_args(_mapping(_type_at(location[:-2])))[0]
    declared: Any = Config
    for step in location:
        declared = _item(declared) if isinstance(step, int) else _field(declared, step)
    return declared


def _field(declared: Any, key: str) -> Any:
    if mapping := _mapping(declared):
        return get_args(mapping)[1]
    section = _section(declared)
    field = section.model_fields.get(key) if section else None
    if field is None:
        return None
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _item(declared: Any) -> Any:
    """What a list holds; a single item where a list may stand is that already."""
    if get_origin(declared) is list:
        return get_args(declared)[0]
    return next((_item(part) for part in get_args(declared) if _has_list(part)), declared)


def _mapping(declared: Any) -> Any:
    """The `dict[...]` that a key of the user's own choice is in, if the type is one."""
    if get_origin(declared) is dict:
        return declared
    return next((part for part in get_args(declared)[:1] if get_origin(part) is dict), None)


def _has_list(declared: Any) -> bool:
    return get_origin(declared) is list or any(_has_list(part) for part in get_args(declared))


def _section(declared: Any) -> type[Section] | None:
    """The model inside a type such as `Annotated[list[Route], ...]` or `Cache | None`."""
    if isinstance(declared, type) and issubclass(declared, Section):
        return declared
    return next((found for part in get_args(declared) if (found := _section(part)) is not None), None)


def _phrase(declared: Any) -> str:
    """What a value of that type looks like."""
    if isinstance(declared, type) and issubclass(declared, Section):
        keys = f"a mapping with {_listed(declared.model_fields)}"
        return f"{declared.short_words} or {keys}" if declared.short_words else keys
    parts = get_args(declared)
    if get_origin(declared) is list:
        if section := _section(parts[0]):
            return f"a list of mappings with {_listed(section.model_fields)}"
        return f"a list of items, each {_phrase(parts[0])}"
    if get_origin(declared) is Literal:
        return _joined([str(part) for part in parts], "or")
    own = next((part.phrase for part in reversed(parts) if isinstance(part, Expects)), "")
    return own or next((phrase for part in parts if (phrase := _phrase(part))), "")


def _listed(keys: Iterable[str]) -> str:
    words = list(keys)
    return _joined([*words[:4], "more"] if len(words) > 5 else words, "and")


def _joined(words: list[str], conjunction: str) -> str:
    *most, last = words
    return f"{', '.join(most)} {conjunction} {last}" if most else last
