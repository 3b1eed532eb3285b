"""RFC 9111 4.1: which requests match a response that varies, through a whole edge."""

from collections.abc import Iterator

import pytest

from tests.support.caching_edge import CachingEdge, cache_status, is_hit
from worker.settings import CacheSettings

FRESH = "Cache-Control: max-age=600"
CODING = "Accept-Encoding"

MATCHES = [  # Vary, first request, second request -> a hit?
    pytest.param("X-A", ["X-A: 1"], ["X-A: 1"], True, id="the same"),
    pytest.param("X-A", ["X-A: 1"], ["X-A: 2"], False, id="another value"),
    pytest.param("X-A", ["X-A: 1"], [], False, id="absent"),
    pytest.param("X-A", [], ["X-A:"], False, id="empty is not absent"),
    pytest.param("X-A", [], [], True, id="both absent"),
    pytest.param("x-a", ["X-A: 1", "X-A: 2"], ["X-A: 1, 2"], True, id="lines are joined"),
    pytest.param("X-A", ["X-A:  1 "], ["X-A: 1"], True, id="spaces around"),
    pytest.param("X-A, X-B", ["X-A: 1"], ["X-A: 1", "X-B: 1"], False, id="one of two"),
    pytest.param("X-A", ["X-A: 1"], ["X-A: 1", "X-B: 1"], True, id="what is not named"),
    pytest.param(CODING, ["Accept-Encoding: gzip, br"], ["Accept-Encoding: br,gzip"], True, id="order"),
    pytest.param(CODING, ["Accept-Encoding: gzip"], ["Accept-Encoding: br"], False, id="another coding"),
    pytest.param("Accept-Language", ["Accept-Language: de"], ["Accept-Language: de-CH"], False, id="as sent"),
    pytest.param("*", [], [], False, id="any"),
    pytest.param("X-A, *", [], [], False, id="any beside a name"),
]  # fmt: skip


@pytest.mark.parametrize(("vary", "first", "second", "hit"), MATCHES)
def test_matching(edge: CachingEdge, vary: str, first: list[str], second: list[str], hit: bool) -> None:
    path = edge.serve(FRESH, f"Vary: {vary}")
    edge.ask(path, *first)
    again = edge.ask(path, *second)
    assert is_hit(again) is hit
    if not hit and "*" not in vary:
        assert cache_status(again)[0] == "fwd=vary-miss"
        assert is_hit(edge.ask(path, *first)), "both are kept"


@pytest.fixture(scope="module")
def with_languages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CachingEdge]:
    """An edge whose route names its languages."""
    with CachingEdge(
        tmp_path_factory.mktemp("edge"), CacheSettings(languages=("en", "de", "pt-BR"))
    ) as running:
        yield running


@pytest.fixture
def speaking(with_languages: CachingEdge, over: str) -> CachingEdge:
    return with_languages.by(over)


LANGUAGES = [  # first request, second request -> a hit? what the origin was asked for at last
    pytest.param("de-CH, fr;q=0.9", "fr, de;q=0.5", True, "de", id="both get German"),
    pytest.param("de", "en", False, "en", id="two languages"),
    pytest.param("fr", "it", True, None, id="both get the default"),
    pytest.param("PT-br", "pt-BR, en", True, "pt-BR", id="in any case"),
]


@pytest.mark.parametrize(("first", "second", "hit", "asked"), LANGUAGES)
def test_languages_are_reduced_to_those_served(
    speaking: CachingEdge, first: str, second: str, hit: bool, asked: str | None
) -> None:
    path = speaking.serve(FRESH, "Vary: Accept-Language")
    speaking.ask(path, f"Accept-Language: {first}")
    assert is_hit(speaking.ask(path, f"Accept-Language: {second}")) is hit
    assert speaking.asked(path)[-1].headers.get("accept-language") == asked


def test_a_request_that_passes_the_cache_asks_as_the_client_did(speaking: CachingEdge) -> None:
    path = speaking.serve(FRESH)
    speaking.ask(path, "Accept-Language: de-CH, fr", method="POST")
    assert speaking.asked(path)[-1].headers["accept-language"] == "de-CH, fr"
