"""The local authority and its certificates: what clients accept, what stays, what is made anew."""

import os
import socket
import ssl
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from cluster import certificates
from cluster.certificates import local_certificate, read_pair
from cluster.errors import BootError

NAMES = ("localhost", "*.example.org", "127.0.0.1", "::1")


def handshake(state_dir: Path, files: tuple[Path, Path], name: str) -> dict[str, object]:
    """What a client that trusts the authority sees of a server with these files."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(*files)
    client_context = ssl.create_default_context(cafile=str(state_dir / "tls/ca.pem"))
    client_end, server_end = socket.socketpair()
    client_end.settimeout(30)
    server_end.settimeout(30)

    def serve() -> None:
        try:
            with server_context.wrap_socket(server_end, server_side=True) as tls:
                tls.recv(1)
        except OSError:
            server_end.close()  # the client did not like the certificate: its own error tells

    server = threading.Thread(target=serve)
    server.start()
    try:
        with client_context.wrap_socket(client_end, server_hostname=name) as tls:
            return dict(tls.getpeercert() or {})
    finally:
        client_end.close()
        server.join()


@pytest.mark.parametrize("name", ["localhost", "www.example.org", "127.0.0.1", "::1"])
def test_a_client_that_trusts_the_authority_accepts_every_name(tmp_path: Path, name: str) -> None:
    assert "subject" in handshake(tmp_path, local_certificate(tmp_path, NAMES), name)


def test_a_client_refuses_a_name_it_was_not_made_for(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, local_certificate(tmp_path, NAMES), "other.example")


def test_keys_are_private(tmp_path: Path) -> None:
    local_certificate(tmp_path, NAMES)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "tls").iterdir()}
    assert modes == {"ca.pem": 0o644, "ca.key": 0o600, "local.pem": 0o644, "local.key": 0o600}
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700


def test_lifetimes(tmp_path: Path) -> None:
    leaf, authority = read_pair(*local_certificate(tmp_path, NAMES)).chain
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=397)
    assert authority.not_valid_after_utc - authority.not_valid_before_utc >= timedelta(days=3650)


def test_what_is_good_stays(tmp_path: Path) -> None:
    files = local_certificate(tmp_path, NAMES)
    before = [file.read_bytes() for file in files]
    assert [file.read_bytes() for file in local_certificate(tmp_path, NAMES[::-1])] == before


def test_other_names_get_a_new_certificate_from_the_same_authority(tmp_path: Path) -> None:
    local_certificate(tmp_path, NAMES)
    authority = (tmp_path / "tls/ca.pem").read_bytes()
    pair = read_pair(*local_certificate(tmp_path, ["new.example"]))
    assert pair.names == ("new.example",)
    assert (tmp_path / "tls/ca.pem").read_bytes() == authority


def test_a_certificate_near_its_end_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "LEAF_LIFE", timedelta(days=29))
    before = read_pair(*local_certificate(tmp_path, NAMES)).leaf
    monkeypatch.undo()
    after = read_pair(*local_certificate(tmp_path, NAMES)).leaf
    assert after.not_valid_after_utc - before.not_valid_after_utc > timedelta(days=300)


@pytest.mark.parametrize("damaged", ["local.pem", "local.key", "ca.pem", "ca.key"])
def test_what_is_damaged_is_made_anew(tmp_path: Path, damaged: str) -> None:
    local_certificate(tmp_path, NAMES)
    (tmp_path / "tls" / damaged).write_text("torn")
    assert "subject" in handshake(tmp_path, local_certificate(tmp_path, NAMES), "localhost")


def test_no_temporary_file_stays(tmp_path: Path) -> None:
    local_certificate(tmp_path, NAMES)
    assert {file.name for file in (tmp_path / "tls").iterdir()} == {
        "ca.pem",
        "ca.key",
        "local.pem",
        "local.key",
    }


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BootError, match=r"cannot make a certificate in .*: Not a directory; choose another"):
        local_certificate(tmp_path / "file", NAMES)


class TestReadPair:
    @pytest.fixture
    def files(self, tmp_path: Path) -> tuple[Path, Path]:
        return local_certificate(tmp_path, NAMES)

    def test_names(self, files: tuple[Path, Path]) -> None:
        assert set(read_pair(*files).names) == set(NAMES)

    def test_missing(self, files: tuple[Path, Path], tmp_path: Path) -> None:
        with pytest.raises(BootError, match=r"cannot read the certificate .*nope: No such file"):
            read_pair(tmp_path / "nope", files[1])
        with pytest.raises(BootError, match=r"cannot read the private key .*nope: No such file"):
            read_pair(files[0], tmp_path / "nope")

    def test_swapped(self, files: tuple[Path, Path]) -> None:
        with pytest.raises(BootError, match=r"no certificate in .*local.key: it must be a PEM file"):
            read_pair(files[1], files[0])
        with pytest.raises(BootError, match=r"no private key in .*local.pem: it must be a PEM file"):
            read_pair(files[0], files[0])

    def test_of_two_pairs(self, files: tuple[Path, Path], tmp_path: Path) -> None:
        with pytest.raises(BootError, match=r"the private key .*ca.key does not belong to the certificate"):
            read_pair(files[0], tmp_path / "tls/ca.key")

    def test_encrypted(self, files: tuple[Path, Path]) -> None:
        key = read_pair(*files).key
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
        files[1].write_bytes(secret)
        with pytest.raises(BootError, match=r"is encrypted: give one without a passphrase"):
            read_pair(*files)


def test_the_authority_signs_certificates_and_nothing_else(tmp_path: Path) -> None:
    leaf, authority = read_pair(*local_certificate(tmp_path, NAMES)).chain
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert os.stat(tmp_path / "tls/ca.key").st_uid == os.geteuid()
