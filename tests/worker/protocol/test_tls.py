"""TLS contexts and serving with them; every party is real."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from tests.support.h1_edge import WAIT_S, H1Edge, Lent, read_response, run
from tests.support.tls_pair import client_context, write_pair
from worker.fields import Fields
from worker.message import Response
from worker.protocol.tls import make_context

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_over_tls(authority: trustme.CA, tmp_path: Path, version: ssl.TLSVersion) -> None:
    async def test() -> None:
        async with H1Edge(tls=make_context(*write_pair(authority, tmp_path))) as edge:
            context = client_context(authority, "h2", "http/1.1")
            context.minimum_version = context.maximum_version = version
            reader, writer = await edge.connect(ssl=context, server_hostname="localhost")
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            for _ in range(3):
                writer.write(GET * 2)
                for _ in range(2):
                    assert (await read_response(reader))[2] == b"hit\n"
            ctx = edge.finished[0]
            assert ctx.request.scheme == b"https"
            assert ctx.client.tls_version == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
            assert ctx.client.tls_cipher
            writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert (await read_response(reader))[0] == 200
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""

    run(test())


def test_a_large_stored_body_over_tls(authority: trustme.CA, tmp_path: Path) -> None:
    async def test() -> None:
        body = bytes(range(256)) * 40_000
        lent = Lent(body)
        tls = make_context(*write_pair(authority, tmp_path))
        async with H1Edge(lambda ctx: Response(200, Fields.of(), lent, len(body)), tls=tls) as edge:
            context = client_context(authority)
            reader, writer = await edge.connect(ssl=context, server_hostname="localhost", limit=1024)
            writer.write(GET)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
            await edge.until(lambda: edge.connection._paused)
            assert lent.released == 0
            assert await asyncio.wait_for(reader.readexactly(len(body)), WAIT_S) == body
            await edge.until(lambda: edge.finished)
            assert lent.released == 1

    run(test())


def test_a_refusal_reaches_the_client_over_tls(authority: trustme.CA, tmp_path: Path) -> None:
    async def test() -> None:
        async with H1Edge(tls=make_context(*write_pair(authority, tmp_path))) as edge:
            reader, writer = await edge.connect(ssl=client_context(authority), server_hostname="localhost")
            writer.write(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 100_000)
            assert (await read_response(reader))[0] == 400
            edge.after(3)
            await asyncio.wait_for(edge.server.wait_empty(), WAIT_S)

    run(test())


def test_sessions_are_resumed_by_ticket(authority: trustme.CA, tmp_path: Path) -> None:
    async def test() -> None:
        async with H1Edge(tls=make_context(*write_pair(authority, tmp_path))) as edge:

            def handshakes() -> list[bool]:
                context = client_context(authority)
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                session = None
                reused = []
                for _ in range(2):
                    with (
                        socket.create_connection(("127.0.0.1", edge.port), WAIT_S) as sock,
                        context.wrap_socket(sock, server_hostname="localhost", session=session) as tls,
                    ):
                        tls.sendall(GET)
                        assert tls.recv(100)
                        reused.append(bool(tls.session_reused))
                        session = tls.session
                return reused

            assert await asyncio.to_thread(handshakes) == [False, True]

    run(test())


@pytest.mark.parametrize("data", [b"\x16\x03\x01", b"\x00" * 100, b"HELLO\r\n", b"GE"])
def test_no_tls_on_a_tls_port_is_closed_and_harms_nobody(
    authority: trustme.CA, tmp_path: Path, data: bytes
) -> None:
    async def test() -> None:
        async with H1Edge(tls=make_context(*write_pair(authority, tmp_path))) as edge:
            reader, writer = await edge.connect()
            writer.write(data)
            writer.write_eof()
            try:
                got = await asyncio.wait_for(reader.read(), WAIT_S)
            except ConnectionError:
                got = b""
            assert not got.startswith(b"HTTP/")
            reader, writer = await edge.connect(ssl=client_context(authority), server_hostname="localhost")
            writer.write(GET)
            assert (await read_response(reader))[0] == 200

    run(test())


def test_old_protocol_versions_are_refused(authority: trustme.CA, tmp_path: Path) -> None:
    context = make_context(*write_pair(authority, tmp_path))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert all(name.startswith(("TLS_", "ECDHE-")) and "CBC" not in name for name in names)
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_errors_name_the_file(authority: trustme.CA, tmp_path: Path) -> None:
    certificate, key = write_pair(authority, tmp_path)
    other_certificate, other_key = write_pair(authority, tmp_path, "other")
    missing, garbage = tmp_path / "missing.pem", tmp_path / "garbage.pem"
    garbage.write_bytes(b"hello")
    torn = tmp_path / "torn.pem"
    torn.write_bytes(certificate.read_bytes()[:200])
    locked = tmp_path / "locked.key"
    locked.write_bytes(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    with pytest.raises(FileNotFoundError, match=r"cannot read the certificate .*missing.pem: No such file"):
        make_context(missing, key)
    with pytest.raises(FileNotFoundError, match=r"cannot read the key .*missing.pem"):
        make_context(certificate, missing)
    with pytest.raises(IsADirectoryError, match=r"cannot read the certificate"):
        make_context(tmp_path, key)
    with pytest.raises(ValueError, match=r"garbage.pem holds no certificate"):
        make_context(garbage, key)
    with pytest.raises(ValueError, match=r"holds no private key"):
        make_context(certificate, other_certificate)
    with pytest.raises(ValueError, match=r"other.key does not belong to the certificate in .*a.pem"):
        make_context(certificate, other_key)
    with pytest.raises(ValueError, match=r"cannot use .*torn.pem"):
        make_context(torn, key)
    with pytest.raises(ValueError, match=r"locked.key is encrypted"):
        make_context(certificate, locked)
