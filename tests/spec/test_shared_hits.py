"""What one worker has stored, every worker serves."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.client import ask, ask_many
from tests.support.cluster import Cluster, settings
from tests.support.scripted_origin import ScriptedOrigin, answer


def port_of(edge: Cluster) -> int:
    port = urlsplit(edge.url).port
    assert port is not None
    return port


def test_the_first_request_misses_and_every_later_one_hits_in_whichever_worker(tmp_path: Path) -> None:
    page = answer(b"x" * 2000, headers=("Cache-Control: max-age=60", "Content-Type: text/plain"))
    with (
        ScriptedOrigin(lambda request: page) as origin,
        Cluster(settings(tmp_path / "s", origin=origin.url, workers=4)) as edge,
    ):
        port = port_of(edge)
        first = asyncio.run(ask(port, "/page"))
        later = asyncio.run(ask_many(port, "/page", 40))
    assert first.status == 200
    assert "fwd=uri-miss" in first.fields["cache-status"]
    assert "stored" in first.fields["cache-status"]
    assert first.fields["x-cache"] == "MISS"
    assert {reply.body for reply in later} == {b"x" * 2000}
    assert all("; hit" in reply.fields["cache-status"] for reply in later)
    assert all(int(reply.fields["age"]) >= 0 for reply in later)
    assert len({reply.fields["x-request-id"] for reply in [first, *later]}) == 41
    assert len(origin.requests) == 1


def test_a_compressed_variant_is_made_once_and_decodes_to_the_same_bytes(tmp_path: Path) -> None:
    text = b"All work and no play makes a dull cache. " * 200
    page = answer(text, headers=("Cache-Control: max-age=60", "Content-Type: text/html"))
    with (
        ScriptedOrigin(lambda request: page) as origin,
        Cluster(settings(tmp_path / "s", origin=origin.url)) as edge,
    ):
        port = port_of(edge)
        answers = [asyncio.run(ask(port, "/", fields="Accept-Encoding: gzip\r\n")) for _ in range(2)]
        plain = asyncio.run(ask(port, "/"))
    import gzip

    assert [reply.fields.get("content-encoding") for reply in answers] == ["gzip", "gzip"]
    assert gzip.decompress(answers[0].body) == gzip.decompress(answers[1].body) == text
    assert "; hit" in answers[1].fields["cache-status"]
    assert plain.body == text
    assert "content-encoding" not in plain.fields
    assert "accept-encoding" in plain.fields["vary"].lower()


def test_a_validator_is_answered_from_the_cache(tmp_path: Path) -> None:
    page = answer(b"body", headers=("Cache-Control: max-age=60", 'ETag: "one"'))
    with (
        ScriptedOrigin(lambda request: page) as origin,
        Cluster(settings(tmp_path / "s", origin=origin.url)) as edge,
    ):
        port = port_of(edge)
        asyncio.run(ask(port, "/"))
        same = asyncio.run(ask(port, "/", fields='If-None-Match: "one"\r\n'))
        other = asyncio.run(ask(port, "/", fields='If-None-Match: "two"\r\n'))
        head = asyncio.run(ask(port, "/", method="HEAD"))
    assert (same.status, same.body) == (304, b"")
    assert (other.status, other.body) == (200, b"body")
    assert (head.status, head.fields["content-length"]) == (200, "4")
    assert len(origin.requests) == 1


def test_private_and_no_store_answers_are_never_shared(tmp_path: Path) -> None:
    def handler(request: object) -> bytes:
        return answer(b"secret", headers="Cache-Control: private, max-age=60")

    with (
        ScriptedOrigin(handler) as origin,
        Cluster(settings(tmp_path / "s", origin=origin.url)) as edge,
    ):
        replies = [asyncio.run(ask(port_of(edge), "/me")) for _ in range(3)]
    assert len(origin.requests) == 3
    assert all("detail=private" in reply.fields["cache-status"] for reply in replies)
