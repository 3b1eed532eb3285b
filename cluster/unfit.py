"""Why a certificate or its key cannot be served, or should not: what, where, and what to do about it.

The same words for `check`, start, reload and `status`. Knows the content of files, and reads none but the
list of authorities that this system trusts.
"""

import ssl
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key

RSA_BITS = 2048  # less is refused by OpenSSL at its usual level of security, and by every browser
_WEAK_HASHES = (hashes.SHA1, hashes.MD5)


def no_certificate(path: Path, content: bytes) -> str:
    """Of a file that holds none in PEM format."""
    try:
        x509.load_der_x509_certificate(content)
    except ValueError:
        pass
    else:
        return _convert("certificate", path, f"openssl x509 -inform der -in {path} -out {path.stem}.pem")
    if b"-----BEGIN CERTIFICATE-----" in content:
        return f"cannot read the certificate in {path}: it is damaged or cut off; copy it anew"
    if b"PRIVATE KEY-----" in content:
        return (
            f"no certificate in {path}: it must be a PEM file, and holds a private key; are the two mixed up?"
        )
    return f"no certificate in {path}: it must be a PEM file (-----BEGIN CERTIFICATE-----)"


def no_key(path: Path, content: bytes) -> str:
    """Of a file that holds no private key in PEM format."""
    try:
        load_der_private_key(content, None)
    except (ValueError, TypeError):
        pass
    else:
        return _convert("private key", path, f"openssl pkey -inform der -in {path} -out {path.stem}.key.pem")
    if b"PRIVATE KEY-----" in content:
        return f"cannot read the private key in {path}: it is damaged or cut off; copy it anew"
    if b"-----BEGIN CERTIFICATE-----" in content:
        return (
            f"no private key in {path}: it must be a PEM file, and holds a certificate; are the two mixed up?"
        )
    return f"no private key in {path}: it must be a PEM file (-----BEGIN PRIVATE KEY-----)"


def mismatch(certificate: Path, key: Path, chain: Sequence[x509.Certificate], public: PublicKeyTypes) -> str:
    """Of a key that is not that of the first certificate."""
    if any(one.public_key() == public and not _is_authority(one) for one in chain[1:]):
        return (
            f"the chain in {certificate} begins with the certificate of {_who(chain[0])}: "
            "put the server's own first, then that which signed it, and so on"
        )
    return (
        f"the private key {key} does not belong to the certificate {certificate} for {_who(chain[0])}: "
        "give the key that was made for it, or have a certificate issued for this key"
    )


def weak(certificate: Path, chain: Sequence[x509.Certificate]) -> Iterator[str]:
    """What no client accepts any more."""
    for one in chain:
        key = one.public_key()
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS:
            yield (
                f"{certificate}: the RSA key of {_who(one)} has {key.key_size} bits, and clients refuse less "
                f"than {RSA_BITS}; have it issued anew, with a key of {RSA_BITS} bits or an ECDSA one"
            )
        if isinstance(one.signature_hash_algorithm, _WEAK_HASHES) and not _is_self_signed(one):
            yield (
                f"{certificate}: {_who(one)} is signed with {one.signature_hash_algorithm.name.upper()}, "
                "which clients refuse; have it issued anew"
            )


def doubtful(certificate: Path, chain: Sequence[x509.Certificate]) -> Iterator[str]:
    """What some clients will refuse: a chain with a gap, or out of order."""
    for one, following in pairwise(chain):
        if one.issuer != following.subject:
            yield (
                f"{certificate} is out of order: {_who(one)} is followed by {_who(following)}, which did not "
                "sign it; put the server's certificate first, then that which signed it, and so on"
            )
            return
    last = chain[-1]
    if not _is_self_signed(last) and last.issuer.public_bytes() not in _trusted(*_trust_files()):
        yield (
            f"{certificate} for {_who(chain[0])} comes without the certificate of "
            f"{last.issuer.rfc4514_string()}: clients that lack it refuse; append it to the file"
        )


def _convert(what: str, path: Path, command: str) -> str:
    return f"the {what} {path} is in DER format: convert it to PEM ({command})"


def _who(certificate: x509.Certificate) -> str:
    """A certificate in few words: its first name, else its subject."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return certificate.subject.rfc4514_string() or "nobody"
    return next(iter(names.get_values_for_type(x509.DNSName)), certificate.subject.rfc4514_string())


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _is_self_signed(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject


def _trust_files() -> tuple[Path, ...]:
    """Where this system keeps the authorities it trusts, as OpenSSL finds them."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return (Path(paths.cafile),)
    return tuple(sorted(Path(paths.capath).glob("*.0"))) if paths.capath else ()


@lru_cache(1)
def _trusted(*files: Path) -> frozenset[bytes]:
    """The names of the authorities in these files."""
    found: set[bytes] = set()
    for path in files:
        try:
            with warnings.catch_warnings(
                action="ignore"
            ):  # old ones break rules that are not ours to enforce
                certificates = x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError):
            continue  # one less that is known
        found |= {one.subject.public_bytes() for one in certificates}
    return frozenset(found)
