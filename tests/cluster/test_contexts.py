"""TLS contexts: made once, kept across reloads, chosen by the name the client asks for."""

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from cluster.contexts import Contexts
from cluster.errors import BootError
from cluster.settings import CertificateSettings, ClusterSettings
from tests.support.cluster import settings, with_worker

Issue = Callable[..., CertificateSettings]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def issue(authority: trustme.CA, tmp_path: Path) -> Issue:
    def issue(*names: str, stem: str = "") -> CertificateSettings:
        leaf = authority.issue_cert(*names)
        files = (
            tmp_path / f"{stem or names[0].strip('*.')}.pem",
            tmp_path / f"{stem or names[0].strip('*.')}.key",
        )
        leaf.cert_chain_pems[0].write_to_path(os.fspath(files[0]))
        leaf.private_key_pem.write_to_path(os.fspath(files[1]))
        return CertificateSettings(*files)

    return issue


def https(tmp_path: Path, *certificates: CertificateSettings) -> ClusterSettings:
    return replace(settings(tmp_path, schemes=("http", "https")), certificates=certificates)


def served_to(
    context: ssl.SSLContext, authority: trustme.CA, asked: str | None
) -> tuple[x509.Certificate, str | None]:
    """The certificate a client gets that asks for `asked`, and the protocol agreed on."""
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.set_alpn_protocols(["h2", "http/1.1"])
    authority.configure_trust(trust)
    near, far = socket.socketpair()

    def serve() -> None:
        with context.wrap_socket(far, server_side=True) as served:
            served.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    with trust.wrap_socket(near, server_hostname=asked) as client:
        leaf = x509.load_der_x509_certificate(client.getpeercert(binary_form=True) or b"")
        agreed = client.selected_alpn_protocol()
        client.send(b"x")
        thread.join()
    return leaf, agreed


def names_served(context: ssl.SSLContext, authority: trustme.CA, asked: str | None) -> list[str]:
    """The names in the certificate."""
    leaf, _ = served_to(context, authority, asked)
    return leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )


def test_without_https_listeners_there_is_no_context(tmp_path: Path) -> None:
    assert Contexts().of(settings(tmp_path)) is None


def test_unchanged_files_keep_the_context_and_its_ticket_keys(tmp_path: Path, issue: Issue) -> None:
    contexts = Contexts()
    asked = https(tmp_path, issue("a.test"))
    first = contexts.of(asked)
    assert first is not None
    assert contexts.of(replace(asked, workers=5)) is first
    issue("a.test")
    assert contexts.of(asked) is not first


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("a.test", "a.test"),
        ("b.test", "b.test"),
        ("B.TEST", "b.test"),
        ("x.c.test", "*.c.test"),
        ("x.y.c.test", "a.test"),
        ("unknown.test", "a.test"),
        (None, "a.test"),
    ],
)
def test_the_certificate_is_chosen_by_name_and_else_the_first(
    tmp_path: Path, issue: Issue, authority: trustme.CA, asked: str | None, served: str
) -> None:
    context = Contexts().of(https(tmp_path, issue("a.test"), issue("b.test"), issue("*.c.test")))
    assert context is not None
    assert names_served(context, authority, asked) == [served]


def test_without_a_certificate_the_local_authority_issues_one(tmp_path: Path) -> None:
    contexts = Contexts()
    first = contexts.of(https(tmp_path))
    assert first is not None
    assert contexts.of(https(tmp_path)) is first


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, issue: Issue) -> None:
    mixed = CertificateSettings(issue("a.test").certificate, issue("b.test").key)
    with pytest.raises(BootError, match=r"b\.test\.key.*a\.test\.pem"):
        Contexts().of(https(tmp_path, mixed))


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path, issue: Issue) -> None:
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(BootError, match=r"no certificate in .*text\.pem"):
        Contexts().of(https(tmp_path, CertificateSettings(tmp_path / "text.pem", issue("a.test").key)))


def test_a_missing_file_is_refused(tmp_path: Path, issue: Issue) -> None:
    with pytest.raises(BootError, match=r"cannot read the certificate .*none\.pem: No such file"):
        Contexts().of(https(tmp_path, CertificateSettings(tmp_path / "none.pem", issue("a.test").key)))


@pytest.mark.parametrize("asked", ["a.test", "b.test", None])
@pytest.mark.parametrize(("http2", "agreed"), [(True, "h2"), (False, "http/1.1")])
def test_http2_is_offered_unless_switched_off_whatever_the_certificate(
    tmp_path: Path, issue: Issue, authority: trustme.CA, asked: str | None, http2: bool, agreed: str
) -> None:
    made = with_worker(https(tmp_path, issue("a.test"), issue("b.test")), http2=http2)
    context = Contexts().of(made)
    assert context is not None
    assert served_to(context, authority, asked)[1] == agreed


def test_the_files_content_is_kept_for_http3_in_the_order_of_the_pairs(tmp_path: Path, issue: Issue) -> None:
    pairs = issue("a.test"), issue("b.test")
    contexts = Contexts()
    contexts.of(https(tmp_path, *pairs))
    assert contexts.pairs == tuple((pair.certificate.read_bytes(), pair.key.read_bytes()) for pair in pairs)


def test_a_key_that_quic_has_no_scheme_for_is_refused_while_http3_is_on(tmp_path: Path) -> None:
    pair = CertificateSettings(tmp_path / "odd.pem", tmp_path / "odd.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp521r1", "-nodes",
         "-subj", "/CN=odd.test", "-out", pair.certificate, "-keyout", pair.key],
        check=True, capture_output=True,
    )  # fmt: skip
    asked = https(tmp_path, pair)
    with pytest.raises(BootError, match=r"cannot serve HTTP/3: .*secp521r1.*set http3 to false"):
        Contexts().of(asked)
    assert Contexts().of(with_worker(asked, http3=False)) is not None
