"""The handshake by which an authority checks a name (RFC 8737): who is shown what, and gets no more."""

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from cluster.acme.challenges import challenge_certificate
from tests.support.h1_edge import WAIT_S, read_response, run
from tests.support.h2_edge import H2Edge
from tests.support.tls_pair import client_context, write_pair
from worker.protocol.acme_tls import answer_challenges
from worker.protocol.tls import make_context

NAME = "a.test"
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
PROOF = challenge_certificate(NAME, b"token.thumbprint")
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def context(authority: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    served = make_context(*write_pair(authority, tmp_path))
    answer_challenges(served, {NAME: PROOF}.get)
    return served


def checking(version: ssl.TLSVersion, *offer: str) -> ssl.SSLContext:
    """A client as the authority is one: it trusts nobody, and looks at what it is shown."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = made.maximum_version = version
    made.set_alpn_protocols(list(offer or ["acme-tls/1"]))
    return made


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("spelled", [NAME, NAME.upper()])
def test_who_offers_only_the_challenges_protocol_is_shown_the_proof_and_served_nothing(
    context: ssl.SSLContext, version: ssl.TLSVersion, spelled: str
) -> None:
    async def test() -> None:
        async with H2Edge(tls=context) as edge:
            reader, writer = await edge.connect(ssl=checking(version), server_hostname=spelled)
            shown = writer.get_extra_info("ssl_object")
            assert shown.selected_alpn_protocol() == "acme-tls/1"
            assert shown.getpeercert(binary_form=True) == PROOF[0]
            writer.write(GET)
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
            assert not edge.finished
            assert not edge.server.connections

    run(test())


def test_the_proof_is_as_the_rfc_has_it() -> None:
    leaf = x509.load_der_x509_certificate(PROOF[0])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName(NAME)]
    proof = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert proof.critical
    assert isinstance(proof.value, x509.UnrecognizedExtension)
    # printf token.thumbprint | sha256sum, as an OCTET STRING
    digest = "eb5ac167fe249c76e53b430da3116c5d9fde4c5507ba6d01e885516e1bd49f92"
    assert proof.value.value.hex() == "0420" + digest
    leaf.verify_directly_issued_by(leaf)


@pytest.mark.parametrize("name", ["other.test", "xa.test", "a.test."])
def test_for_a_name_without_a_challenge_the_handshake_fails(context: ssl.SSLContext, name: str) -> None:
    async def test() -> None:
        async with H2Edge(tls=context) as edge:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await edge.connect(ssl=checking(VERSIONS[1]), server_hostname=name)

    run(test())


@pytest.mark.parametrize("offer", [("h2", "acme-tls/1"), ("acme-tls/1", "http/1.1"), ("acme-tls/2",)])
def test_everyone_else_is_served_as_ever(
    context: ssl.SSLContext, authority: trustme.CA, offer: tuple[str, ...]
) -> None:
    async def test() -> None:
        async with H2Edge(tls=context) as edge:
            asked = client_context(authority, *offer)
            reader, writer = await edge.connect(ssl=asked, server_hostname="localhost")
            writer.write(GET)
            assert (await read_response(reader))[2] == b"hit\n"

    run(test())


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_the_check_needs_no_client_certificate_and_its_session_opens_nothing(
    authority: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """Else who can make us prove a name would get past mutual TLS."""
    served = make_context(*write_pair(authority, tmp_path))
    served.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(served)
    answer_challenges(served, {NAME: PROOF}.get)

    sessions: list[ssl.SSLSession | None] = [None]

    def talk(port: int, client: ssl.SSLContext) -> bytes:
        with (
            socket.create_connection(("127.0.0.1", port), WAIT_S) as plain,
            contextlib.suppress(ssl.SSLError, ConnectionError),
            client.wrap_socket(plain, server_hostname=NAME, session=sessions[-1]) as sock,
        ):
            sock.sendall(GET)
            said = sock.recv(100)  # with TLS 1.3, the ticket before it
            sessions.append(sock.session)
            return said
        return b""

    async def test() -> None:
        async with H2Edge(tls=served) as edge:
            client = checking(version)
            assert await asyncio.to_thread(talk, edge.port, client) == b""
            assert len(sessions) == 2
            client.set_alpn_protocols(["http/1.1"])
            assert await asyncio.to_thread(talk, edge.port, client) == b""
            assert not edge.finished

    run(test())
