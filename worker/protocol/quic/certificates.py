"""The certificates a worker has for QUIC: which one for whom (RFC 6066 3, RFC 8446 4.4.2.2).

Works on bytes, because the files can be read only before a worker gives up its rights. Knows nothing of the
handshake that asks.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

# TLS SignatureScheme by what the key is; in this order where a client can do with several: ECDSA costs us
# a twentieth of RSA.
_CURVES = {"secp256r1": 0x0403, "secp384r1": 0x0503}
_ED25519 = 0x0807
_RSA = (0x0804, 0x0805)  # PSS with SHA-256 and SHA-384


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """A chain, its key, and what the two are good for."""

    leaf: x509.Certificate
    chain: list[x509.Certificate]
    key: Key
    names: tuple[str, ...]
    schemes: tuple[int, ...]


class Certificates:
    """All of them, the first being for clients that ask for no name we know."""

    def __init__(self, certificates: Sequence[Certificate]) -> None:
        by_preference = sorted(certificates, key=lambda certificate: certificate.schemes == _RSA)
        self._by_name: dict[str, list[Certificate]] = {}
        for certificate in by_preference:
            for name in certificate.names:
                self._by_name.setdefault(name, []).append(certificate)
        self.default = certificates[0]
        names = set(self.default.names)
        self._default = [each for each in by_preference if each is self.default or names & set(each.names)]

    @classmethod
    def load(cls, pairs: Sequence[tuple[bytes, bytes]]) -> "Certificates":
        """From pairs of PEM: the chain, beginning with the server's own, and its key. Raises ValueError."""
        return cls([_load(chain, key) for chain, key in pairs])

    def choose(self, server_name: str | None, schemes: Collection[int]) -> Certificate:
        """What to serve a client with that asks for that name and understands these signature schemes.

        Where there are several for the name, the cheapest it understands; when it understands none, any:
        the handshake will fail.
        """
        candidates = self._named(server_name) or self._default
        for certificate in candidates:
            if any(scheme in schemes for scheme in certificate.schemes):
                return certificate
        return candidates[0]

    def _named(self, server_name: str | None) -> list[Certificate] | None:
        if server_name is None:
            return None
        name = server_name.lower()
        return self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])


def _load(chain_pem: bytes, key_pem: bytes) -> Certificate:
    leaf, *chain = x509.load_pem_x509_certificates(chain_pem)
    key = load_pem_private_key(key_pem, None)
    if not isinstance(key, Key):
        raise ValueError(
            f"cannot serve QUIC with a key of type {type(key).__name__}: use RSA, ECDSA or Ed25519"
        )
    if key.public_key() != leaf.public_key():
        raise ValueError("the key does not belong to the certificate")
    return Certificate(leaf, chain, key, _names(leaf), _schemes(key))


def _schemes(key: Key) -> tuple[int, ...]:
    if isinstance(key, rsa.RSAPrivateKey):
        return _RSA
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return (_ED25519,)
    if key.curve.name not in _CURVES:
        raise ValueError(f"cannot serve QUIC with a key on curve {key.curve.name}: use P-256 or P-384")
    return (_CURVES[key.curve.name],)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """The DNS names, in lower case (RFC 9525: the subject's CN counts for nothing)."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))
