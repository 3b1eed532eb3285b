"""What RFC 9111 lets a shared cache do with one stored response and one request: written from its text alone.

Shares no code with the cache it judges. Where it cannot know (a clock is off by less than a second, a
spelling means nothing by the grammar), it judges in the cache's favour.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tests.differential import rules
from tests.differential.rules import Rule
from tests.differential.script import Asked, Line, joined, values

WALL_AHEAD_S = time.time() - time.monotonic()

# RFC 9110 15.1; 206 is none for caches that store no parts.
HEURISTICALLY_CACHEABLE = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
KNOWN_STATUSES = HEURISTICALLY_CACHEABLE | {302, 303, 307, 400, 401, 403, 500, 502, 503, 504}
SERVED_CODINGS = ("gzip", "br", "zstd")

Directives = list[tuple[str, str | None]]

_DIRECTIVE = re.compile(
    r"([!#$%&'*+\-.^_`|~\w]+)(?:=(?:\"((?:[^\"\\]|\\.)*)\"|([!#$%&'*+\-.^_`|~\w]+)))?", re.ASCII
)
_DICTIONARY = re.compile(
    r"\s*[a-z*][a-z0-9_\-.*]*(=-?\d{1,15})?(\s*,\s*[a-z*][a-z0-9_\-.*]*(=-?\d{1,15})?)*\s*"
)
_DATE_FORMATS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")


@dataclass(frozen=True, slots=True)
class Stored:
    """A response that a cache may have stored, or a later state of it after a 304."""

    step: int  # in which it was made
    asked: Asked  # what the client had asked
    method: str  # what the cache had asked
    status: int
    fields: tuple[Line, ...]
    received_s: float  # monotonic; the latest it can have been
    age_s: int  # at least, when it was received
    invalidated: bool = False
    updated_by: int | None = None  # the step whose 304 has surely updated it

    def updated(self, fields: tuple[Line, ...], step: int, received_s: float, *, surely: bool) -> "Stored":
        """After a 304 or a HEAD's answer with those fields (RFC 9111 3.2)."""
        names = {name.lower() for name, _ in fields}
        kept = tuple(line for line in self.fields if line[0].lower() not in names)
        return replace(
            self,
            fields=(*kept, *fields),
            received_s=received_s,
            age_s=initial_age(fields, received_s),
            invalidated=False,
            updated_by=step if surely else None,
        )


def initial_age(fields: tuple[Line, ...], received_s: float) -> int:
    """The corrected initial age, at least (RFC 9111 4.2.3, 5.1)."""
    date = http_date(joined(fields, "date"))
    apparent = 0 if date is None else max(0, int(received_s + WALL_AHEAD_S - 1) - date)
    value = (joined(fields, "age") or "").partition(",")[0].strip()
    return max(apparent, min(int(value), 2**31) if value.isdigit() else 0)


def http_date(value: str | None) -> int | None:
    """Seconds since 1970; None for what is no date in one of the three formats (RFC 9110 5.6.7)."""
    for form in _DATE_FORMATS if value is not None else ():
        try:
            return int(datetime.strptime(value or "", form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    return None


def directives(lines: Iterable[str]) -> Directives:
    """(lower-case name, argument) of a Cache-Control. Beside its grammar, what can be read counts."""
    found: Directives = []
    for item in _split(", ".join(lines)):
        match = _DIRECTIVE.match(item)
        if match is not None:
            name, quoted, token = match.groups()
            is_open = match.end() < len(item) and item[match.end()] not in " \t"
            argument = quoted if quoted is not None else token
            found.append((name.lower(), "" if is_open else argument))
    return found


def _split(value: str) -> list[str]:
    """At commas outside of quotes."""
    items, quoted, escaped, start = [], False, False, 0
    for at, char in enumerate(value):
        if escaped:
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            items.append(value[start:at])
            start = at + 1
    return [item.strip() for item in (*items, value[start:])]


def control(fields: tuple[Line, ...], *, targeted: bool) -> tuple[Directives, bool]:
    """What directs a cache, and whether that is a targeted field (RFC 9213 2.2)."""
    value = joined(fields, "cdn-cache-control")
    if targeted and value and _DICTIONARY.fullmatch(value):
        return directives([value]), True
    return directives(values(fields, "cache-control")), False


def _seconds(argument: str | None) -> int | None:
    return min(int(argument), 2**31) if argument is not None and re.fullmatch("[0-9]+", argument) else None


def lifetime(stored: Stored, *, targeted: bool) -> tuple[int | None, Rule | None]:
    """The explicit lifetime in seconds, None without one; and the rule by which nonsense is 0."""
    told, by_target = control(stored.fields, targeted=targeted)
    for name in ("s-maxage", "max-age"):
        arguments = [argument for found, argument in told if found == name]
        if arguments:
            seconds = _seconds(arguments[0])
            return (0, rules.INVALID) if seconds is None else (seconds, None)
    expires = [] if by_target else values(stored.fields, "expires")
    if not expires:
        return None, None
    at = http_date(expires[0])
    if at is None:
        return 0, rules.INVALID if expires[0].endswith("EST") else rules.EXPIRES_INVALID
    date = http_date(joined(stored.fields, "date"))
    made_s = int(stored.received_s + WALL_AHEAD_S) if date is None else date
    return max(0, at - made_s), None


def broken_by_storing(stored: Stored, asked: Asked, *, targeted: bool) -> list[Rule]:
    """The rules that forbid `asked` to be answered with `stored`, validated or not."""
    told, _ = control(stored.fields, targeted=targeted)
    names = {name for name, _ in told}
    seconds, _ = lifetime(stored, targeted=targeted)
    understood = stored.status in KNOWN_STATUSES
    found = []
    if stored.method not in ("GET", "HEAD"):
        found.append(rules.METHOD)
    if stored.method == "HEAD" and asked.method == "GET":
        found.append(rules.BODYLESS)
    if stored.status == 304 or ("must-understand" in names and not understood):
        found.append(rules.STATUS)
    if "no-store" in names and not ("must-understand" in names and understood):
        found.append(rules.NO_STORE)
    if any(name == "private" and not argument for name, argument in told):
        found.append(rules.PRIVATE)
    if joined(stored.asked.fields, "authorization") is not None and not names & {
        "public",
        "must-revalidate",
        "s-maxage",
    }:
        found.append(rules.AUTHORIZATION)
    permitted = seconds is not None or "public" in names or stored.status in HEURISTICALLY_CACHEABLE
    if not permitted:
        found.append(rules.PERMISSION)
    return found + _broken_by_vary(stored, asked) + _broken_by_request_no_store(stored)


def _broken_by_vary(stored: Stored, asked: Asked) -> list[Rule]:
    names = [name.strip().lower() for name in (joined(stored.fields, "vary") or "").split(",")]
    if "*" in names:
        return [rules.VARY_STAR]
    differs = any(_selecting(stored.asked, name) != _selecting(asked, name) for name in names if name)
    return [rules.VARY] if differs else []


def _selecting(asked: Asked, name: str) -> object:
    """What counts of a field that Vary names: known to mean the same means equal (RFC 9111 4.1)."""
    value = joined(asked.fields, name)
    if name != "accept-encoding":
        return value
    accepted = {part.partition(";")[0].strip() for part in (value or "").split(",") if ";q=0" not in part}
    return accepted & set(SERVED_CODINGS)


def _broken_by_request_no_store(stored: Stored) -> list[Rule]:
    told = directives(values(stored.asked.fields, "cache-control"))
    return [rules.ASKED_NO_STORE] if any(name == "no-store" for name, _ in told) else []


def age_range(stored: Stored, now_s: float) -> int:
    """How old it is, in whole seconds, at least."""
    return stored.age_s + max(0, int(now_s - stored.received_s))


def broken_by_reuse(
    stored: Stored, asked: Asked, now_s: float, *, origin_failed: bool, targeted: bool
) -> list[Rule]:
    """The rules that forbid `asked` to be answered with `stored` without validation."""
    found = broken_by_storing(stored, asked, targeted=targeted)
    told, _ = control(stored.fields, targeted=targeted)
    if any(
        name == "no-cache" and (argument is None or (argument == "" and not _is_empty(stored)))
        for name, argument in told
    ):
        found.append(rules.NO_CACHE)
    if stored.invalidated:
        found.append(rules.INVALIDATED)
    seconds, nonsense = lifetime(stored, targeted=targeted)
    age = age_range(stored, now_s)
    staleness = None if seconds is None else age - seconds
    if staleness is not None and staleness >= 0:
        found += _broken_by_staleness(told, asked, staleness, nonsense, origin_failed=origin_failed)
    return found + _broken_by_request(asked, age, staleness, origin_failed=origin_failed)


def _is_empty(stored: Stored) -> bool:
    return any('no-cache=""' in value for value in values(stored.fields, "cache-control"))


def _broken_by_staleness(
    told: Directives, asked: Asked, staleness: int, nonsense: Rule | None, *, origin_failed: bool
) -> list[Rule]:
    names = {name for name, _ in told}
    if names & {"must-revalidate", "proxy-revalidate", "s-maxage"}:
        return [rules.STALE_FORBIDDEN if nonsense is None else nonsense]
    wanted = directives(values(asked.fields, "cache-control"))
    windows = [argument for name, argument in wanted if name == "max-stale"]
    accepted = [2**31 if argument is None else _seconds(argument) or 0 for argument in windows]
    accepted += [_seconds(argument) or 0 for name, argument in told if name == "stale-while-revalidate"]
    if origin_failed or any(staleness <= window for window in accepted if window):
        return []
    return [rules.STALE if nonsense is None else nonsense]


def _broken_by_request(asked: Asked, age: int, staleness: int | None, *, origin_failed: bool) -> list[Rule]:
    wanted = directives(values(asked.fields, "cache-control"))
    if not wanted and any("no-cache" in value for value in values(asked.fields, "pragma")):
        wanted = [("no-cache", None)]
    found = []
    for name, argument in wanted:
        seconds = _seconds(argument)
        if name == "no-cache" and not origin_failed:
            found.append(rules.ASKED_NO_CACHE)
        elif name == "max-age" and seconds is not None and age > seconds and not origin_failed:
            found.append(rules.ASKED_MAX_AGE)
        elif (
            name == "min-fresh"
            and seconds is not None
            and staleness is not None
            and -staleness < seconds
            and not origin_failed
        ):
            found.append(rules.ASKED_MIN_FRESH)
    return found


def is_not_modified(asked: Asked, fields: tuple[Line, ...]) -> bool:
    """Does the client's condition say that it has this already (RFC 9110 13.1.2, 13.1.3, 13.2.2)?"""
    tags = joined(asked.fields, "if-none-match")
    etag = joined(fields, "etag")
    if tags is not None:
        listed = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
        return "*" in listed or (etag is not None and etag.removeprefix("W/") in listed)
    since = http_date(joined(asked.fields, "if-modified-since"))
    modified = http_date(joined(fields, "last-modified") or joined(fields, "date"))
    return since is not None and modified is not None and modified <= since


def may_send_part(asked: Asked, fields: tuple[Line, ...]) -> bool:
    """Does If-Range, if there is one, match (RFC 9110 13.1.5)?"""
    wanted = joined(asked.fields, "if-range")
    if wanted is None:
        return True
    if wanted.startswith(('"', "W/")):
        return wanted == joined(fields, "etag") and not wanted.startswith("W/")
    return wanted == joined(fields, "last-modified")
