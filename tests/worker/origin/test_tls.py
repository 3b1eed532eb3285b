"""TLS origins: verified by default, refused for the right reason, never cut without notice."""

import asyncio
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
import trustme

from tests.support.origin_client import Upload, context, fetching, read_all, run
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Wire, answer, script
from worker.errors import EdgeError
from worker.origin.tls import TlsFileError, client_context, load_contexts
from worker.reasons import Fault, Side
from worker.settings import OriginSettings

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(tls)
    return tls


async def failure(fetch, ctx=None) -> EdgeError:
    with pytest.raises(EdgeError) as caught:
        await read_all((await fetch(ctx or context())).body)
    assert caught.value.side is Side.ORIGIN
    return caught.value


def test_a_verified_origin_is_asked_over_kept_connections(authority, ca_file):
    async def main():
        async with fetching(origin.url, ca_file=ca_file) as fetch:
            for _ in range(3):
                assert (await fetch(context())).body == b"secret"

    with ScriptedOrigin([answer(b"secret")], tls=server_context(authority, "127.0.0.1")) as origin:
        run(main())
    assert origin.connections == 1


def test_the_server_name_is_sent_and_verified(authority, ca_file):
    asked: list[str] = []
    tls = server_context(authority, "origin.example")
    tls.sni_callback = lambda _, name, __: asked.append(name)

    async def main():
        async with fetching(origin.url, ca_file=ca_file, server_name="origin.example") as fetch:
            assert (await fetch(context())).body == b"secret"
        async with fetching(origin.url, ca_file=ca_file, server_name="other.example", retries=2) as fetch:
            ctx = context()
            error = await failure(fetch, ctx)
            assert (error.status, error.fault) == (502, Fault.TLS_CERTIFICATE)
            assert ctx.retries == 0  # it will not be better at once

    with ScriptedOrigin([answer(b"secret")], tls=tls) as origin:
        run(main())
    assert asked == ["origin.example", "other.example"]
    assert len(origin.requests) == 1


def test_an_unknown_authority_is_refused_unless_verification_is_off(authority):
    async def main():
        async with fetching(origin.url) as fetch:
            error = await failure(fetch)
            assert (error.status, error.fault, error.retryable) == (502, Fault.TLS_CERTIFICATE, True)
        async with fetching(origin.url, verify=False) as fetch:
            assert (await fetch(context())).body == b"secret"

    with ScriptedOrigin([answer(b"secret")], tls=server_context(authority, "127.0.0.1")) as origin:
        run(main())
    assert len(origin.requests) == 1


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["plain", "hung-up"])
def test_what_does_not_speak_tls_is_a_tls_error(reply):
    async def main():
        async with fetching(f"https://127.0.0.1:{listener.getsockname()[1]}", retries=0) as fetch:
            error = await failure(fetch)
            assert (error.status, error.fault, error.retryable) == (502, Fault.TLS, True)

    def speak() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=speak)
        thread.start()
        run(main())
        thread.join(30)


def test_large_bodies_pass_both_ways_unchanged(authority, ca_file):
    async def main():
        async with fetching(origin.url, ca_file=ca_file) as fetch:
            upload = Upload([data[at : at + 50_000] for at in range(0, len(data), 50_000)], len(data))
            response = await fetch(context(b"PUT", body=upload))
            assert await read_all(response.body) == data
            assert (await fetch(context())).status == 200

    data = bytes(range(256)) * (8 * MIB // 256)
    tls = server_context(authority, "127.0.0.1")
    with ScriptedOrigin(lambda request: answer(request.body), tls=tls) as origin:
        run(main())
    assert origin.requests[0].body == data
    assert origin.connections == 1


def test_the_last_record_arrives_although_reading_was_paused_before_it(authority, ca_file):
    # aiofastnet takes up to 16 full records from the socket at once and hands them over in one piece.
    # The answer is made so that the second such piece pauses reading while one small record is left.
    full = 16 * 16384
    head = len(answer(bytes(2 * full)).partition(b"\r\n\r\n")[0]) + 4
    size = 2 * full + 300 - head

    async def main():
        async with fetching(origin.url, ca_file=ca_file) as fetch:
            for _ in range(5):
                warm = await fetch(context())  # opens the window of the connection
                assert len(await read_all(warm.body)) == 8 * MIB
                sent = origin.sent_bytes
                task = asyncio.create_task(fetch(context(path=b"/odd")))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                origin.wait_for(lambda o, sent=sent: o.sent_bytes >= sent + size)
                time.sleep(0.05)  # noqa: ASYNC251 - the loop must not read before all of it is there
                assert len(await read_all((await task).body)) == size

    def reply(request: Recorded) -> bytes:
        return answer(bytes(size if request.target == "/odd" else 8 * MIB))

    with ScriptedOrigin(reply, tls=server_context(authority, "127.0.0.1")) as origin:
        run(main())


def test_an_answer_without_a_length_must_end_with_close_notify(authority, ca_file):
    async def main():
        async with fetching(origin.url, ca_file=ca_file) as fetch:
            assert await read_all((await fetch(context())).body) == b"hello"
            error = await failure(fetch)
            assert (error.status, error.fault) == (502, Fault.INCOMPLETE)

    unbounded = b"HTTP/1.1 200 OK\r\n\r\nhello"

    async def cut(wire: Wire) -> None:
        await wire.write(unbounded)
        await wire.pause(0.05)
        wire.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        await wire.stall()

    tls = server_context(authority, "127.0.0.1")
    with ScriptedOrigin([script(unbounded, "close"), cut], tls=tls) as origin:
        run(main())


# client certificates


def client_files(authority: trustme.CA, folder: Path) -> tuple[str, str]:
    pair = authority.issue_cert("edge.example")
    certificate, key = folder / "edge.pem", folder / "edge.key"
    pair.cert_chain_pems[0].write_to_path(certificate)
    pair.private_key_pem.write_to_path(key)
    return str(certificate), str(key)


def asking_context(authority: trustme.CA) -> ssl.SSLContext:
    """A server that talks to nobody without a certificate."""
    tls = server_context(authority, "127.0.0.1")
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    return tls


def test_a_client_certificate_is_shown_to_an_origin_that_asks_for_one(authority, ca_file, tmp_path):
    certificate, key = client_files(authority, tmp_path)

    async def main():
        options = {"ca_file": ca_file, "client_certificate": certificate, "client_key": key}
        async with fetching(origin.url, **options) as fetch:
            assert (await fetch(context())).body == b"secret"

    with ScriptedOrigin([answer(b"secret")], tls=asking_context(authority)) as origin:
        run(main())


# In TLS 1.3 the handshake is over for us before the origin has looked at our certificate, and aiofastnet
# (1.2.0) does not tell of the alert that comes then.
@pytest.mark.parametrize(
    ("version", "fault"),
    [(ssl.TLSVersion.TLSv1_2, Fault.TLS), (ssl.TLSVersion.TLSv1_3, Fault.TERMINATED)],
)
def test_an_origin_that_misses_a_client_certificate(authority, ca_file, version, fault):
    tls = asking_context(authority)
    tls.maximum_version = version

    async def main():
        async with fetching(origin.url, ca_file=ca_file, retries=0) as fetch:
            error = await failure(fetch)
            assert (error.status, error.fault) == (502, fault)

    with ScriptedOrigin([answer(b"secret")], tls=tls) as origin:
        run(main())
    assert not origin.requests


def test_files_that_cannot_be_used_are_named(authority, tmp_path):
    certificate, key = client_files(authority, tmp_path)
    other, garbage = tmp_path / "other.key", tmp_path / "garbage.pem"
    authority.issue_cert("x.example").private_key_pem.write_to_path(other)
    garbage.write_text("garbage")
    for options, words in (
        ({"client_certificate": "/none.pem"}, "cannot read client_certificate /none.pem: No such file"),
        (
            {"client_certificate": certificate, "client_key": "/none.key"},
            "cannot read client_key /none.key: No such file",
        ),
        (
            {"client_certificate": certificate, "client_key": str(other)},
            f"cannot load client_certificate {certificate} with client_key {other}: the key belongs",
        ),
        (
            {"client_certificate": str(garbage), "client_key": key},
            f"cannot load client_certificate {garbage} with client_key {key}: they must be PEM",
        ),
        ({"ca_file": str(garbage)}, f"cannot load ca_file {garbage}: no certificate in it"),
        ({"ca_file": "/none.pem"}, "cannot load ca_file /none.pem: No such file"),
    ):
        with pytest.raises(TlsFileError) as caught:
            load_contexts([OriginSettings("https", "a.example", 443, **options)])
        assert str(caught.value).startswith(f"https://a.example:443: {words}")


def test_files_are_read_anew_for_each_generation(authority, tmp_path):
    certificate, key = client_files(authority, tmp_path)
    settings = OriginSettings(
        "https", "a.example", 443, verify=False, client_certificate=certificate, client_key=key
    )
    load_contexts([settings])
    first = client_context(settings)
    assert client_context(settings) is first
    load_contexts([settings])
    assert client_context(settings) is not first
