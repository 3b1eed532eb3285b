"""What clients prefer, reduced to what is served: codings always, languages where they are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cache.negotiation import Codings, Languages, Negotiation
from worker.fields import Fields

CODINGS = ("zstd", "br", "gzip")
LANGUAGES = ("en", "de", "pt-BR", "zh-Hant", "sr-Latn-RS")


REDUCED = [
    pytest.param(None, b"", id="absent"),
    pytest.param(b"", b"", id="empty"),
    pytest.param(b"gzip, deflate, br, zstd", b"zstd, br, gzip", id="a browser"),
    pytest.param(b"gzip,br", b"br, gzip", id="our preference decides a tie"),
    pytest.param(b"gzip;q=1.0, br;q=0.5", b"gzip, br", id="the client's preference first"),
    pytest.param(b"GZIP;Q=0.5", b"gzip", id="case-insensitive"),
    pytest.param(b"x-gzip", b"gzip", id="the old name"),
    pytest.param(b"gzip;q=0, br", b"br", id="refused by q=0"),
    pytest.param(b"gzip;q=x, br", b"br", id="an unreadable q refuses"),
    pytest.param(b"deflate, compress", b"", id="none of ours"),
    pytest.param(b"*", b"zstd, br, gzip", id="any"),
    pytest.param(b"br;q=0, *", b"zstd, gzip", id="any but one"),
    pytest.param(b"gzip, identity;q=0", b"gzip, identity;q=0", id="identity refused"),
    pytest.param(b"gzip, *;q=0", b"gzip, identity;q=0", id="identity refused by *"),
    pytest.param(b"identity, gzip;q=0.5", b"", id="identity preferred"),
]


@pytest.mark.parametrize(("value", "reduced"), REDUCED)
def test_accept_encoding_is_reduced_to_what_we_serve(value: bytes | None, reduced: bytes) -> None:
    fields = Fields.of([] if value is None else [(b"Accept-Encoding", value)])
    assert Codings(CODINGS).reduce(fields) == reduced


@given(st.lists(st.sampled_from(["gzip", "br;q=0.5", "zstd;q=0", "*", "identity;q=0", "deflate"])))
def test_reducing_twice_changes_nothing(members: list[str]) -> None:
    """The origin is asked with the reduced field: it must select the same variant."""
    codings = Codings(CODINGS)
    once = codings.reduce(Fields.of([(b"Accept-Encoding", ", ".join(members).encode())]))
    # Preference among the reduced is kept by order alone, and ties are ours to decide.
    twice = codings.reduce(Fields.of([(b"Accept-Encoding", once)]))
    assert sorted(twice.split(b", ")) == sorted(once.split(b", "))


def test_memory_for_accept_encoding_values_is_bounded() -> None:
    codings = Codings(CODINGS)
    for number in range(10_000):
        codings.reduce(Fields.of([(b"Accept-Encoding", b"gzip, x%d" % number)]))
    assert len(codings._reduced) <= 4096


def languages(value: bytes | None) -> bytes:
    fields = Fields.of([] if value is None else [(b"Accept-Language", value)])
    return Languages(LANGUAGES).reduce(fields)


LOOKED_UP = [  # Accept-Language -> the language
    pytest.param(None, b"", id="absent"),
    pytest.param(b"", b"", id="empty"),
    pytest.param(b"de", b"de", id="one"),
    pytest.param(b"DE", b"de", id="in any case"),
    pytest.param(b"pt-br", b"pt-BR", id="spelled as the route does"),
    pytest.param(b"de-CH", b"de", id="shortened"),
    pytest.param(b"de-CH-1996", b"de", id="shortened twice"),
    pytest.param(b"zh-Hant-CN-x-private1-private2", b"zh-Hant", id="a single letter goes with what it leads"),
    pytest.param(b"pt", b"", id="never lengthened"),
    pytest.param(b"sr-Latn", b"", id="nor so"),
    pytest.param(b"fr", b"", id="not served"),
    pytest.param(b"fr, de;q=0.5", b"de", id="the next best"),
    pytest.param(b"en;q=0.3, de;q=0.8", b"de", id="by quality"),
    pytest.param(b"de, en", b"de", id="ties as listed"),
    pytest.param(b"en-GB, de", b"en", id="a shortened one before the next"),
    pytest.param(b"de;q=0, de-CH, en;q=0.1", b"en", id="what is refused is not chosen"),
    pytest.param(b"de;q=x, en;q=0.1", b"en", id="an unreadable q refuses"),
    pytest.param(b"*", b"", id="any: the default"),
    pytest.param(b"*, de;q=0.5", b"de", id="any is passed over"),
    pytest.param(b"-, --, de", b"de", id="garbage"),
]


@pytest.mark.parametrize(("value", "language"), LOOKED_UP)
def test_accept_language_is_looked_up(value: bytes | None, language: bytes) -> None:
    assert languages(value) == language


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).map(str.encode))
def test_whatever_is_asked_one_of_the_languages_or_none_comes_out(value: bytes) -> None:
    fields = Fields.trusted(b"Accept-Language: %b\r\n" % value)
    once = Languages(LANGUAGES).reduce(fields)
    assert once in {b"", *(language.encode() for language in LANGUAGES)}
    if once:
        assert languages(once) == once, "the origin, asked with it, selects the same"


def test_memory_for_accept_language_values_is_bounded() -> None:
    served = Languages(LANGUAGES)
    for number in range(10_000):
        served.reduce(Fields.of([(b"Accept-Language", b"de, x%d" % number)]))
    assert len(served._reduced) <= 4096


ASKED = [  # languages, client's fields -> what is added, what is dropped
    ((), [(b"Accept-Language", b"fr")], b"", ()),
    ((), [(b"Accept-Encoding", b"deflate")], b"", (b"accept-encoding",)),
    ((), [(b"Accept-Encoding", b"zstd, br, gzip")], b"", ()),
    (("de",), [], b"", ()),
    (("de",), [(b"Accept-Language", b"de")], b"", ()),
    (("de",), [(b"Accept-Language", b"de-CH")], b"Accept-Language: de\r\n", (b"accept-language",)),
    (("de",), [(b"Accept-Language", b"fr")], b"", (b"accept-language",)),
    (
        ("de",),
        [(b"Accept-Language", b"de, en"), (b"Accept-Encoding", b"gzip, br")],
        b"Accept-Encoding: br, gzip\r\nAccept-Language: de\r\n",
        (b"accept-encoding", b"accept-language"),
    ),
]


@pytest.mark.parametrize(("served", "sent", "added", "dropped"), ASKED)
def test_the_origin_is_asked_with_what_counts(
    served: tuple[str, ...], sent: list[tuple[bytes, bytes]], added: bytes, dropped: tuple[bytes, ...]
) -> None:
    fields, names = Negotiation(CODINGS, served).asked(Fields.of(sent))
    assert (b"" if fields is None else fields.encode(), names) == (added, dropped)
