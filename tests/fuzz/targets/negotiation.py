"""What clients prefer: reduced to what is served here, and reducing that once more changes nothing. Keys of
variants and of routes with rules tell apart what they must.
"""

from tests.fuzz.take import Take
from worker.cache.key import cache_key, device_class, host_of, key_maker, request_of_url, variant_key
from worker.cache.negotiation import Codings, Languages, Negotiation
from worker.cache.tags import tags_of
from worker.fields import FieldError, Fields
from worker.message import Request
from worker.settings import KeySettings

SEEDS = (
    b"gzip, br;q=0.5, *;q=0, identity;q=0\0de-CH, x-a-b\0a=b; c=d;a\0a=1&b=2&utm_x=3&a=0\0one,two three",
    b"zstd;q=1.001, x-gzip; q=.5, GZIP\0*\0=\0;a\0\xe4",
    b"identity;q=nan, br;q=inf\0fr;q=1e999\0\0%61=1&a=2&\0,",
    b"http://Example.org:80/a?b#c",
)
WORDS = (
    b"gzip", b"br", b"zstd", b"identity", b";q=", b"*", b"0", b"1", b"nan", b"inf", b"1_0", b",", b";", b"de",
    b"-", b"en", b"=", b"&", b"%61", b"+", b"utm_", b"\0", b"http://", b"[::1]", b"@", b":80", b"?", b"#",
    b" ",
)  # fmt: skip

CODINGS = ("zstd", "br", "gzip")
LANGUAGES = ("de", "en-GB", "fr")
RULED = key_maker(
    KeySettings(sort_query=True, drop=(b"utm_*",), headers=(b"x-a",), cookies=(b"a", b"c"), device=True)
)


def check(data: bytes) -> None:
    take = Take(data)
    encoding, language, cookie, query, tags = (take.piece() for _ in range(5))
    _url(data)
    try:
        fields = Fields.of(
            [
                (b"accept-encoding", encoding), (b"accept-language", language), (b"cookie", cookie),
                (b"cache-tag", tags), (b"xkey", tags), (b"user-agent", language),
            ]
        )  # fmt: skip
    except FieldError:
        return
    _reduced(fields)
    assert device_class(fields) in (b"mobile", b"tablet", b"desktop")
    found = tags_of(fields)
    assert found is None or (b"" not in found and len(set(found)) == len(found))
    _keys(query, fields)


def _reduced(fields: Fields) -> None:
    codings, languages = Codings(CODINGS), Languages(LANGUAGES)
    encoding = codings.reduce(fields)
    names = encoding.removesuffix(b"identity;q=0").rstrip(b", ").split(b", ")
    assert set(names) <= {b"", *(name.encode() for name in CODINGS)} and len(set(names)) == len(names)
    language = languages.reduce(fields)
    assert language.decode() in ("", *LANGUAGES)
    again = Fields.of([(b"accept-encoding", encoding), (b"accept-language", language)])
    assert set(codings.reduce(again).split(b", ")) == set(encoding.split(b", "))
    assert languages.reduce(again) == language
    asked, dropped = Negotiation(CODINGS, LANGUAGES).asked(fields)
    if asked is not None:
        assert all(name.lower() in dropped for name, _ in asked.items())
        Fields.of(asked.items())


def _keys(query: bytes, fields: Fields) -> None:
    negotiation = Negotiation(CODINGS)
    names = (b"accept-language", b"cookie", b"x-absent")
    key = variant_key(b"p", b"serial--", names, fields, negotiation)
    other = fields.copy()
    other.set(b"cookie", (fields.get(b"cookie") or b"") + b"x")
    assert key.startswith(b"p\0serial--") and key != variant_key(b"p", b"serial--", names, other, negotiation)
    if b" " in query or b"#" in query:
        return
    request = Request(b"GET", b"http", b"h", b"/p?" + query, b"/p", query, b"1.1", fields)
    ruled = RULED(request)
    assert ruled.startswith(b"http://h/p")
    parts = [part for part in query.split(b"&") if part]
    names = tuple(part.partition(b"=")[0] for part in parts)
    if len(set(names)) == len(names) and not set(query) & set(b";%+"):
        request.query = b"&".join(reversed(parts))
        assert RULED(request) == ruled


def _url(data: bytes) -> None:
    text = data.decode("latin-1")
    try:
        request = request_of_url(text)
    except ValueError:
        pass
    else:
        key = cache_key(request)
        assert key == cache_key(request_of_url(key.decode("ascii")))
    try:
        host = host_of(text, b"http")
        assert host_of(host.decode(), b"http") == host
    except ValueError:
        pass
