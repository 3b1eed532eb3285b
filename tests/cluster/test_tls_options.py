"""Profiles, versions, several certificates for one name, and names nobody knows, as real clients meet them.

The server is the workers' own acceptor; clients are `openssl s_client` and Python's `ssl`.
"""

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from trustme import KeyType

from cluster.contexts import Contexts
from cluster.settings import AcmeSettings, AuthoritySettings, CertificateSettings, TlsSettings
from tests.support.cluster import settings
from tests.support.h1_edge import WAIT_S, H1Edge, read_response, run

Issue = Callable[..., CertificateSettings]

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
RSA, ECDSA = "RSA", "ECDSA"
USUAL = TlsSettings()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def issue(authority: trustme.CA, tmp_path: Path) -> Issue:
    def issue(*names: str, kind: str = ECDSA, stem: str = "") -> CertificateSettings:
        leaf = authority.issue_cert(*names, key_type=KeyType[kind])
        stem = stem or f"{names[0].strip('*.')}-{kind}"
        pair = CertificateSettings(tmp_path / f"{stem}.pem", tmp_path / f"{stem}.key")
        leaf.cert_chain_pems[0].write_to_path(os.fspath(pair.certificate))
        leaf.private_key_pem.write_to_path(os.fspath(pair.key))
        return pair

    return issue


def context_of(tmp_path: Path, *pairs: CertificateSettings, tls: TlsSettings = USUAL) -> ssl.SSLContext:
    made = replace(settings(tmp_path, schemes=("https",)), certificates=pairs, tls=tls)
    context = Contexts().of(made)
    assert context is not None
    return context


async def s_client(port: int, *arguments: str) -> str:
    """All that it says about one handshake."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), WAIT_S)
    return said.decode()


def handshake(context: ssl.SSLContext, *arguments: str) -> str:
    """What `openssl s_client` says of an edge with this context."""
    said = ""

    async def test() -> None:
        nonlocal said
        async with H1Edge(tls=context) as edge:
            said = await s_client(edge.port, *arguments)

    run(test())
    return said


UNRECOGNIZED = "SSL alert number 112"

# Weak versions only where the client lets go of its own level of security.
WEAK = ("-cipher", "ALL:@SECLEVEL=0")


@pytest.mark.parametrize(
    ("tls", "offered", "agreed"),
    [
        (TlsSettings(), ("-tls1_3",), "TLSv1.3"),
        (TlsSettings(), ("-tls1_2",), "TLSv1.2"),
        (TlsSettings(), ("-tls1_1", *WEAK), None),
        (TlsSettings(minimum_version="1.3"), ("-tls1_2",), None),
        (TlsSettings("modern"), ("-tls1_3",), "TLSv1.3"),
        (TlsSettings("modern"), ("-tls1_2",), None),
        (TlsSettings("old"), ("-tls1_3",), "TLSv1.3"),
        (TlsSettings("old"), ("-tls1_2",), "TLSv1.2"),
        (TlsSettings("old"), ("-tls1_1", *WEAK), None),
        (TlsSettings("old", "1.1"), ("-tls1_1", *WEAK), "TLSv1.1"),
        (TlsSettings("old", "1.1"), ("-tls1", *WEAK), None),
        (TlsSettings("old", "1.0"), ("-tls1", *WEAK), "TLSv1"),
        (TlsSettings("old", "1.0"), ("-tls1_3",), "TLSv1.3"),
    ],
)
def test_versions(
    tmp_path: Path, issue: Issue, tls: TlsSettings, offered: tuple[str, ...], agreed: str | None
) -> None:
    said = handshake(context_of(tmp_path, issue("a.test", kind=RSA), tls=tls), *offered)
    if agreed is None:
        assert "alert protocol version" in said
    else:
        assert f"New, {'TLSv1.0' if agreed == 'TLSv1' else agreed}" in said or f"Protocol  : {agreed}" in said
        assert "Cipher is ECDHE-" in said or "Cipher is TLS_" in said


@pytest.mark.parametrize(
    ("profile", "ciphers", "agreed"),
    [
        ("default", "ECDHE-RSA-AES128-SHA", None),
        ("old", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES128-SHA"),
        ("old", "ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("old", "AES128-SHA", None),
        ("default", "DHE-RSA-AES128-GCM-SHA256", None),
        ("default", "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
        ("default", "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"),
    ],
)
def test_ciphers_are_chosen_by_the_edge_except_that_chacha20_may_be_preferred(
    tmp_path: Path, issue: Issue, profile: str, ciphers: str, agreed: str | None
) -> None:
    context = context_of(tmp_path, issue("a.test", kind=RSA), tls=TlsSettings(profile))
    said = handshake(context, "-tls1_2", "-cipher", ciphers)
    assert (f"Cipher is {agreed}" if agreed else "alert handshake failure") in said


@pytest.mark.parametrize(
    ("groups", "agreed"),
    [("X25519", "X25519"), ("P-256", "ECDH, prime256v1"), ("P-384", "ECDH, secp384r1"), ("P-521", None)],
)
def test_groups(tmp_path: Path, issue: Issue, groups: str, agreed: str | None) -> None:
    said = handshake(context_of(tmp_path, issue("a.test")), "-groups", groups)
    assert (f"Server Temp Key: {agreed}," if agreed else "alert handshake failure") in said


SIGNATURES = {RSA: "rsa_pss_rsae_sha256:RSA+SHA256", ECDSA: "ECDSA+SHA256"}


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("able", [RSA, ECDSA])
@pytest.mark.parametrize("asked", ["a.test", "b.test", "x.c.test", "unknown.test"])
def test_keys_of_two_kinds_serve_one_name_and_a_client_gets_the_one_it_can_verify(
    tmp_path: Path, issue: Issue, asked: str, able: str, version: str
) -> None:
    pairs = [issue(name, kind=kind) for name in ("a.test", "b.test", "*.c.test") for kind in (RSA, ECDSA)]
    context = context_of(tmp_path, *pairs)
    said = handshake(context, version, "-servername", asked, "-sigalgs", SIGNATURES[able])
    assert f"Peer signature type: {'RSA-PSS' if able == RSA else 'ECDSA'}" in said, said


def test_a_client_able_to_both_gets_the_cheaper_ecdsa(tmp_path: Path, issue: Issue) -> None:
    context = context_of(tmp_path, issue("a.test", kind=RSA), issue("a.test", kind=ECDSA))
    assert "Peer signature type: ECDSA" in handshake(context, "-servername", "a.test")


def test_the_local_authority_stands_in_for_missing_certificates_and_beside_none(
    tmp_path: Path, issue: Issue
) -> None:
    acme = AcmeSettings((AuthoritySettings("https://authority.test/directory"),), ("b.test",))
    made = replace(
        settings(tmp_path, schemes=("https",)),
        certificates=(issue("a.test", kind=RSA),),
        acme=acme,
        local_names=("a.test", "b.test"),
    )
    context = Contexts().of(made)
    assert context is not None
    assert "Peer signature type: RSA-PSS" in handshake(context, "-servername", "a.test")
    assert "Peer signature type: ECDSA" in handshake(context, "-servername", "b.test")


def names_served(context: ssl.SSLContext, authority: trustme.CA, asked: str | None) -> list[str]:
    client = ssl.create_default_context()
    client.check_hostname = False
    authority.configure_trust(client)
    names: list[str] = []

    async def test() -> None:
        async with H1Edge(tls=context) as edge:
            reader, writer = await edge.connect(ssl=client, server_hostname=asked or "")
            peer = writer.get_extra_info("peercert")
            names.extend(value for _, value in peer["subjectAltName"])
            writer.write(GET)
            assert (await read_response(reader))[0] == 200

    run(test())
    return names


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("www.a.test", ["www.a.test"]),
        ("WWW.A.test", ["www.a.test"]),
        ("x.a.test", ["*.a.test"]),
        ("a.test", ["first.test", "a.test"]),
        ("x.y.a.test", ["first.test", "a.test"]),
        (None, ["first.test", "a.test"]),
    ],
)
def test_exact_before_wildcard_before_default(
    tmp_path: Path, issue: Issue, authority: trustme.CA, asked: str | None, served: list[str]
) -> None:
    context = context_of(
        tmp_path, issue("first.test", "a.test"), issue("*.a.test", stem="wild"), issue("www.a.test")
    )
    assert names_served(context, authority, asked) == served


def test_a_wildcard_of_another_kind_does_not_join_an_exact_name(tmp_path: Path, issue: Issue) -> None:
    context = context_of(tmp_path, issue("www.a.test", kind=RSA), issue("*.a.test", kind=ECDSA))
    said = handshake(context, "-servername", "www.a.test", "-sigalgs", SIGNATURES[ECDSA])
    assert "alert handshake failure" in said


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize(
    ("tls", "name", "alert"),
    [
        (TlsSettings(refuse_unknown_name=True), ("-servername", "nobody.test"), UNRECOGNIZED),
        (TlsSettings(refuse_unknown_name=True), ("-servername", "a.test"), None),
        (TlsSettings(refuse_unknown_name=True), ("-noservername",), None),
        (TlsSettings(refuse_no_name=True), ("-noservername",), UNRECOGNIZED),
        (TlsSettings(refuse_no_name=True), ("-servername", "nobody.test"), None),
        (TlsSettings(), ("-servername", "nobody.test"), None),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_a_name_no_certificate_is_for_is_refused_by_an_alert_where_that_is_said(
    tmp_path: Path,
    issue: Issue,
    tls: TlsSettings,
    name: tuple[str, ...],
    alert: str | None,
    version: str,
    several: bool,
) -> None:
    pairs = [issue("a.test"), issue("b.test")] if several else [issue("a.test")]
    said = handshake(context_of(tmp_path, *pairs, tls=tls), version, *name)
    assert (alert or "Peer signature type: ECDSA") in said
