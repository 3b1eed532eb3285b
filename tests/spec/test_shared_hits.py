"""What one worker has stored, every worker serves."""

import gzip
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.caching_edge import CachingEdge, is_hit
from tests.support.cluster import Cluster

FRESH = "Cache-Control: max-age=60"


def port_of(edge: Cluster) -> int:
    port = urlsplit(edge.url).port
    assert port is not None
    return port


@pytest.fixture(scope="module")
def caching_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CachingEdge]:
    with CachingEdge(tmp_path_factory.mktemp("edge"), workers=4) as running:
        yield running


def test_the_first_request_misses_and_every_later_one_hits_in_whichever_worker(edge: CachingEdge) -> None:
    path = edge.serve(FRESH, "Content-Type: text/plain", body=b"x" * 2000)
    first = edge.ask(path)
    later = edge.ask_many(path, 40)
    assert first.status == 200
    assert "fwd=uri-miss" in first.fields["cache-status"]
    assert "stored" in first.fields["cache-status"]
    assert first.fields["x-cache"] == "MISS"
    assert {reply.body for reply in later} == {b"x" * 2000}
    assert all(map(is_hit, later))
    assert all(int(reply.fields["age"]) >= 0 for reply in later)
    assert len({reply.fields["x-request-id"] for reply in [first, *later]}) == 41
    assert len(edge.asked(path)) == 1


def test_a_compressed_variant_is_made_once_and_decodes_to_the_same_bytes(edge: CachingEdge) -> None:
    text = b"All work and no play makes a dull cache. " * 200
    path = edge.serve(FRESH, "Content-Type: text/html", body=text)
    answers = [edge.ask(path, "Accept-Encoding: gzip") for _ in range(2)]
    plain = edge.ask(path)
    assert [reply.fields.get("content-encoding") for reply in answers] == ["gzip", "gzip"]
    assert gzip.decompress(answers[0].body) == gzip.decompress(answers[1].body) == text
    assert is_hit(answers[1])
    assert plain.body == text
    assert "content-encoding" not in plain.fields
    assert "accept-encoding" in plain.fields["vary"].lower()


def test_a_validator_is_answered_from_the_cache(edge: CachingEdge) -> None:
    path = edge.serve(FRESH, 'ETag: "one"', body=b"body")
    edge.ask(path)
    same = edge.ask(path, 'If-None-Match: "one"')
    other = edge.ask(path, 'If-None-Match: "two"')
    head = edge.ask(path, method="HEAD")
    assert (same.status, same.body) == (304, b"")
    assert (other.status, other.body) == (200, b"body")
    assert (head.status, head.fields["content-length"]) == (200, "4")
    assert len(edge.asked(path)) == 1


def test_private_and_no_store_answers_are_never_shared(edge: CachingEdge) -> None:
    path = edge.serve("Cache-Control: private, max-age=60", body=b"secret")
    replies = [edge.ask(path) for _ in range(3)]
    assert len(edge.asked(path)) == 3
    assert all("detail=private" in reply.fields["cache-status"] for reply in replies)
