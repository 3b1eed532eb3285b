"""Makes scripts: hypothesis draws what clients and origins say, the likely often and the odd often enough."""

from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.differential.script import HOP_FIELD, PRIVATE_FIELD, Asked, Line, Script, Step, Told

PAUSE_S = 2.2  # longer than the shortest lifetime by more than any clock is off

ETAGS = ('"v1"', '"v1"', '"v2"', 'W/"v1"', 'W/"v2"')
MODIFIED = ("Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT")

_LIFETIMES = (
    "max-age=60",
    "max-age=60",
    "max-age=1",
    "max-age=3600",
    "s-maxage=60",
    "s-maxage=1",
    "max-age=0",
)
_CONTROL = (
    "no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate", "s-maxage=0",
    f'no-cache="{PRIVATE_FIELD}"', f'private="{PRIVATE_FIELD}"', "must-understand",
    "must-understand, no-store", "stale-while-revalidate=60", "stale-while-revalidate=1", "stale-if-error=60",
    "immutable", "no-transform",
)  # fmt: skip
ODD = (
    "Max-Age=60", "MAX-AGE=60", 'max-age="60"', "max-age = 60", "max-age=60s", "max-age=-1", "max-age=60.5",
    "max-age=99999999999", "max-age", "max-age=", "max-age='60'", "NO-STORE", "No-Cache", "PRIVATE",
    "private=", "no-store=1", "no-storex", "x-no-store", 'ext="no-store, private"', 'ext="a\\"b", no-store',
    ", ,max-age=60,", "max-age=60 no-store", "max-age=0060", 'no-cache=""', 'ext="open, max-age=60',
    "foo=bar, max-age=60", "\tprivate",
)  # fmt: skip
_STATUSES = (
    203,
    204,
    299,
    300,
    301,
    302,
    303,
    307,
    308,
    400,
    401,
    403,
    404,
    405,
    410,
    414,
    500,
    501,
    502,
    503,
    504,
    599,
)
_EXPIRES = (
    "@60",
    "@60",
    "@3600",
    "@1",
    "@0",
    "@-60",
    "0",
    "-1",
    "soon",
    "@60:rfc850",
    "@60:asctime",
    "@60:est",
    "",
)
_AGES = ("0", "1", "59", "60", "3600", "-1", "abc", "59, 0", "0, 59", "59;a=b", "1.5", "99999999999")
_DATES = ("@-59", "@-60", "@-3600", "@3600", "yesterday", "@-59:rfc850", "@-60:asctime")
_VARY = (
    "X-Var", "x-var", "Accept-Language", "Cookie", "Accept-Encoding", "X-Var, Accept-Language", "*",
    "X-Var, *", "Authorization", "User-Agent", ", X-Var ,",
)  # fmt: skip
_TARGETED = (
    "max-age=60",
    "max-age=1",
    "no-store",
    "private",
    "max-age=0",
    "no-cache",
    "max-age=60s",
    "",
    "max-age=60, x=",
)
_REQUEST_CONTROL = (
    "no-cache", "no-store", "max-age=0", "max-age=30", "min-fresh=30", "min-fresh=100", "max-stale",
    "max-stale=60", "max-stale=0", "only-if-cached", "no-transform", "only-if-cached, max-stale",
    "MAX-AGE=0", "max-age=x",
)  # fmt: skip
_SELECTING = {
    "X-Var": ("a", "b", "a, b"),
    "Accept-Language": ("en", "de", "en, de;q=0.5"),
    "Cookie": ("user=a", "user=b"),
    "Accept-Encoding": ("gzip", "identity", "br, gzip", "gzip;q=0"),
    "User-Agent": ("one", "two"),
}
_RANGES = ("bytes=0-7", "bytes=8-23", "bytes=-8", "bytes=400-", "items=0-1", "bytes=5-2")


def _sometimes(draw: Any, percent: int) -> bool:
    return bool(draw(st.integers(0, 99)) < percent)


def _pick(draw: Any, options: tuple[Any, ...]) -> Any:
    return options[draw(st.integers(0, len(options) - 1))]


def _cache_control(draw: Any) -> list[Line]:
    parts = [_pick(draw, _LIFETIMES)] if _sometimes(draw, 75) else []
    parts += [_pick(draw, _CONTROL)] if _sometimes(draw, 45) else []
    parts += [_pick(draw, _CONTROL)] if _sometimes(draw, 15) else []
    parts += [_pick(draw, _LIFETIMES)] if _sometimes(draw, 7) else []
    parts += [_pick(draw, ODD)] if _sometimes(draw, 12) else []
    parts = draw(st.permutations(parts))
    if len(parts) > 1 and _sometimes(draw, 20):
        return [("Cache-Control", parts[0]), ("Cache-Control", ", ".join(parts[1:]))]
    return [("Cache-Control", ", ".join(parts))] if parts else []


@st.composite
def _told(draw: Any) -> Told:
    fields = _cache_control(draw)
    fields += (
        [("Date", _pick(draw, _DATES) if _sometimes(draw, 12) else "@0")] if _sometimes(draw, 95) else []
    )
    for name, options, percent in (
        ("Expires", _EXPIRES, 15), ("Age", _AGES, 15), ("Vary", _VARY, 30), ("ETag", ETAGS, 45),
        ("Last-Modified", MODIFIED, 30), ("Set-Cookie", ("id=1",), 8), ("CDN-Cache-Control", _TARGETED, 8),
        ("Connection", (HOP_FIELD,), 8), ("Pragma", ("no-cache",), 4), ("Expires", ("@60", "@-60"), 2),
        ("Vary", ("Accept-Language",), 3),
    ):  # fmt: skip
        if _sometimes(draw, percent):
            fields.append((name, _pick(draw, options)))
    fields += [(PRIVATE_FIELD, "secret"), (HOP_FIELD, "1")]
    return Told(_pick(draw, _STATUSES) if _sometimes(draw, 18) else 200, tuple(fields))


@st.composite
def _asked(draw: Any, *, selects: bool) -> Asked:
    if _sometimes(draw, 7):
        return Asked(_pick(draw, ("POST", "PUT", "DELETE")), (("Content-Length", "0"),))
    fields: list[Line] = []
    for name, options in _SELECTING.items():
        if _sometimes(draw, 45 if selects else 5):
            fields.append((name, _pick(draw, options)))
    for name, options, percent in (
        ("Authorization", ("Basic YTph", "Basic Yjpi"), 12), ("Cache-Control", _REQUEST_CONTROL, 15),
        ("Pragma", ("no-cache",), 3), ("If-None-Match", (*ETAGS, "*", '"v2", "v1"', '"v3"'), 12),
        ("If-Modified-Since", (*MODIFIED, "@0", "nonsense"), 6), ("Range", _RANGES, 9),
    ):  # fmt: skip
        if _sometimes(draw, percent):
            fields.append((name, _pick(draw, options)))
    if fields and fields[-1][0] == "Range" and _sometimes(draw, 40):
        fields.append(("If-Range", _pick(draw, (*ETAGS, *MODIFIED))))
    return Asked("HEAD" if _sometimes(draw, 6) else "GET", tuple(fields))


@st.composite
def _script(draw: Any) -> Script:
    base = draw(_told())
    selects = any(name == "Vary" for name, _ in base.fields) or _sometimes(draw, 10)
    steps = []
    for at in range(2 + draw(st.integers(0, 3))):
        wait = PAUSE_S if at and _sometimes(draw, 22) else 0.0
        told = draw(_told()) if at and _sometimes(draw, 30) else base
        if at and _sometimes(draw, 8):
            told = Told(503, (("Date", "@0"),))
        steps.append(Step(wait, draw(_asked(selects=selects)), told))
    return tuple(steps)


def scripts(count: int, seed_number: int) -> list[Script]:
    """`count` different scripts, the same for the same seed."""
    made: dict[Script, None] = {}
    while len(made) < count:
        made |= dict.fromkeys(_drawn(2 * (count - len(made)), seed_number + len(made)))
    return list(made)[:count]


def _drawn(count: int, seed_number: int) -> list[Script]:
    drawn: list[Script] = []

    @seed(seed_number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_script())
    def collect(script: Script) -> None:
        drawn.append(script)

    collect()
    return drawn
