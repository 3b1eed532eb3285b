"""Which certificate answers whom: by name, and by what the client understands."""

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.quic_edge import pem_pair
from worker.protocol.quic.certificates import Certificates

ECDSA, RSA, ALL = [0x0403], [0x0401, 0x0804], [0x0804, 0x0403, 0x0807]
DEFAULT = pem_pair("default.test", "www.default.test", key_type=trustme.KeyType.RSA)
DEFAULT_EC = pem_pair("www.default.test")
EXACT = pem_pair("a.example.test")
WILD = pem_pair("*.example.test")
BOTH_RSA = pem_pair("both.test", key_type=trustme.KeyType.RSA)
BOTH_EC = pem_pair("both.test")
PAIRS = [DEFAULT, EXACT, WILD, BOTH_RSA, BOTH_EC, DEFAULT_EC]
CERTIFICATES = Certificates.load(PAIRS)


@pytest.mark.parametrize(
    ("name", "schemes", "expected"),
    [
        ("a.example.test", ALL, EXACT),
        ("A.Example.TEST", ALL, EXACT),
        ("b.example.test", ALL, WILD),
        ("a.b.example.test", RSA, DEFAULT),  # a wildcard stands for one label (RFC 9525 6.3)
        ("example.test", RSA, DEFAULT),
        (None, RSA, DEFAULT),
        (None, ECDSA, DEFAULT_EC),  # it has a name of the first: as good as that
        ("", RSA, DEFAULT),
        ("unknown.test", RSA, DEFAULT),
        ("both.test", RSA, BOTH_RSA),
        ("both.test", ECDSA, BOTH_EC),
        ("both.test", ALL, BOTH_EC),  # the cheaper of two
        ("a.example.test", RSA, EXACT),  # none fits: the handshake will say so
        ("a.example.test", [], EXACT),
    ],
)
def test_a_client_is_served_with(name: str | None, schemes: list[int], expected: tuple[bytes, bytes]) -> None:
    chosen = CERTIFICATES.choose(name, schemes)
    assert chosen.leaf == Certificates.load([expected]).default.leaf


def test_the_chain_goes_along() -> None:
    authority = trustme.CA().create_child_ca()
    pair = authority.issue_cert("a.test")
    pem = b"".join(blob.bytes() for blob in pair.cert_chain_pems)
    assert len(Certificates.load([(pem, pair.private_key_pem.bytes())]).default.chain) == 1


def test_a_key_of_another_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match="does not belong"):
        Certificates.load([(EXACT[0], WILD[1])])


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("key", [b"no key", b""])
def test_what_is_no_key_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError):
        Certificates.load([(EXACT[0], key)])


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(ValueError):
        Certificates.load([(b"no certificate", EXACT[1])])
