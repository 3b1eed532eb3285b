"""Requests that come before the handshake is complete, and may be replayed (RFC 8470). By real 0-RTT."""

from ipaddress import ip_network

import pytest

from tests.support.h1_edge import run
from tests.support.h3_client import H3Client
from tests.support.h3_edge import H3Edge

EARLY = (b"early-data", b"1")


async def resume(edge: H3Edge, *requests: tuple[str, bytes | None], forged: bool = False) -> H3Client:
    """A client that has been here before, and sends these requests (method, body) with its first flight."""
    async with await edge.client() as client:
        assert (await client.ask("/first")).status == 200
        await client.until(lambda: client.tickets)
    fields = [EARLY] if forged else []

    def begin(client: H3Client) -> None:
        for method, body in requests:
            client.begin("/early", fields, method=method, body=body, flush=False)

    client = await edge.client(session_ticket=client.tickets[0], early=begin)
    assert client.early_accepted
    return client


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_safe_request_is_answered_and_marked_for_the_origin(method: str) -> None:
    async def test() -> None:
        async with H3Edge() as edge, await resume(edge, (method, None)) as client:
            assert (await client.answer(0)).status == 200
            request = edge.finished[1].request
            assert (request.path, request.fields.get_all(b"early-data")) == (b"/early", [b"1"])
            # What comes later is not early any more.
            assert (await client.ask("/late")).status == 200
            assert b"early-data" not in edge.finished[2].request.fields

    run(test())


@pytest.mark.parametrize(
    ("method", "body"), [("POST", b"x"), ("POST", None), ("DELETE", None), ("GET", b"x")]
)
def test_what_must_not_be_replayed_is_answered_too_early(method: str, body: bytes | None) -> None:
    async def test() -> None:
        async with H3Edge() as edge:
            seen = []
            gate = edge.gate
            edge.gate = lambda ctx: seen.append(ctx.request.path) or gate(ctx)  # type: ignore[func-returns-value]
            async with await resume(edge, (method, body), ("GET", None)) as client:
                answer = await client.answer(0)
                assert (answer.status, answer.fields["x-fault"]) == (425, "too-early")
                assert (await client.answer(4)).status == 200
                assert (await client.ask("/late", method=method, body=body)).status == 200
            assert seen == [b"/first", b"/early", b"/late"]

    run(test())


@pytest.mark.parametrize("trusted", [False, True])
def test_the_mark_is_believed_from_trusted_proxies_only(trusted: bool) -> None:
    async def test() -> None:
        networks = (ip_network("127.0.0.0/8"),) if trusted else ()
        async with H3Edge(trusted=networks) as edge, await resume(edge, ("GET", None), forged=True) as client:
            assert (await client.answer(0)).status == 200
            assert edge.finished[1].request.fields.get_all(b"early-data") == [b"1"]
            await client.ask("/late", [EARLY])
            assert (b"early-data" in edge.finished[2].request.fields) is trusted

    run(test())
