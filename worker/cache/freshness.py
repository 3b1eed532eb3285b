"""How long a response may be reused, and how old it is (RFC 9111 4.2). Pure: fields, times, numbers."""

import re
from calendar import timegm
from dataclasses import dataclass
from functools import lru_cache

from worker.cache.control import DELTA_MAX, ResponseControl, delta_seconds
from worker.fields import Fields

KEEP_VALIDATABLE_S = 24 * 3600  # how long past freshness a response with a validator is worth its room
KEEP_FOR_WAITERS_S = 5  # at least, so that whoever waited for a slow fetch finds it, stale on arrival or not

HEURISTIC_MAX_S = 7 * 24 * 3600  # however old a response is, it may change next week
_YEAR_S = 31_556_952  # a Gregorian year on average

_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = rb"(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH = rb"(?P<month>" + b"|".join(_MONTHS) + rb")"
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_IMF_FIXDATE = _DAY + rb", (?P<day>\d\d) " + _MONTH + rb" (?P<year>\d{4}) " + _TIME + b" GMT"
_RFC850 = _LONG_DAY + rb", (?P<day>\d\d)-" + _MONTH + rb"-(?P<year>\d\d) " + _TIME + b" GMT"
_ASCTIME = _DAY + b" " + _MONTH + rb" (?P<day>[\d ]\d) " + _TIME + rb" (?P<year>\d{4})"
# A cache reads dates whatever their case (RFC 9111 4.2); one of no zone or another than GMT is none.
_FORMATS = [re.compile(form, re.IGNORECASE) for form in (_IMF_FIXDATE, _ASCTIME, _RFC850)]
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def http_date(value: bytes, now_s: float) -> int | None:
    """Seconds since 1970 of an HTTP-date in any of its three formats (RFC 9110 5.6.7); None if it is none.

    `now_s` (wall clock) resolves the two-digit year of RFC 850: one more than 50 years ahead is past.
    """
    return _http_date(value, 1970 + int(now_s // _YEAR_S))


@lru_cache(maxsize=1024)  # the same few dates come again and again, and each costs microseconds
def _http_date(value: bytes, this_year: int) -> int | None:
    match = next((match for form in _FORMATS if (match := form.fullmatch(value))), None)
    if match is None:
        return None
    year, month, day = int(match["year"]), _MONTHS[match["month"].title()], int(match["day"])
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"])
    if len(match["year"]) == 2:
        year += (this_year + 50 - year) // 100 * 100  # the latest such year at most 50 years ahead
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = 28 if month == 2 and not leap else _DAYS_IN_MONTH[month - 1]
    if not 1 <= day <= days or hour > 23 or minute > 59 or second > 60:
        return None
    return timegm((year, month, day, hour, minute, second))


def date_of(fields: Fields, received_s: float) -> int:
    """When the origin made the response: its Date, or the time it was received (RFC 9110 6.6.1)."""
    value = fields.get(b"date")
    date_s = None if value is None else http_date(value, received_s)
    return int(received_s) if date_s is None else date_s


def freshness_lifetime(fields: Fields, control: ResponseControl, date_s: int, now_s: float) -> int | None:
    """Seconds the response may be reused without asking; None if the origin did not say.

    First of s-maxage, max-age, Expires minus `date_s` (RFC 9111 4.2.1). What cannot be read, and an Expires
    that contradicts itself, counts as 0 (5.3). Beside a targeted field Expires says nothing (RFC 9213 2.2).
    """
    if control.s_maxage is not None:
        return control.s_maxage
    if control.max_age is not None:
        return control.max_age
    if control.targeted:
        return None
    values = set(fields.get_all(b"expires"))
    if not values:
        return None
    expires_s = http_date(values.pop(), now_s)
    if expires_s is None or values:
        return 0
    return min(max(expires_s - date_s, 0), DELTA_MAX)


def heuristic_lifetime(fields: Fields, share: float, date_s: int, now_s: float) -> int | None:
    """`share` of the time for which the response had not changed, at most a week (RFC 9111 4.2.2).

    None without a Last-Modified before `date_s`. For responses without an explicit lifetime only.
    """
    value = fields.get(b"last-modified")
    modified_s = None if value is None else http_date(value, now_s)
    if modified_s is None or modified_s >= date_s:
        return None
    return min(int((date_s - modified_s) * share), HEURISTIC_MAX_S)


def age_of(fields: Fields) -> int:
    """The Age field in seconds: its first member, 0 if absent or unreadable (RFC 9111 5.1).

    Parameters, which Age has none of, do not make a number unreadable: an old response stays old. What is
    unreadable leaves the age that Date tells.
    """
    value = fields.get(b"age")
    if value is None:
        return 0
    return delta_seconds(value.partition(b",")[0].partition(b";")[0].strip()) or 0


def initial_age(fields: Fields, *, delay_s: float, date_s: int, received_s: float) -> int:
    """The corrected initial age in whole seconds (RFC 9111 4.2.3).

    `delay_s` is the time from sending the request to receiving the response, `received_s` the wall clock
    at its end.
    """
    apparent = max(0, int(received_s) - date_s)
    return max(apparent, int(age_of(fields) + delay_s))


@dataclass(slots=True)
class Deadlines:
    """Until when a response is good for what, in seconds from its reception; negative is past."""

    fresh_s: int  # lifetime left
    swr_s: int  # RFC 5861 3, past freshness
    sie_s: int  # RFC 5861 4, past freshness
    keep_s: int  # worth its room

    @classmethod
    def of(cls, lifetime_s: int, age_s: int, control: ResponseControl, *, validatable: bool) -> "Deadlines":
        """The windows of RFC 5861 are closed where every stale use is forbidden."""
        fresh = lifetime_s - age_s
        swr = 0 if control.forbids_stale else control.stale_while_revalidate or 0
        sie = 0 if control.forbids_stale else control.stale_if_error or 0
        keep = max(fresh + max(swr, sie, KEEP_VALIDATABLE_S if validatable else 0), KEEP_FOR_WAITERS_S)
        return cls(fresh, swr, sie, keep)
