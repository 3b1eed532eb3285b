"""Certificates and keys that cannot be served, or should not be: the same words in `check` and at start."""

import logging
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cluster.config.check import certificate as check
from cluster.contexts import Contexts
from cluster.errors import BootError
from cluster.settings import CertificateSettings
from tests.support.cluster import settings


class Files:
    """A certificate of an intermediate authority and its key, as files that a test may spoil."""

    def __init__(self, folder: Path) -> None:
        self.root = trustme.CA()
        leaf = self.root.create_child_ca().issue_cert("a.test")
        self.chain = [blob.bytes() for blob in leaf.cert_chain_pems]  # the leaf, then the intermediate
        self.secret = leaf.private_key_pem.bytes()
        self.certificate, self.key = folder / "a.pem", folder / "a.key"
        self.certificate.write_bytes(b"".join(self.chain) + self.root.cert_pem.bytes())
        self.key.write_bytes(self.secret)

    @property
    def pair(self) -> CertificateSettings:
        return CertificateSettings(self.certificate, self.key)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def said(files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> tuple[str, str]:
    """(level, words) of `check`. A start has said the same: refused with them, warned of them, or nothing."""
    finding, _ = check(files.pair, datetime.now(UTC))
    asked = replace(settings(tmp_path, schemes=("https",)), certificates=(files.pair,))
    with caplog.at_level(logging.WARNING, "edgecluster.supervisor"):
        try:
            Contexts().of(asked)
        except BootError as error:
            assert (finding.level, finding.message) == ("error", str(error))
        else:
            assert finding.level in ("ok", "warning")
            assert [finding.message] == caplog.messages or finding.level == "ok"
    return finding.level, finding.message


def key_of(files: Files, encoding: Encoding, password: bytes | None = None) -> bytes:
    key = load_pem_private_key(files.secret, None)
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(encoding, PrivateFormat.PKCS8, hidden)


def spoil_der(files: Files) -> None:
    leaf = x509.load_pem_x509_certificate(files.chain[0])
    files.certificate.write_bytes(leaf.public_bytes(Encoding.DER))


def spoil_other_key(files: Files) -> None:
    files.key.write_bytes(files.root.issue_cert("b.test").private_key_pem.bytes())


def spoil_directory(files: Files) -> None:
    files.certificate.unlink()
    files.certificate.mkdir()


def write(name: str, content: Callable[[Files], bytes]) -> Callable[[Files], object]:
    return lambda files: getattr(files, name).write_bytes(content(files))


ERRORS: dict[str, tuple[Callable[[Files], object], str]] = {
    "no certificate file": (
        lambda files: files.certificate.unlink(),
        "cannot read the certificate DIR/a.pem: No such file or directory; give the path of a PEM file",
    ),
    "no key file": (
        lambda files: files.key.unlink(),
        "cannot read the private key DIR/a.key: No such file or directory; give the path of a PEM file",
    ),
    "a directory": (
        spoil_directory,
        "cannot read the certificate DIR/a.pem: Is a directory; give the path of a PEM file",
    ),
    "an empty file": (
        write("certificate", lambda files: b""),
        "no certificate in DIR/a.pem: it must be a PEM file (-----BEGIN CERTIFICATE-----)",
    ),
    "text for a key": (
        write("key", lambda files: b"hello"),
        "no private key in DIR/a.key: it must be a PEM file (-----BEGIN PRIVATE KEY-----)",
    ),
    "a torn certificate": (
        write("certificate", lambda files: files.chain[0][:200]),
        "cannot read the certificate in DIR/a.pem: it is damaged or cut off; copy it anew",
    ),
    "a torn key": (
        write("key", lambda files: files.secret[:100]),
        "cannot read the private key in DIR/a.key: it is damaged or cut off; copy it anew",
    ),
    "a key for a certificate": (
        write("certificate", lambda files: files.secret),
        "no certificate in DIR/a.pem: it must be a PEM file, and holds a private key; are the two mixed up?",
    ),
    "a certificate for a key": (
        write("key", lambda files: files.chain[0]),
        "no private key in DIR/a.key: it must be a PEM file, and holds a certificate; are the two mixed up?",
    ),
    "a certificate in DER": (
        spoil_der,
        (
            "the certificate DIR/a.pem is in DER format: convert it to PEM "
            "(openssl x509 -inform der -in DIR/a.pem -out a.pem)"
        ),
    ),
    "a key in DER": (
        write("key", lambda files: key_of(files, Encoding.DER)),
        (
            "the private key DIR/a.key is in DER format: convert it to PEM "
            "(openssl pkey -inform der -in DIR/a.key -out a.key.pem)"
        ),
    ),
    "an encrypted key": (
        write("key", lambda files: key_of(files, Encoding.PEM, b"x")),
        (
            "the private key DIR/a.key is encrypted: give one without a passphrase "
            "(openssl pkey -in DIR/a.key -out plain.key)"
        ),
    ),
    "a key of another certificate": (
        spoil_other_key,
        (
            "the private key DIR/a.key does not belong to the certificate DIR/a.pem for a.test: "
            "give the key that was made for it, or have a certificate issued for this key"
        ),
    ),
    "the intermediate first": (
        write("certificate", lambda files: b"".join(reversed(files.chain))),
        (
            "the chain in DIR/a.pem begins with the certificate of NAME: "
            "put the server's own first, then that which signed it, and so on"
        ),
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_served_is_refused_with_the_same_words(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    spoil, words = ERRORS[case]
    spoil(files)
    intermediate = x509.load_pem_x509_certificate(files.chain[1]).subject.rfc4514_string()
    words = words.replace("DIR", str(tmp_path)).replace("NAME", intermediate)
    assert said(files, tmp_path, caplog) == ("error", words)


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def test_a_short_rsa_key_is_refused(files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    new = "req -x509 -newkey rsa:1024 -nodes -subj /CN=a.test -addext subjectAltName=DNS:a.test"
    openssl(tmp_path, *new.split(), "-out", "a.pem", "-keyout", "a.key")
    assert said(files, tmp_path, caplog) == (
        "error",
        (
            f"{tmp_path}/a.pem: the RSA key of a.test has 1024 bits, and clients refuse less than 2048; "
            "have it issued anew, with a key of 2048 bits or an ECDSA one"
        ),
    )


def test_a_signature_with_sha1_is_refused(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ca.pem").write_bytes(files.root.cert_pem.bytes())
    (tmp_path / "ca.key").write_bytes(files.root.private_key_pem.bytes())
    openssl(tmp_path, *"req -new -key a.key -subj /CN=a.test -out a.csr".split())
    openssl(
        tmp_path, *"x509 -req -sha1 -in a.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out a.pem".split()
    )
    assert said(files, tmp_path, caplog) == (
        "error",
        f"{tmp_path}/a.pem: CN=a.test is signed with SHA1, which clients refuse; have it issued anew",
    )


def test_a_chain_that_is_whole_is_fine(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert said(files, tmp_path, caplog)[0] == "ok"
    assert not caplog.messages


def test_a_chain_with_a_gap_is_warned_of(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files.certificate.write_bytes(files.chain[0])
    issuer = x509.load_pem_x509_certificate(files.chain[0]).issuer.rfc4514_string()
    assert said(files, tmp_path, caplog) == (
        "warning",
        (
            f"{tmp_path}/a.pem for a.test comes without the certificate of {issuer}: "
            "clients that lack it refuse; append it to the file"
        ),
    )


def test_a_chain_that_ends_with_what_an_authority_of_this_system_signed_is_fine(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(files.root.cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(trusted))
    files.certificate.write_bytes(b"".join(files.chain))
    assert said(files, tmp_path, caplog)[0] == "ok"
    files.certificate.write_bytes(files.chain[0])
    assert said(files, tmp_path, caplog)[0] == "warning"


def test_a_chain_out_of_order_is_warned_of(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leaf, intermediate = files.chain
    files.certificate.write_bytes(leaf + files.root.cert_pem.bytes() + intermediate)
    level, words = said(files, tmp_path, caplog)
    assert level == "warning"
    assert words.startswith(f"{tmp_path}/a.pem is out of order: a.test is followed by OU=Testing CA ")


def test_a_certificate_that_signed_itself_is_nobody_elses_business(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    openssl(
        tmp_path,
        *"req -x509 -newkey rsa:2048 -nodes -subj /CN=a -addext subjectAltName=DNS:a.test".split(),
        *"-out a.pem -keyout a.key".split(),
    )
    assert said(files, tmp_path, caplog)[0] == "ok"
