"""SecLang files -> a list of typed directives, each with the file and line it came from.

Owns the grammar of ModSecurity's rule language: continuation lines, quotes, targets, operators, actions,
includes. Knows which words exist (`words`), not what they do, and does not put rules together (`ruleset`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path

from worker.security.waf import words
from worker.security.waf.transformations import TRANSFORMATIONS

MAX_INCLUDE_DEPTH = 8

SPACES = " \t\r\v\f"  # and no other byte, which may be part of a letter in UTF-8


@dataclass(frozen=True, slots=True)
class Position:
    """Where a directive stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class SecLangError(ValueError):
    """A rule file that cannot be used; the message begins with file:line and says what is wrong."""

    def __init__(self, position: Position, message: str) -> None:
        super().__init__(f"{position}: {message}")


@dataclass(frozen=True, slots=True)
class Target:
    """One variable of a rule's list: `&REQUEST_HEADERS:Host`, `!ARGS:/^utm_/`.

    `selector` is a name (compared without case), with `is_pattern` a regular expression, or None for all.
    """

    variable: str  # upper case
    selector: str | None = None
    is_pattern: bool = False
    counts: bool = False
    excludes: bool = False

    def __str__(self) -> str:
        """As messages and `ctl` name it."""
        return self.variable if self.selector is None else f"{self.variable}:{self.selector}"


@dataclass(frozen=True, slots=True)
class Operator:
    """`!@within GET POST`."""

    name: str  # lower case
    argument: str = ""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """`setvar:tx.score=+5`; a name alone has the value ""."""

    name: str  # lower case
    value: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """SecRule, or SecAction when there is no operator."""

    position: Position
    targets: tuple[Target, ...]
    operator: Operator | None
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Marker:
    position: Position
    name: str


@dataclass(frozen=True, slots=True)
class DefaultAction:
    position: Position
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class RemoveRules:
    """SecRuleRemoveById, -ByTag, -ByMsg: `by` is "id", "tag" or "msg"."""

    position: Position
    by: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UpdateTargets:
    """SecRuleUpdateTargetById, -ByTag, -ByMsg."""

    position: Position
    by: str
    value: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class UpdateActions:
    """SecRuleUpdateActionById."""

    position: Position
    id: int
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """Any other directive, without effect on rules."""

    position: Position
    name: str
    values: tuple[str, ...]


Directive = Rule | Marker | DefaultAction | RemoveRules | UpdateTargets | UpdateActions | Setting


def read(path: str | Path, faults: list[SecLangError] | None = None) -> list[Directive]:
    """The directives of a file and of all it includes, in order.

    Raises SecLangError, which includes a file that cannot be read; with `faults` all are put there instead,
    and what can be read is given.
    """
    return list(_read(Path(path), Position(str(path), 0), 0, faults))


def parse(text: str, name: str = "rules") -> list[Directive]:
    """The directives of a text; `name` stands for its file in errors. Includes are relative to the cwd.

    Read as a file in UTF-8 is: every byte is a character.
    """
    return list(_directives(text.encode().decode("latin-1"), name, Path(), 0, None))


def _read(path: Path, at: Position, depth: int, faults: list[SecLangError] | None) -> Iterator[Directive]:
    try:
        text = path.read_bytes().decode("latin-1")
    except OSError as error:
        raise SecLangError(at, f"cannot read {path}: {error.strerror}") from None
    yield from _directives(text, str(path), path.parent, depth, faults)


def _directives(
    text: str, name: str, folder: Path, depth: int, faults: list[SecLangError] | None
) -> Iterator[Directive]:
    for position, line in _logical_lines(text, name):
        try:
            arguments = _split(line, position)
            if not arguments:  # an empty line that was continued
                continue
            directive = arguments.pop(0).lower()
            if directive in ("include", "includeoptional"):
                yield from _included(directive, arguments, position, folder, depth, faults)
            else:
                yield _directive(directive, arguments, position)
        except SecLangError as error:
            if faults is None:
                raise
            faults.append(error)


def _included(
    directive: str,
    arguments: list[str],
    at: Position,
    folder: Path,
    depth: int,
    faults: list[SecLangError] | None,
) -> Iterator[Directive]:
    _expect(arguments, 1, 1, at, "Include wants one path")
    if depth >= MAX_INCLUDE_DEPTH:
        raise SecLangError(at, f"includes are {MAX_INCLUDE_DEPTH} deep: does a file include itself?")
    found = sorted(glob(str(folder / arguments[0])))
    if not found and directive == "include":
        raise SecLangError(at, f"no file matches {str(folder / arguments[0])!r}")
    for path in found:
        yield from _read(Path(path), at, depth + 1, faults)


def _logical_lines(text: str, name: str) -> Iterator[tuple[Position, str]]:
    """Lines without comments, continuation lines joined; numbered by their first physical line."""
    parts: list[str] = []
    start = 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip(SPACES)
        if not parts:
            if not line or line.lstrip(SPACES).startswith("#"):
                continue
            start = number
        if line.endswith("\\"):
            parts.append(line[:-1])
            continue
        yield Position(name, start), "".join([*parts, line]).strip(SPACES)
        parts.clear()
    if parts:
        raise SecLangError(Position(name, start), "the file ends in a continuation line")


def _split(line: str, at: Position) -> list[str]:
    """Words, or what stands between double quotes with \\" for a quote; every other backslash stays."""
    found = []
    index = 0
    while index < len(line):
        if line[index] in SPACES:
            index += 1
        elif line[index] == '"':
            match = _QUOTED.match(line, index)
            if match is None:
                raise SecLangError(at, "a double quote is not closed")
            found.append(match[1].replace('\\"', '"'))
            index = match.end()
        else:
            end = index
            while end < len(line) and line[end] not in SPACES:
                end += 1
            found.append(line[index:end])
            index = end
    return found


_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def _expect(arguments: list[str], least: int, most: int, at: Position, message: str) -> None:
    if not least <= len(arguments) <= most:
        raise SecLangError(at, f"{message}, got {len(arguments)}")


def _directive(name: str, arguments: list[str], at: Position) -> Directive:
    if name == "secrule":
        _expect(arguments, 2, 3, at, "SecRule wants targets, operator and actions")
        actions = parse_actions(arguments[2], at) if len(arguments) == 3 else ()
        return Rule(at, parse_targets(arguments[0], at), parse_operator(arguments[1], at), actions)
    if name == "secaction":
        _expect(arguments, 1, 1, at, "SecAction wants a list of actions")
        return Rule(at, (), None, parse_actions(arguments[0], at))
    if name == "secmarker":
        _expect(arguments, 1, 1, at, "SecMarker wants a name")
        return Marker(at, arguments[0].strip("'"))
    if name == "secdefaultaction":
        _expect(arguments, 1, 1, at, "SecDefaultAction wants a list of actions")
        return DefaultAction(at, parse_actions(arguments[0], at))
    if name in _REMOVES:
        _expect(arguments, 1, 1 << 16, at, "a removal wants what to remove")
        return RemoveRules(at, _REMOVES[name], tuple(arguments))
    if name in _TARGET_UPDATES:
        _expect(arguments, 2, 2, at, "an update of targets wants rules and targets")
        return UpdateTargets(at, _TARGET_UPDATES[name], arguments[0], parse_targets(arguments[1], at))
    if name == "secruleupdateactionbyid":
        _expect(arguments, 2, 2, at, "SecRuleUpdateActionById wants an id and actions")
        return UpdateActions(at, number(arguments[0], at, "id"), parse_actions(arguments[1], at))
    if name in words.INERT_SETTINGS:
        return Setting(at, name, tuple(arguments))
    raise SecLangError(at, words.unknown("directive", name, _DIRECTIVES))


_REMOVES = {"secruleremovebyid": "id", "secruleremovebytag": "tag", "secruleremovebymsg": "msg"}
_TARGET_UPDATES = {
    "secruleupdatetargetbyid": "id",
    "secruleupdatetargetbytag": "tag",
    "secruleupdatetargetbymsg": "msg",
}
_DIRECTIVES = frozenset(
    {
        "secrule", "secaction", "secmarker", "secdefaultaction", "secruleupdateactionbyid", "include",
        "includeoptional", *_REMOVES, *_TARGET_UPDATES, *words.INERT_SETTINGS,
    }
)  # fmt: skip


def number(text: str, at: Position, what: str) -> int:
    """A whole number, with or without single quotes."""
    digits = text.strip("'\" ")
    if not is_number(digits):
        raise SecLangError(at, f"{what} wants a number of at most 18 digits, not {text[:40]!r}")
    return int(digits)


def is_number(text: str) -> bool:
    """Whether these are digits, and not more of them than any number here has."""
    return text.isdecimal() and len(text) <= 18


# Targets


def parse_targets(text: str, at: Position) -> tuple[Target, ...]:
    """`ARGS|!ARGS:/re/|&TX:x`: separated by "|" or ","; neither separates inside /.../ or quotes."""
    targets = tuple(_target(part, at) for part in _TARGET.findall(text.strip("\"'")) if part)
    if not targets:
        raise SecLangError(at, "no target: a rule looks at one variable at least")
    return targets


_TARGET = re.compile(r"(?:'(?:[^'\\]|\\.)*'|:/(?:[^/\\]|\\.)*/(?=[|,]|$)|[^|,])+")


def _target(text: str, at: Position) -> Target:
    text = text.strip(SPACES)
    excludes = text.startswith("!")
    counts = text.startswith("&")
    variable, colon, selector = text.lstrip("!&").partition(":")
    variable = variable.upper()
    if variable not in words.VARIABLES:
        raise SecLangError(at, words.unknown("variable", variable, words.VARIABLES))
    if not colon:
        return Target(variable, None, False, counts, excludes)
    if variable in words.SCALARS:
        raise SecLangError(at, f"{variable} is one value: it takes no selector {selector!r}")
    if len(selector) > 1 and selector[0] == selector[-1] == "'":
        selector = selector[1:-1]
    if variable == "XML":
        if selector not in words.XPATHS:
            raise SecLangError(at, f"XML knows the selectors {' and '.join(words.XPATHS)}, not {selector!r}")
        return Target(variable, selector, False, counts, excludes)
    if len(selector) > 1 and selector[0] == selector[-1] == "/":
        return Target(variable, selector[1:-1], True, counts, excludes)
    return Target(variable, selector, False, counts, excludes)


# Operators


def parse_operator(text: str, at: Position) -> Operator:
    """`!@name argument`; without an @ it is a regular expression."""
    rest = text.lstrip(SPACES)
    negated = rest.startswith("!")
    if negated:
        rest = rest[1:].lstrip(SPACES)
    if not rest.startswith("@"):
        return Operator("rx", rest, negated)
    name, _, argument = rest[1:].partition(" ")
    name = name.lower()
    if name in words.REFUSED_OPERATORS:
        raise SecLangError(at, f"operator @{name} is not supported; known are {_listed(words.OPERATORS)}")
    if name not in words.OPERATORS:
        raise SecLangError(at, words.unknown("operator", f"@{name}", {f"@{w}" for w in words.OPERATORS}))
    return Operator(name, argument, negated)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


# Actions


def parse_actions(text: str, at: Position) -> tuple[Action, ...]:
    """`id:1,phase:2,msg:'a, b'`: separated by commas outside of single quotes."""
    actions = []
    index = 0
    while index < len(text):
        match = _ACTION.match(text, index)
        if match is None:
            raise SecLangError(at, f"cannot read the actions from {text[index : index + 40]!r} on")
        index = match.end()
        if match["name"]:
            actions.append(_action(match, at))
    return tuple(actions)


_ACTION = re.compile(
    r"\s*(?P<name>[A-Za-z]*)\s*(?P<colon>:\s*(?:'(?P<quoted>(?:[^'\\]|\\.)*)'|(?P<plain>(?!')[^,]*)))?\s*(?:,|$)",
    re.DOTALL | re.ASCII,
)


def _action(match: re.Match[str], at: Position) -> Action:
    name = match["name"].lower().replace("sanitize", "sanitise")
    quoted = match["quoted"]
    value = quoted.replace("\\'", "'") if quoted is not None else (match["plain"] or "").strip(SPACES)
    if name not in words.ACTIONS:
        raise SecLangError(at, words.unknown("action", name, words.ACTIONS))
    if name == "t" and value.lower() not in TRANSFORMATIONS:
        raise SecLangError(
            at, words.unknown("transformation", f"t:{value}", {f"t:{w}" for w in TRANSFORMATIONS})
        )
    if name == "ctl":
        control = value.partition("=")[0].strip(SPACES)
        if control.lower() not in words.CONTROLS:
            raise SecLangError(at, words.unknown("control", f"ctl:{control}", words.CONTROLS))
    action = Action(name, value)
    return replace(action, value=value.lower()) if name == "t" else action
