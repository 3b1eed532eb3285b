"""Plain HTTP on a port that speaks TLS, TLS on one that does not: what users see."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from tests.support.h1_edge import WAIT_S, H1Edge, read_response, run
from tests.support.tls_pair import client_context, write_pair
from worker.protocol.plain_http import REQUEST_BYTES
from worker.protocol.tls import make_context

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    return make_context(*write_pair(authority, tmp_path))


async def curl(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and error."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), WAIT_S)
    return process.returncode or 0, out.decode(), err.decode()


def test_curl_without_tls_on_an_https_port_is_told_the_address_to_use(tls: ssl.SSLContext) -> None:
    async def test() -> None:
        async with H1Edge(tls=tls) as edge:
            code, out, _ = await curl("-i", f"http://localhost:{edge.port}/a/page?secret=1")
            assert code == 0
            assert out.startswith("HTTP/1.1 400 Bad Request")
            assert "This port speaks https, and the request came without TLS." in out
            assert out.endswith(f"Use https://localhost:{edge.port}/a/page\n")
            assert edge.tally.told == ["failed handshake"]

    run(test())


def test_curl_with_tls_on_an_http_port_names_the_cause_and_it_is_counted() -> None:
    async def test() -> None:
        async with H1Edge() as edge:
            code, _, err = await curl("-k", f"https://localhost:{edge.port}/")
            assert code == 35
            assert "wrong version number" in err
            await edge.until(lambda: "closed" in edge.tally.told)
            assert edge.tally.told == ["opened", "failed handshake", "closed"]
            (ctx,) = edge.finished
            assert ctx.error is not None
            assert ctx.error.detail == "TLS on a port that speaks plain http"

    run(test())


@pytest.mark.parametrize(
    ("request_head", "url"),
    [
        (GET, "https://a/"),
        (b"GET / HTTP/1.1\r\nhOST:  b.test:443 \r\n\r\n", "https://b.test/"),
        (b"DELETE /x HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", "https://[::1]:8443/x"),
        (b"GET http://a.test/there HTTP/1.1\r\nHost: a.test\r\n\r\n", "https://a.test/"),
        (b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 300), "https://a/"),
        (b"GET / HTTP/1.0\r\n\r\n", "https://127.0.0.1:PORT/"),
        (b"GET / HTTP/1.1\r\nHost: <script>\r\n\r\n", "https://127.0.0.1:PORT/"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "https://127.0.0.1:PORT/"),
    ],
)
def test_the_answer_names_what_was_asked_for(tls: ssl.SSLContext, request_head: bytes, url: str) -> None:
    async def test() -> None:
        async with H1Edge(tls=tls) as edge:
            got = await edge.exchange(request_head)
            assert got.startswith(b"HTTP/1.1 400 ")
            assert got.endswith(f"Use {url.replace('PORT', str(edge.port))}\n".encode())

    run(test())


def test_the_answer_to_head_has_no_body(tls: ssl.SSLContext) -> None:
    async def test() -> None:
        async with H1Edge(tls=tls) as edge:
            assert (await edge.exchange(GET.replace(b"GET", b"HEAD"))).endswith(b"\r\n\r\n")

    run(test())


def test_a_request_that_comes_in_pieces_is_waited_for(tls: ssl.SSLContext) -> None:
    async def test() -> None:
        async with H1Edge(tls=tls) as edge:
            reader, writer = await edge.connect()
            writer.write(b"G")
            await edge.until(lambda: edge.acceptor._arrivals)
            writer.write(GET[1:])
            assert b"Use https://a/" in await asyncio.wait_for(reader.read(), WAIT_S)

    run(test())


def test_a_body_that_is_still_coming_does_not_cost_the_client_the_answer(tls: ssl.SSLContext) -> None:
    async def test() -> None:
        async with H1Edge(tls=tls) as edge:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\n\r\n"
            assert b"Use https://a/" in await edge.exchange(head + b"x" * 4000)

    run(test())


@pytest.mark.parametrize("data", [b"HELO there\r\n\r\n", b"G" * REQUEST_BYTES, b"GET /\r\n\r\n", b"\r\n\r\n"])
def test_what_is_neither_tls_nor_a_request_is_not_answered(tls: ssl.SSLContext, data: bytes) -> None:
    async def test() -> None:
        async with H1Edge(tls=tls) as edge:
            reader, writer = await edge.connect()
            writer.write(data)
            writer.write_eof()
            try:
                got = await asyncio.wait_for(reader.read(), WAIT_S)
            except ConnectionError:
                got = b""
            assert b"HTTP" not in got
            await edge.until(lambda: edge.tally.told == ["failed handshake"])

    run(test())


def test_a_client_that_waits_before_its_hello_is_served(tls: ssl.SSLContext, authority: trustme.CA) -> None:
    async def test() -> None:
        async with H1Edge(tls=tls) as edge:
            reader, writer = await edge.connect()
            await edge.until(lambda: edge.acceptor._arrivals)
            await writer.start_tls(client_context(authority), server_hostname="localhost")
            writer.write(GET)
            assert (await read_response(reader))[0] == 200

    run(test())
