"""Cache-Control and its targeted kin: from field lines to directives (RFC 9111 5.2, RFC 9213).

Knows the grammar, not the policy. Whatever cannot be read is taken on the safe side: an origin that tried
to limit reuse is taken at its word.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from worker.cache.structured import Value, dictionary
from worker.fields import CACHE_CONTROL, PRAGMA, Fields

OWN_FIELD = b"edgecluster-cache-control"
TARGETED = (OWN_FIELD, b"cdn-cache-control")  # our target list, the most applicable first (RFC 9213 2.2)

DELTA_MAX = 2**31  # RFC 9111 1.2.2: a greater or unrepresentable delta-seconds counts as this

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# A quoted string that never ends is no value: scanning goes on inside it, so that no restriction hides there.
_DIRECTIVE = re.compile(rb"(%b+)(?:=(?:\"((?:[^\"\\]|\\.)*)\"|(%b*)))?" % (_TOKEN, _TOKEN), re.DOTALL)
_QUOTED_VALUE = re.compile(rb"=\"(?:[^\"\\]|\\.)*\"", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ResponseControl:
    """Response directives (RFC 9111 5.2.2, RFC 5861). Lifetimes in seconds; None: not named.

    A qualified `no-cache="field"` or `private="field"` counts as the unqualified one, as 5.2.2.4 and 5.2.2.7
    allow: stricter, and what one client is sent is never a response with fields taken out.
    """

    no_store: bool = False
    no_cache: bool = False
    private: bool = False
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    max_age: int | None = None
    s_maxage: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    targeted: bool = (
        False  # from a targeted field: Cache-Control and Expires say nothing to us (RFC 9213 2.2)
    )

    @property
    def forbids_stale(self) -> bool:
        """Is every stale use forbidden (RFC 9111 4.2.4)? s-maxage includes proxy-revalidate (5.2.2.10)."""
        return self.must_revalidate or self.proxy_revalidate or self.no_cache or self.s_maxage is not None


@dataclass(frozen=True, slots=True)
class RequestControl:
    """Request directives (RFC 9111 5.2.1, RFC 5861 4). Seconds; None: not named."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None  # DELTA_MAX when named without a value
    stale_if_error: int | None = None


NO_RESPONSE_CONTROL = ResponseControl()
NO_REQUEST_CONTROL = RequestControl()


def directives(value: bytes) -> list[tuple[bytes, bytes | None]]:
    """(lower-case name, value) in order; a quoted value is unquoted, None without `=`."""
    found: list[tuple[bytes, bytes | None]] = []
    for match in _DIRECTIVE.finditer(value):
        name, quoted, token = match.groups()
        if quoted is not None:
            token = re.sub(rb"\\(.)", rb"\1", quoted, flags=re.DOTALL)
        found.append((name.lower(), token))
    return found


def delta_seconds(value: bytes | None) -> int | None:
    """A non-negative number of seconds, at most DELTA_MAX; None when it is not 1*DIGIT."""
    if value is None or not value.isdigit():
        return None
    return DELTA_MAX if len(value) > 10 else min(int(value), DELTA_MAX)


def response_control(fields: Fields) -> ResponseControl:
    """The directives of a response: those of its first valid targeted field, else of Cache-Control."""
    for name in TARGETED:
        value = fields.joined(name)
        if value is not None:
            control = _parse_targeted(value)
            if control is not None:
                return control
    value = fields.joined(b"cache-control")
    return NO_RESPONSE_CONTROL if value is None else _parse_response(value)


def request_control(fields: Fields) -> RequestControl:
    """The directives of a request; `Pragma: no-cache` counts where Cache-Control is absent (RFC 9111 5.4)."""
    mask = fields.mask
    if mask & CACHE_CONTROL:
        return _parse_request(fields.joined(b"cache-control") or b"")
    if mask & PRAGMA and any(name == b"no-cache" for name, _ in directives(fields.joined(b"pragma") or b"")):
        return RequestControl(no_cache=True)
    return NO_REQUEST_CONTROL


@lru_cache(maxsize=1024)
def _parse_response(value: bytes) -> ResponseControl:
    named = {name for name, _ in directives(value)}
    unreadable = _has_stray_quote(value)
    return ResponseControl(
        no_store=b"no-store" in named or unreadable,
        no_cache=b"no-cache" in named,
        private=b"private" in named,
        public=b"public" in named,
        must_revalidate=b"must-revalidate" in named,
        proxy_revalidate=b"proxy-revalidate" in named,
        must_understand=b"must-understand" in named and not unreadable,
        max_age=_shortest(value, b"max-age"),
        s_maxage=_shortest(value, b"s-maxage"),
        stale_while_revalidate=_shortest(value, b"stale-while-revalidate"),
        stale_if_error=_shortest(value, b"stale-if-error"),
    )


def _has_stray_quote(value: bytes) -> bool:
    """Is there a quote that neither begins nor ends a value, so that nobody knows what it hides?

    A lifetime behind it is one to some readers and part of a string to others. Such a response is not stored.
    """
    return b'"' in value and b'"' in _QUOTED_VALUE.sub(b"", value)


@lru_cache(maxsize=1024)
def _parse_targeted(value: bytes) -> ResponseControl | None:
    """The directives of a targeted field; None if it is empty or no dictionary (RFC 9213 2.1).

    A directive that restricts counts whatever its value, but for an explicit false; a number of seconds that
    is no non-negative integer counts as 0.
    """
    members = dictionary(value)
    if members is None:
        return None
    named = {name for name, member in members.items() if member is not False}
    return ResponseControl(
        no_store=b"no-store" in named,
        no_cache=b"no-cache" in named,
        private=b"private" in named,
        public=members.get(b"public") is True,
        must_revalidate=b"must-revalidate" in named,
        proxy_revalidate=b"proxy-revalidate" in named,
        must_understand=members.get(b"must-understand") is True,
        max_age=_seconds(members, b"max-age"),
        s_maxage=_seconds(members, b"s-maxage"),
        stale_while_revalidate=_seconds(members, b"stale-while-revalidate"),
        stale_if_error=_seconds(members, b"stale-if-error"),
        targeted=True,
    )


def _seconds(members: dict[bytes, Value], name: bytes) -> int | None:
    if name not in members:
        return None
    value = members[name]
    return 0 if type(value) is not int else min(max(value, 0), DELTA_MAX)


@lru_cache(maxsize=1024)
def _parse_request(value: bytes) -> RequestControl:
    named = directives(value)
    names = {name for name, _ in named}
    control = RequestControl(
        no_store=b"no-store" in names,
        no_cache=b"no-cache" in names,
        only_if_cached=b"only-if-cached" in names,
        max_age=_shortest(value, b"max-age"),
        stale_if_error=_shortest(value, b"stale-if-error"),
    )
    for name, text in named:
        if name == b"min-fresh":  # unreadable: nothing is fresh enough
            seconds = delta_seconds(text)
            control = replace(control, min_fresh=DELTA_MAX if seconds is None else seconds)
        elif name == b"max-stale":  # without a value: any staleness will do (5.2.1.2); unreadable: none
            seconds = DELTA_MAX if text is None else delta_seconds(text)
            control = replace(control, max_stale=seconds or 0)
    return control


def _shortest(value: bytes, name: bytes) -> int | None:
    """The least of a directive's values, 0 if one cannot be read, None if not named (RFC 9111 4.2.1)."""
    seconds = [delta_seconds(text) or 0 for found, text in directives(value) if found == name]
    return min(seconds, default=None)
