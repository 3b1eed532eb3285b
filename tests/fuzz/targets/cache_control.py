"""Fields that say what may be cached: read without an exception, within their bounds, and never more
lenient for a restriction that is added. Dates are read as the standard library reads them.
"""

from datetime import UTC, datetime

from tests.fuzz.take import Take
from worker.cache import control, freshness, structured
from worker.cache.key import vary_names
from worker.fields import FieldError, Fields

SEEDS = (
    b'\0max-age=60, s-maxage="5", private="x", no-cache',
    b'\1max-age=60, a=?1;b=1.5, c=(1 2;x);y, d=:aGk=:, e="q\\""',
    b"\2Tue, 14 Nov 2023 22:13:20 GMT",
    b"\2Tuesday, 14-Nov-23 22:13:20 GMT",
    b"\2Tue Nov  4 22:13:20 2023",
    b"\3max-stale, min-fresh=1, only-if-cached, max-age=a",
    b"\4 60;x, 7",
    b"\5Accept-Encoding, *,  x",
)
WORDS = (
    b"max-age=", b"s-maxage=", b"no-store", b"private", b"must-revalidate", b"stale-if-error=", b'"', b"\\",
    b",", b";", b"=", b"?0", b"?1", b"(", b")", b":", b"-1", b"1.5", b"999999999999999", b"Feb", b"29",
    b"GMT", b"Thu, ", b" ", b"*", b"stale-while-revalidate=", b"must-understand",
)  # fmt: skip

NOW_S = 1_700_000_000
NAMES = (b"cache-control", b"edgecluster-cache-control", b"date", b"cache-control", b"age", b"vary")


def check(data: bytes) -> None:
    take = Take(data)
    kind = take.below(6)
    value = take.rest()
    structured.dictionary(value)
    try:
        fields = Fields.of([(NAMES[kind], value)])
    except FieldError:
        return
    if kind == 2:
        _date(value)
        return
    asked = control.request_control(fields)
    said = control.response_control(fields)
    for seconds in (asked.max_age, asked.min_fresh, asked.max_stale, asked.stale_if_error):
        assert seconds is None or 0 <= seconds <= control.DELTA_MAX
    for seconds in (said.max_age, said.s_maxage, said.stale_while_revalidate, said.stale_if_error):
        assert seconds is None or 0 <= seconds <= control.DELTA_MAX
    assert 0 <= freshness.age_of(fields) <= control.DELTA_MAX
    names = vary_names(fields)
    assert list(names) == sorted({name.strip().lower() for name in names}) and (
        names == (b"*",) or b"*" not in names
    )
    if kind == 0:
        _stricter(value, said)
    elif kind == 1 and said.targeted:
        again = control.response_control(Fields.of([(NAMES[1], value + b", no-store")]))
        assert again.no_store and again.max_age == said.max_age


def _stricter(value: bytes, said: control.ResponseControl) -> None:
    """What is said on a further line counts, whatever stands on the first."""
    more = Fields.of([(b"cache-control", b"max-age=7, private"), (b"cache-control", value)])
    again = control.response_control(more)
    assert again.private
    assert again.max_age is not None and again.max_age <= min(7, 7 if said.max_age is None else said.max_age)
    assert again.no_store >= said.no_store and again.no_cache >= said.no_cache


def _date(value: bytes) -> None:
    found = freshness.http_date(value, NOW_S)
    if found is None:
        return
    text = " ".join(value.decode("ascii").split()).replace(":60", ":59")
    for form in ("%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y", "%A, %d-%b-%y %H:%M:%S GMT"):
        try:
            when = datetime.strptime(text.upper(), form).replace(tzinfo=UTC)
        except ValueError:
            continue
        apart = abs(int(when.timestamp()) - found)
        # A leap second is one for us; a year of two digits may be of another century.
        assert apart in (0, 1) or (b"-" in value and apart > 3_000_000_000), (value, found, when)
        return
    raise AssertionError(f"{value!r} is no date to the standard library, and {found} to us")
