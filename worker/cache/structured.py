"""Structured-field dictionaries (RFC 8941 3.2, 4.2.2), as strict as the RFC: one fault, and there is none.

Keeps of each member what cache directives may have as a value; a value of any other type counts as `None`,
and parameters are checked and dropped.
"""

import re

Value = bool | int | bytes | None  # Boolean, Integer, String; None: a type that no cache directive takes

_KEY = rb"[a-z*][a-z0-9_.*-]*+"
_STRING = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*+"'
_INTEGER = rb"-?[0-9]{1,15}+(?![.0-9])"
_DECIMAL = rb"-?[0-9]{1,12}+\.[0-9]{1,3}+(?![.0-9])"
_TOKEN = rb"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*+"
_BYTES = rb":(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?:"
_BOOLEAN = rb"\?[01]"
_BARE = b"(?>" + b"|".join((_BOOLEAN, _DECIMAL, _INTEGER, _STRING, _TOKEN, _BYTES)) + b")"
_PARAMETERS = rb"(?:; *+%b(?:=%b)?)*+" % (_KEY, _BARE)
_ITEM = _BARE + _PARAMETERS
_INNER_LIST = rb"\( *+(?:%b(?: +%b)*+)? *\)" % (_ITEM, _ITEM)

_MEMBER = re.compile(
    rb"(?P<key>%b)(?:=(?:(?P<boolean>%b)|(?P<integer>%b)|(?P<string>%b)|(?P<other>%b|%b)))?%b"
    % (_KEY, _BOOLEAN, _INTEGER, _STRING, _BARE, _INNER_LIST, _PARAMETERS)
)
_COMMA = re.compile(rb"[ \t]*,[ \t]*")


def dictionary(value: bytes) -> dict[bytes, Value] | None:
    """The members by key, the last of equal ones; None when the field is empty or breaks the grammar."""
    members: dict[bytes, Value] = {}
    value = value.strip(b" ")
    at = 0
    while match := _MEMBER.match(value, at):
        members[match["key"]] = _value(match)
        at = match.end()
        if at == len(value):
            return members
        comma = _COMMA.match(value, at)
        if comma is None:
            return None
        at = comma.end()
    return None


def _value(match: re.Match[bytes]) -> Value:
    kind = match.lastgroup
    if kind == "key":  # no value: Boolean true (3.2)
        return True
    if kind == "boolean":
        return match["boolean"] == b"?1"
    if kind == "integer":
        return int(match["integer"])
    if kind == "string":
        return re.sub(rb"\\(.)", rb"\1", match["string"][1:-1])
    return None
