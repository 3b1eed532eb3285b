"""The sections that change a request on its way to the origin, or an answer on its way to the client.

Rewriting, redirects, header fields. Each refuses what would break the edge's own work, and says why.
"""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from cluster.config.values import (
    HTTP_TOKEN,
    URL_PATH,
    Expects,
    Flag,
    HostName,
    Many,
    Section,
    WholeSecondsOrZero,
    text_schema,
)
from worker.patterns import Replacement, compiled, wildcard

_PATH = re.compile(URL_PATH)
# Whom a redirect leads to is for the rule alone to say: no $N before the slash that ends the host.
_TARGET = re.compile(r"(?:/(?!/)|https?://[A-Za-z0-9.\[\]:_-]+(?=[/?]|\Z))[!-~]*")


def _plain_path(value: str) -> str:
    if not _PATH.fullmatch(value) or any(mark in value for mark in "?#\\") or "//" in value:
        raise ValueError("is no path in its normal form: a slash first, no space, ?, #, backslash or //")
    if any(segment in (".", "..") for segment in value.split("/")):
        raise ValueError("has a dot segment")
    return value


def _source(value: str) -> str:
    _plain_path(value)
    if value.count("*") > 9:
        raise ValueError("has more than nine *")
    return value


def _pattern(value: str) -> str:
    compiled(value)
    return value


def _path_target(value: str) -> str:
    if not _PATH.fullmatch(value) or "#" in value or "\\" in value:
        raise ValueError("is no path: a slash first, no space, # or backslash")
    return value


def _redirect_target(value: str) -> str:
    if not _TARGET.fullmatch(value) or "#" in value or "\\" in value:
        raise ValueError(
            "is neither a path nor a URL whose host ends before the first $N (put a slash before it), "
            "without space, # and backslash"
        )
    return value


PlainPath = Annotated[str, AfterValidator(_plain_path), Expects("a path such as /api")]
SourcePath = Annotated[str, AfterValidator(_source), Expects("a path such as /old/*")]
Pattern = Annotated[
    str, AfterValidator(_pattern),
    Expects("a regular expression for paths as RE2 reads it, such as ^/user/([0-9]+)$"),
    text_schema("^/user/([0-9]+)$"),
]  # fmt: skip


class PathRewrite(Section):
    """A pattern, and what a path that matches becomes."""

    pattern: Pattern = Field(
        description="Regular expression (RE2), found anywhere in the path unless anchored."
    )
    to: Annotated[str, AfterValidator(_path_target), Expects("a path such as /users/$1")] = Field(
        description="The whole new path, $1 to $9 for the groups; what follows a ? goes before the query."
    )

    @model_validator(mode="after")
    def _fits(self) -> "PathRewrite":
        Replacement(self.pattern, self.to)
        return self


class Rewrite(Section):
    """What the origin is asked for in place of the client's URL; cache key, log and security keep that."""

    host: HostName | None = Field(default=None, description="Host to send to the origin.")
    strip_prefix: PlainPath | None = Field(
        default=None, description="Taken from the beginning of the path, where it ends at a slash."
    )
    path: Many[PathRewrite] = Field(
        default=[], description="Then the first of these that matches makes the path anew."
    )
    add_prefix: Annotated[PlainPath | None, Expects("a path such as /v2")] = Field(
        default=None, description="Then put before the path."
    )
    cookies: Flag = Field(
        default=False, description="Map Path and Domain of the origin's cookies back into the client's URLs."
    )


class Redirect(Section):
    """A path that has moved."""

    path: SourcePath | None = Field(
        default=None, description="The path; each * stands for anything, which is $1, $2 and so on."
    )
    pattern: Annotated[Pattern | None, Expects("a regular expression such as ^/p/([0-9]+)$")] = Field(
        default=None, description="Or a regular expression (RE2)."
    )
    to: Annotated[
        str, AfterValidator(_redirect_target), Expects("a path or URL such as https://www.example.org/new/$1")
    ] = Field(description="Where to, $1 to $9 for what was matched; the query is kept.")
    status: Literal[301, 302, 303, 307, 308] | None = Field(
        default=None, description="301 for GET and HEAD and 308 for others when not given."
    )

    @model_validator(mode="after")
    def _fits(self) -> "Redirect":
        pattern = self.pattern if self.path is None else wildcard(self.path)
        if pattern is None or None not in (self.path, self.pattern):
            raise ValueError("needs a 'path' or a 'pattern', and not both")
        Replacement(pattern, self.to)
        return self


_OWN = "the edge writes it itself, on every message"
_FRAMING = "it says where the message ends, or what one connection does: only who sends it knows"
_FRAMES = {
    "connection", "content-length", "keep-alive", "proxy-authenticate", "proxy-authentication-info",
    "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip
_CONDITIONS = "the cache asks with it, and would take the answer for another"

UNTOUCHABLE_OF_REQUESTS = {
    **dict.fromkeys(_FRAMES, _FRAMING),
    **dict.fromkeys(("via", "cdn-loop", "x-request-id"), _OWN),
    **dict.fromkeys(
        ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
        "the edge writes it itself; whose word it takes for it is said in 'trusted_proxies'",
    ),
    "host": "set it with 'rewrite: {host: NAME}' or the origin's 'host_header'",
    "expect": "the edge answers it itself",
    **dict.fromkeys(
        ("range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"),
        _CONDITIONS,
    ),
}
UNTOUCHABLE_OF_RESPONSES = {
    **dict.fromkeys(_FRAMES, _FRAMING),
    **dict.fromkeys(("age", "cache-status", "date", "via", "x-cache", "x-request-id"), _OWN),
    **dict.fromkeys(
        ("content-encoding", "content-range"), "it says how the body is written: only who writes it knows"
    ),
}

_NAME = re.compile(HTTP_TOKEN)
_VALUE = re.compile(r"[\t -~]*")


def _field_value(value: object) -> str:
    if type(value) is int:
        return str(value)
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise ValueError("is no text of printable ASCII characters in one line; quotes make one of it")
    return value.strip()


def _changeable(name: str, untouchable: dict[str, str]) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("is no name of a field: letters, digits and - only")
    reason = untouchable.get(name.lower())
    if reason is not None:
        raise ValueError(f"cannot be changed: {reason}")
    return name


FieldValue = Annotated[
    str, BeforeValidator(_field_value), Expects("a field's value, a text in one line"), text_schema("DENY")
]  # fmt: skip
_NAMED = Expects("a field's name such as X-Frame-Options")
RequestField = Annotated[str, AfterValidator(lambda name: _changeable(name, UNTOUCHABLE_OF_REQUESTS)), _NAMED]
ResponseField = Annotated[
    str, AfterValidator(lambda name: _changeable(name, UNTOUCHABLE_OF_RESPONSES)), _NAMED
]
_LINES = Expects("a mapping of field names to values such as {X-Frame-Options: DENY}")


class RequestChanges(Section):
    """Fields of requests to the origin."""

    set: Annotated[dict[RequestField, FieldValue], _LINES] = Field(
        default={}, description="Lines that stand in place of all others of their name."
    )
    add: Annotated[dict[RequestField, FieldValue], _LINES] = Field(
        default={}, description="Lines that stand beside others of their name."
    )
    remove: Many[RequestField] = Field(default=[], description="Names of which no line is left.")

    @model_validator(mode="after")
    def _agree(self) -> "RequestChanges":
        _change_once(self)
        if any(name.lower() == "accept-encoding" for name in (*self.set, *self.add)):
            raise ValueError(
                "'Accept-Encoding' can only be removed: with another, clients get a coding they may not know"
            )
        return self


class ResponseChanges(Section):
    """Fields of answers to clients. Nothing of it is stored, so it holds for hits at once."""

    set: Annotated[dict[ResponseField, FieldValue], _LINES] = Field(
        default={}, description="Lines that stand in place of all others of their name."
    )
    add: Annotated[dict[ResponseField, FieldValue], _LINES] = Field(
        default={}, description="Lines that stand beside others of their name."
    )
    remove: Many[ResponseField] = Field(default=[], description="Names of which no line is left.")

    @model_validator(mode="after")
    def _agree(self) -> "ResponseChanges":
        _change_once(self)
        return self


def _change_once(changes: RequestChanges | ResponseChanges) -> None:
    seen: set[str] = set()
    for name in (*changes.set, *changes.remove):
        if name.lower() in seen:
            raise ValueError(f"'{name}' is set or removed twice")
        seen.add(name.lower())


class Headers(Section):
    """Header fields that a route sets, adds or removes."""

    request: RequestChanges = Field(default=RequestChanges(), description="On requests to the origin.")
    response: ResponseChanges = Field(default=ResponseChanges(), description="On answers to clients.")


class Hsts(Section):
    """Strict-Transport-Security on answers over https. A duration alone is short for `{max_age: 1y}`."""

    max_age: WholeSecondsOrZero = Field(
        description="How long browsers ask by https only; 0 makes them forget it."
    )
    subdomains: Flag = Field(default=False, description="For all names below the host too.")
    preload: Flag = Field(default=False, description="Agree to be in browsers' built-in lists.")

    short_key: ClassVar = "max_age"
    short_types: ClassVar = (str, int)
    short_hand: ClassVar[dict[str, Any] | None] = {"type": "string", "examples": ["1y"]}
    short_words: ClassVar[str] = "a duration such as 1y"
