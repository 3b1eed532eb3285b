"""RFC 9111 4.2: lifetime, age and the windows after it."""

from calendar import timegm
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cache.control import ResponseControl, response_control
from worker.cache.freshness import (
    HEURISTIC_MAX_S,
    KEEP_FOR_WAITERS_S,
    KEEP_VALIDATABLE_S,
    Deadlines,
    age_of,
    date_of,
    freshness_lifetime,
    heuristic_lifetime,
    http_date,
    initial_age,
)
from worker.fields import Fields

NOW_S = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT

DATES = [
    (b"Sun, 06 Nov 1994 08:49:37 GMT", NOW_S),
    (b"Sunday, 06-Nov-94 08:49:37 GMT", NOW_S),
    (b"Sun Nov  6 08:49:37 1994", NOW_S),
    (b"Tue Nov 16 08:49:37 1994", NOW_S + 864000),
    (b"Sunday, 06-Nov-44 08:49:37 GMT", timegm((2044, 11, 6, 8, 49, 37))),  # 50 years ahead
    (b"Sunday, 06-Nov-45 08:49:37 GMT", timegm((1945, 11, 6, 8, 49, 37))),  # more than 50 years ahead
    (b"Thu, 29 Feb 2024 00:00:00 GMT", timegm((2024, 2, 29, 0, 0, 0))),
    (b"Thu, 29 Feb 2023 00:00:00 GMT", None),
    (b"Sun, 06 Nov 1994 08:49:37 UTC", None),
    (b"Sun, 06 Nov 1994 08:49:37 +0000", None),
    (b"Sun, 6 Nov 1994 08:49:37 GMT", None),
    (b"Sun, 32 Nov 1994 08:49:37 GMT", None),
    (b"Sun, 00 Nov 1994 08:49:37 GMT", None),
    (b"Sun, 06 Nov 1994 24:00:00 GMT", None),
    (b"sun, 06 nOV 1994 08:49:37 gmt", NOW_S),
    (b"Sun, 06 Nov 1994 08:49:37 EST", None),
    (b"Sun, 06 Nov 1994 08:49:37", None),
    (b"0", None),
    (b"", None),
]


@pytest.mark.parametrize(("text", "seconds"), DATES, ids=lambda value: str(value))
def test_dates_in_three_formats(text: bytes, seconds: int | None) -> None:
    assert http_date(text, NOW_S) == seconds


@given(st.integers(0, 2**33))
def test_every_date_we_could_send_is_read_back(seconds: int) -> None:
    assert http_date(formatdate(seconds, usegmt=True).encode(), NOW_S) == seconds


def at(offset_s: int) -> bytes:
    return formatdate(NOW_S + offset_s, usegmt=True).encode()


LIFETIMES = [
    pytest.param([], None, id="the origin did not say"),
    pytest.param([(b"Cache-Control", b"max-age=60")], 60, id="max-age"),
    pytest.param([(b"Cache-Control", b"max-age=60, s-maxage=5")], 5, id="s-maxage before max-age"),
    pytest.param([(b"Cache-Control", b"s-maxage=x, max-age=60")], 0, id="unreadable s-maxage is 0"),
    pytest.param([(b"Cache-Control", b"max-age=60"), (b"Expires", at(5))], 60, id="max-age before Expires"),
    pytest.param([(b"Expires", at(5))], 5, id="Expires minus Date"),
    pytest.param([(b"Expires", at(-5))], 0, id="Expires in the past"),
    pytest.param([(b"Expires", b"0")], 0, id="unreadable Expires is 0"),
    pytest.param([(b"Expires", b"")], 0, id="empty Expires is 0"),
    pytest.param([(b"Expires", at(5)), (b"Expires", at(5))], 5, id="the same Expires twice"),
    pytest.param([(b"Expires", at(5)), (b"Expires", at(9))], 0, id="two different Expires are 0"),
    pytest.param([(b"CDN-Cache-Control", b"none"), (b"Expires", at(5))], None, id="targeted, not Expires"),
    pytest.param([(b"CDN-Cache-Control", b"max-age=7"), (b"Expires", at(5))], 7, id="a targeted lifetime"),
    pytest.param([(b"Expires", b"Sun Nov  6 08:49:42 1994")], 5, id="Expires as asctime writes it"),
    pytest.param([(b"Expires", b"Sunday, 06-Nov-94 08:49:42 GMT")], 5, id="Expires of RFC 850"),
    pytest.param([(b"Expires", at(5) + b", " + at(5))], 0, id="a list is no date"),
    pytest.param([(b"Pragma", b"no-cache"), (b"Expires", at(5))], 5, id="Pragma in a response says nothing"),
]


@pytest.mark.parametrize(("lines", "seconds"), LIFETIMES)
def test_freshness_lifetime(lines: list[tuple[bytes, bytes]], seconds: int | None) -> None:
    fields = Fields.of(lines)
    assert freshness_lifetime(fields, response_control(fields), NOW_S, NOW_S) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"7", 7),
        (b"7, 9", 7),
        (b"7;a=b", 7),
        (b"a, 9", 0),
        (b"+7", 0),
        (b"-1", 0),
        (b"x", 0),
        (b"1.5", 0),
        (b"", 0),
        (b"99999999999", 2**31),
    ],
)
def test_age_field(value: bytes, seconds: int) -> None:
    assert age_of(Fields.of([(b"Age", value)])) == seconds


def test_date_is_the_time_of_reception_where_the_origin_has_no_clock() -> None:
    assert date_of(Fields.of([(b"Date", at(-9))]), NOW_S) == NOW_S - 9
    assert date_of(Fields.of(()), NOW_S + 0.5) == NOW_S
    assert date_of(Fields.of([(b"Date", b"yesterday")]), NOW_S) == NOW_S


@pytest.mark.parametrize("age", [b"x", b"0, 7200", b"-5"])
def test_no_age_makes_a_response_younger_than_its_date_does(age: bytes) -> None:
    fields = Fields.of([(b"Age", age)])
    assert initial_age(fields, delay_s=0, date_s=NOW_S - 30, received_s=NOW_S) == 30


def test_of_several_age_lines_the_first_counts() -> None:
    assert age_of(Fields.of([(b"Age", b"7"), (b"Age", b"9")])) == 7


HEURISTICS = [  # Last-Modified -> a tenth of the time since
    pytest.param(at(-1000), 100, id="a tenth"),
    pytest.param(at(-9), 0, id="less than a second"),
    pytest.param(at(-100 * 86400), HEURISTIC_MAX_S, id="a week at most"),
    pytest.param(at(0), None, id="of this second"),
    pytest.param(at(9), None, id="in the future"),
    pytest.param(b"yesterday", None, id="unreadable"),
    pytest.param(None, None, id="absent"),
]


@pytest.mark.parametrize(("modified", "seconds"), HEURISTICS)
def test_heuristic_lifetime(modified: bytes | None, seconds: int | None) -> None:
    fields = Fields.of([] if modified is None else [(b"Last-Modified", modified)])
    assert heuristic_lifetime(fields, 0.1, NOW_S, NOW_S) == seconds


AGES = [  # Age, delay, Date before reception -> corrected initial age
    pytest.param(0, 0.0, 0, 0, id="new"),
    pytest.param(10, 0.0, 0, 10, id="from an upstream cache"),
    pytest.param(10, 2.5, 0, 12, id="the way counts"),
    pytest.param(0, 0.0, 30, 30, id="an old Date"),
    pytest.param(10, 0.0, 30, 30, id="the greater one"),
    pytest.param(0, 0.0, -30, 0, id="a Date in the future counts as now"),
]


@pytest.mark.parametrize(("age", "delay_s", "apparent_s", "seconds"), AGES)
def test_corrected_initial_age(age: int, delay_s: float, apparent_s: int, seconds: int) -> None:
    fields = Fields.of([(b"Age", b"%d" % age)])
    assert initial_age(fields, delay_s=delay_s, date_s=NOW_S - apparent_s, received_s=NOW_S + 0.9) == seconds


WINDOWS = ResponseControl(stale_while_revalidate=10, stale_if_error=20)
DEADLINES = [
    pytest.param(
        60, 10, WINDOWS, True, Deadlines(50, 10, 20, 50 + KEEP_VALIDATABLE_S), id="kept to validate"
    ),
    pytest.param(60, 10, WINDOWS, False, Deadlines(50, 10, 20, 70), id="kept for its windows"),
    pytest.param(60, 0, ResponseControl(), False, Deadlines(60, 0, 0, 60), id="kept while fresh"),
    pytest.param(
        1, 5, ResponseControl(), False, Deadlines(-4, 0, 0, KEEP_FOR_WAITERS_S), id="stale on arrival"
    ),
]


@pytest.mark.parametrize(("lifetime_s", "age_s", "control", "validatable", "expected"), DEADLINES)
def test_deadlines(
    lifetime_s: int, age_s: int, control: ResponseControl, validatable: bool, expected: Deadlines
) -> None:
    assert Deadlines.of(lifetime_s, age_s, control, validatable=validatable) == expected


@pytest.mark.parametrize("word", ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=60"])
def test_no_stale_use_where_the_origin_forbids_it(word: str) -> None:
    value = f"max-age=60, stale-while-revalidate=10, stale-if-error=10, {word}"
    control = response_control(Fields.of([(b"Cache-Control", value.encode())]))
    deadlines = Deadlines.of(60, 0, control, validatable=False)
    assert (deadlines.swr_s, deadlines.sie_s) == (0, 0)
