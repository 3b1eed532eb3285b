"""Why one proxy reuses what another asks for, and answers otherwise, where RFC 9111 permits both."""

from dataclasses import dataclass

from tests.differential.generate import ODD
from tests.differential.judge import Finding
from tests.differential.oracle import Stored, age_range, control, directives, lifetime
from tests.differential.rules import (
    ASKED_MAX_AGE,
    ASKED_MIN_FRESH,
    ASKED_NO_CACHE,
    ASKED_NO_STORE,
    ASKED_ONLY_STORED,
    Rule,
)
from tests.differential.script import Asked, joined, values

ADVISORY = frozenset({ASKED_MAX_AGE, ASKED_MIN_FRESH, ASKED_NO_CACHE, ASKED_NO_STORE, ASKED_ONLY_STORED})


@dataclass(frozen=True, slots=True)
class Cause:
    """A difference that the RFC permits: its sentence, and what edgecluster does and why."""

    section: str
    sentence: str
    ours: str


ASKED = Cause(
    "5.2.1",
    "request directives are advisory",
    "heeded, as users expect of a reload; `ignore_client` turns it off",
)
MAX_STALE = Cause(
    "5.2.1.2, 4.2.4", "max-stale permits a stale response", "served: the client permits it itself"
)
FAILED = Cause(
    "4.2.4, 4.3.3",
    "stale may be sent when disconnected or on a 5xx, if nothing forbids it",
    "only within stale-if-error, and what is still fresh: the origin or a rule has to say so",
)
REVALIDATING = Cause(
    "RFC 5861 3",
    "stale-while-revalidate: a cache may serve stale while it validates",
    "served, validated behind",
)
HEURISTIC = Cause(
    "4.2.2",
    "without an explicit lifetime a cache may assign one",
    "none: the edge invents no lifetime unless a rule says",
)
SPELLING = Cause(
    "5.2, 4.2.1",
    "directives are tokens with arguments as token or quoted string; what is invalid is better stale",
    "parsed by the grammar; a restriction counts even where the rest is garbage",
)
DUPLICATES = Cause(
    "4.2.1, 5.3",
    "of several values the first, or stale",
    "the shortest lifetime; Expires that contradict are past",
)
COOKIE = Cause(
    "7.3", "Set-Cookie does not inhibit caching", "not stored unless public: a cookie is one client's own"
)
AUTHORISED = Cause(
    "3.5", "answers to authorised requests may be shared by permission", "stored and shared where permitted"
)
QUALIFIED = Cause(
    "5.2.2.4, 5.2.2.7",
    "with names, no-cache and private speak of these fields only; a cache may take them as if without",
    "as without names",
)
UNDERSTAND = Cause("5.2.2.3", "must-understand takes no-store off for known statuses", "stored")
STATUS = Cause("3", "a final status may be stored if a lifetime permits", "every final status")
TARGETED = Cause("RFC 9213 2.2", "a targeted field decides", "CDN-Cache-Control decides")
VARIANTS = Cause(
    "4.1",
    "several variants may be kept; matching fields may be normalised",
    "all kept, values as sent, filed by every field that the target ever varied by",
)
AGING = Cause(
    "4.2.3", "age counts Age and Date and the time of the exchange", "as the text says, to the second"
)
ROUNDING = Cause(
    "4.2.3", "times are in seconds", "nanoseconds since it came: a second's lifetime lasts a second"
)
HEAD = Cause("4, 4.3.5", "HEAD may be answered from a GET, and updates it", "answered; only GET is stored")
RANGE = Cause(
    "3.3, 3.4",
    "a part may be served from a stored whole, and a stored part combined",
    "the whole is fetched and stored",
)
CONDITION = Cause(
    "4.3.2",
    "a request's condition may be judged by the cache",
    "judged on a whole response that is fetched for it",
)
INVALIDATION = Cause(
    "4.4", "a cache may invalidate more than it must", "the target, Location and Content-Location"
)
MISSED = Cause(
    "3, 4",
    "a cache may always forward and need not store",
    "hit-for-miss memory after an answer it could not share",
)
ONLY_STORED = Cause(
    "5.2.1.7", "only-if-cached: a stored response or, better, 504", "504 where nothing is stored"
)
JUDGED = Cause(
    "4.3.2, RFC 9110 13.2",
    "a cache should judge a condition by what it stores",
    "304 whenever what is stored, or has just come, satisfies the condition",
)
RANGES = Cause(
    "RFC 9110 14.2",
    "Range may be ignored, and must be with an unknown unit; 416 where nothing of it can be sent",
    "206 and 416 from the whole; unknown units ignored",
)
VALIDATED = Cause(
    "4.3.1, 4.3.3",
    "a stored response with a validator is validated by it",
    "whatever its status; a 304 confirms it",
)
OTHER = Cause("?", "not explained yet", "?")


def is_serious(rule: Rule) -> bool:
    """Does breaking it mean that something was reused which must not be?"""
    return rule not in ADVISORY


def cause_of(asked: Asked, reused: Finding, now_s: float) -> Cause:
    """Why another proxy may have asked for what this one reused."""
    stored = reused.stored
    if stored is None:
        return OTHER
    if joined(stored.fields, "cdn-cache-control") is not None:
        return TARGETED
    staleness = _staleness(stored, now_s)
    wanted = {name for name, _ in directives(values(asked.fields, "cache-control"))}
    if staleness is not None and staleness >= 0:
        if reused.origin_failed:
            return FAILED
        return MAX_STALE if "max-stale" in wanted else REVALIDATING
    if (
        wanted & {"no-cache", "no-store", "max-age", "min-fresh"}
        or joined(asked.fields, "pragma") is not None
    ):
        return ASKED
    if reused.origin_failed:
        return FAILED
    cause = _cause_in(stored, asked, reused)
    return ROUNDING if cause in (MISSED, OTHER) and staleness is not None and staleness >= -1 else cause


def cause_of_answer(asked: Asked, statuses: tuple[int, int]) -> Cause:
    """Why two proxies that both asked, or both did not, answer with different statuses."""
    if "only-if-cached" in {name for name, _ in directives(values(asked.fields, "cache-control"))}:
        return ONLY_STORED
    if joined(asked.fields, "range") is not None and 304 not in statuses:
        return RANGES
    if _has_condition(asked):
        return JUDGED
    return VALIDATED if all(200 <= status < 600 for status in statuses) else OTHER


def _has_condition(asked: Asked) -> bool:
    return any(joined(asked.fields, name) is not None for name in ("if-none-match", "if-modified-since"))


def _staleness(stored: Stored, now_s: float) -> int | None:
    seconds, _ = lifetime(stored, targeted=True)
    return None if seconds is None else age_range(stored, now_s) - seconds


def _cause_in(stored: Stored, asked: Asked, reused: Finding) -> Cause:
    fields = stored.fields
    told, _ = control(fields, targeted=True)
    names = {name for name, _ in told}
    lines = values(fields, "cache-control")
    seconds, _ = lifetime(stored, targeted=True)
    if any(odd in line for odd in ODD for line in lines):
        return SPELLING
    if _repeats(told) or len(values(fields, "expires")) > 1:
        return DUPLICATES
    if seconds is None:
        return HEURISTIC
    if joined(fields, "set-cookie") is not None:
        return COOKIE
    if joined(asked.fields, "authorization") or joined(stored.asked.fields, "authorization"):
        return AUTHORISED
    if any(name in ("no-cache", "private") for name in names):
        return QUALIFIED
    if "must-understand" in names:
        return UNDERSTAND
    if stored.status != 200:
        return STATUS
    if joined(fields, "vary") is not None or _varied(reused):
        return VARIANTS
    if joined(fields, "age") is not None or stored.age_s or joined(fields, "expires") is not None:
        return AGING
    if "HEAD" in (asked.method, stored.asked.method) or any(e.method == "HEAD" for e in reused.after):
        return HEAD
    if joined(asked.fields, "range") or joined(stored.asked.fields, "range"):
        return RANGE
    if _has_condition(asked) or _has_condition(stored.asked):
        return CONDITION
    if any(exchange.method not in ("GET", "HEAD") for exchange in reused.after):
        return INVALIDATION
    return MISSED if len(reused.after) > 1 else OTHER


def _repeats(told: list[tuple[str, str | None]]) -> bool:
    lifetimes = [name for name, _ in told if name in ("max-age", "s-maxage")]
    return len(lifetimes) != len(set(lifetimes))


def _varied(reused: Finding) -> bool:
    return any(joined(exchange.fields, "vary") is not None for exchange in reused.after)
