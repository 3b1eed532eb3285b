"""Whatever bytes come in Cache-Control, Age, Expires, Date and Vary: nothing raises, and nothing lives longer
than a strict reading of the fields lets it.

The strict reading here knows nothing of the code it judges: what is between commas either is a directive to
the letter, or nothing.
"""

import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from worker.cache.control import DELTA_MAX, TARGETED, request_control, response_control
from worker.cache.freshness import (
    HEURISTIC_MAX_S,
    Deadlines,
    age_of,
    date_of,
    freshness_lifetime,
    heuristic_lifetime,
    http_date,
    initial_age,
)
from worker.cache.key import vary_names
from worker.cache.rules import Rules
from worker.cache.storable import is_validatable, not_storable, refusal
from worker.fields import Fields
from worker.reasons import NotStorable
from worker.settings import CacheSettings

NOW_S = 1_700_000_000
DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"  # of NOW_S

SOUP = st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F))
# No quote: what a quoted string that ends hides is rightly hidden.
GARBAGE = SOUP.map(lambda soup: soup.replace(b'"', b""))
NUMBERS = st.one_of(
    st.integers(0, 2**40).map(lambda number: b"%d" % number),
    st.sampled_from(
        [b"", b"-1", b"+5", b"1.5", b"0x10", b"1e9", b"9" * 400, b"\xb2", b"1 2", b"60s", b'"60"']
    ),
)
NAMES = st.sampled_from([b"max-age", b"s-maxage", b"Max-Age", b"S-MAXAGE", b"stale-if-error", b"expires"])
DIRECTIVES = st.one_of(
    st.builds(lambda name, number: name + b"=" + number, NAMES, NUMBERS),
    st.sampled_from([b"public", b"immutable", b"no-transform", b"max-age", b"=", b"==5", b"must-understand"]),
    GARBAGE,
)
LISTS = st.lists(DIRECTIVES, max_size=6).map(b",".join)
DATES = st.one_of(
    st.sampled_from(
        [DATE, b"0", b"-1", b"", b"Tue, 14 Nov 2023 22:13:20 EST", b"Tuesday, 14-Nov-23 22:13:20 GMT"]
    ),
    st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)).map(
        lambda when: when.strftime("%a, %d %b %Y %H:%M:%S GMT").encode()
    ),
    SOUP,
)
RESTRICTIONS = st.sampled_from(
    [b"no-store", b"NO-STORE", b"private", b"no-cache", b'private="x"', b"no-cache=x"]
)


def strict(value: bytes, name: bytes) -> list[int]:
    """The values of a directive that are written to the letter; a quoted one counts as its number."""
    pattern = rb'[ \t]*%b[ \t]*=[ \t]*"?([0-9]+)"?[ \t]*' % name
    found = [re.fullmatch(pattern, part, re.IGNORECASE) for part in value.split(b",")]
    return [min(int(match[1][-4000:]), DELTA_MAX) for match in found if match]


def strict_date(value: bytes) -> int | None:
    """Seconds of an IMF-fixdate, or of the form of RFC 850, by the standard library."""
    for form in ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"):
        try:
            return int(datetime.strptime(value.decode("latin-1"), form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    return None


@given(st.lists(st.tuples(st.sampled_from([*TARGETED, b"Cache-Control", b"Pragma"]), SOUP), max_size=4))
def test_no_soup_raises(lines: list[tuple[bytes, bytes]]) -> None:
    fields = Fields.of(lines)
    asked, control = request_control(fields), response_control(fields)
    for seconds in (asked.max_age, asked.min_fresh, asked.max_stale, asked.stale_if_error):
        assert seconds is None or 0 <= seconds <= DELTA_MAX
    for seconds in (
        control.max_age,
        control.s_maxage,
        control.stale_while_revalidate,
        control.stale_if_error,
    ):
        assert seconds is None or 0 <= seconds <= DELTA_MAX


@given(LISTS, DATES, DATES, st.one_of(NUMBERS, SOUP), SOUP)
def test_a_response_lives_no_longer_than_it_is_strictly_allowed_to(
    control_value: bytes, date: bytes, expires: bytes, age: bytes, modified: bytes
) -> None:
    fields = Fields.of(
        [
            (b"Cache-Control", control_value), (b"Date", date), (b"Expires", expires), (b"Age", age),
            (b"Last-Modified", modified),
        ]
    )  # fmt: skip
    control = response_control(fields)
    date_s = date_of(fields, NOW_S)
    lifetime_s = freshness_lifetime(fields, control, date_s, NOW_S)
    assert lifetime_s is not None, "there is an Expires"
    shared, own = strict(control_value, b"s-maxage"), strict(control_value, b"max-age")
    named = control.s_maxage is not None or control.max_age is not None
    if shared:
        assert lifetime_s <= min(shared)
    elif own and control.s_maxage is None:
        assert lifetime_s <= min(own)
    elif not named:
        strict_s = strict_date(expires.strip())
        assert lifetime_s <= (0 if strict_s is None else max(strict_s - date_s, 0))

    age_s = initial_age(fields, delay_s=0.4, date_s=date_s, received_s=NOW_S)
    assert age_s >= max(NOW_S - date_s, 0)
    first = age.split(b",")[0].strip()
    if re.fullmatch(rb"[0-9]{1,4000}", first):
        assert age_s >= min(int(first), DELTA_MAX)
    deadlines = Deadlines.of(lifetime_s, age_s, control, validatable=is_validatable(fields))
    assert deadlines.fresh_s == lifetime_s - age_s
    if control.forbids_stale:
        assert deadlines.swr_s == deadlines.sie_s == 0
    guess_s = heuristic_lifetime(fields, 0.1, date_s, NOW_S)
    assert guess_s is None or 0 <= guess_s <= HEURISTIC_MAX_S


@given(st.lists(GARBAGE, max_size=3), RESTRICTIONS, st.lists(DIRECTIVES, max_size=3), st.booleans())
def test_no_soup_hides_a_restriction(
    before: list[bytes], restriction: bytes, after: list[bytes], one_line: bool
) -> None:
    parts = [*before, restriction, *(part for part in after if b"must-understand" not in part)]
    parts = [part for part in parts if b"must-understand" not in part.lower()]
    values = [b",".join(parts)] if one_line else parts
    fields = Fields.of([(b"Cache-Control", value) for value in values] + [(b"ETag", b'"e"')])
    control = response_control(fields)
    asked = request_control(Fields.of())
    reason = refusal(Fields.of(), asked, 200, fields, control)
    assert control.no_cache if restriction.startswith(b"no-cache") else reason is not None


@given(st.lists(SOUP, max_size=3), st.lists(SOUP, max_size=3))
def test_a_star_in_vary_is_never_stored(before: list[bytes], after: list[bytes]) -> None:
    fields = Fields.of([(b"Vary", b",".join([*before, b" * ", *after])), (b"Cache-Control", b"max-age=60")])
    assert vary_names(fields) == (b"*",)
    reason = not_storable(
        Fields.of(), request_control(fields), 200, fields, response_control(fields),
        lifetime_s=60, length=1, max_bytes=10,
    )  # fmt: skip
    assert reason is NotStorable.VARY_STAR


@given(SOUP, SOUP, SOUP, SOUP, st.integers(100, 999))
def test_what_says_nothing_readable_gets_no_life_by_default(
    control_value: bytes, expires: bytes, age: bytes, vary: bytes, status: int
) -> None:
    fields = Fields.of([(b"Expires", expires), (b"Age", age), (b"Vary", vary), (b"Date", DATE)])
    rules = Rules(CacheSettings())
    control = rules.response_control(fields)
    lifetime_s = rules.lifetime(status, fields, control, date_of(fields, NOW_S), NOW_S)
    if strict_date(expires.strip()) is None:
        assert lifetime_s == 0
    not_storable(
        Fields.of([(b"Cache-Control", control_value)]), request_control(fields), status, fields, control,
        lifetime_s=lifetime_s, length=None, max_bytes=10,
    )  # fmt: skip


@given(SOUP)
def test_a_date_is_one_to_the_letter_or_none(value: bytes) -> None:
    assert http_date(value, NOW_S) is None or strict_date(value.strip()) is not None


@given(DATES)
def test_dates_are_read_as_the_standard_library_reads_them(value: bytes) -> None:
    found, expected = http_date(value, NOW_S), strict_date(value)
    assert found is None or found == expected


@given(st.lists(st.one_of(NUMBERS, SOUP), min_size=1, max_size=3).map(b",".join))
def test_an_age_is_never_negative_and_never_more_than_can_be(value: bytes) -> None:
    assert 0 <= age_of(Fields.of([(b"Age", value)])) <= DELTA_MAX
