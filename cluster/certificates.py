"""Certificates on disk: the local authority for development, and the reading of given pairs.

The local authority is made once per state directory and stays; its certificates are issued anew when
the names change or the end comes near. Whoever wants to trust them trusts `tls/ca.pem`. Knows nothing
of TLS contexts.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.errors import BootError
from cluster.unfit import doubtful, mismatch, no_certificate, no_key, weak

AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=397)  # browsers refuse longer ones
RENEW_BEFORE = timedelta(days=30)
CLOCK_SKEW = timedelta(hours=1)  # valid a little earlier, for clients whose clock is behind


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate chain, the certificate in front, with its private key."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def names(self) -> tuple[str, ...]:
        """DNS names and addresses it is for (RFC 9525: subject alternative names only)."""
        try:
            names = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        addresses = names.get_values_for_type(x509.IPAddress)
        return (*names.get_values_for_type(x509.DNSName), *(str(address) for address in addresses))


def local_certificate(state_dir: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """Certificate chain and key for `names` (DNS names and IP addresses), signed by the local authority.

    Made in `state_dir`/tls where missing, for other names, or within 30 days of its end; otherwise what
    is there stays. Keys are 0600. Raises BootError when the directory cannot be written.
    """
    certificate, key = local_files(state_dir)
    folder = certificate.parent
    now = datetime.now(UTC)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = _authority(folder, now)
        if not _still_good(certificate, key, authority, names, now):
            _write_pair(_issue(authority, names, now), certificate, key)
    except OSError as error:
        raise BootError(
            f"cannot make a certificate in {folder}: {error.strerror}; "
            "choose another --state-dir, or give --tls-cert and --tls-key"
        ) from None
    return certificate, key


def local_files(state_dir: Path) -> tuple[Path, Path]:
    """Where the local authority's certificate and key for our names lie."""
    return state_dir / "tls" / "local.pem", state_dir / "tls" / "local.key"


def authority_file(state_dir: Path) -> Path:
    """Where the certificate of the local authority itself lies, for those who want to trust it."""
    return state_dir / "tls" / "ca.pem"


def read_pair(certificate: Path, key: Path) -> Pair:
    """The pair in these PEM files; BootError says what is wrong with them."""
    chain_text, key_text = _read("certificate", certificate), _read("private key", key)
    try:
        chain = tuple(x509.load_pem_x509_certificates(chain_text))
    except ValueError:
        raise BootError(no_certificate(certificate, chain_text)) from None
    try:
        private = load_pem_private_key(key_text, None)
    except TypeError:
        raise BootError(
            f"the private key {key} is encrypted: give one without a passphrase "
            f"(openssl pkey -in {key} -out plain.key)"
        ) from None
    except ValueError:
        raise BootError(no_key(key, key_text)) from None
    if _public(chain[0].public_key()) != _public(private.public_key()):
        raise BootError(mismatch(certificate, key, chain, private.public_key()))
    return Pair(chain, private)


def read_given(certificate: Path, key: Path) -> tuple[Pair, list[str]]:
    """The pair in these PEM files, and what some clients will not like about it.

    BootError says what is wrong with it: it cannot be read, does not fit together, or is too weak.
    """
    pair = read_pair(certificate, key)
    for words in weak(certificate, pair.chain):
        raise BootError(words)
    return pair, list(doubtful(certificate, pair.chain))


def covers(name: str, host: str) -> bool:
    """Whether a certificate's name is good for a host; a wildcard stands for one label (RFC 9525 6.3)."""
    host = host.strip("[]")
    if name == host:
        return True
    return name.startswith("*.") and fnmatchcase(host, name) and host.count(".") == name.count(".")


def _read(what: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BootError(f"cannot read the {what} {path}: {error.strerror}; {_todo(error)}") from None


def _todo(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "let the user who starts the edge read it"
    return "give the path of a PEM file"


def _authority(folder: Path, now: datetime) -> Pair:
    """The local authority, made when there is none that can be used."""
    certificate, key = folder / "ca.pem", folder / "ca.key"
    try:
        pair = read_pair(certificate, key)
        if pair.leaf.not_valid_after_utc - now > RENEW_BEFORE:
            return pair
    except BootError:
        pass  # missing, or half of it is: make both
    private = ec.generate_private_key(ec.SECP256R1())
    # Two authorities of one name would confuse clients that trust both.
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"edgecluster local authority {os.urandom(4).hex()}")]
    )
    public = private.public_key()
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        _builder(name, name, public, now, now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    pair = Pair((builder.sign(private, hashes.SHA256()),), private)
    _write_pair(pair, certificate, key)
    return pair


def _issue(authority: Pair, names: Sequence[str], now: datetime) -> Pair:
    private = ec.generate_private_key(ec.SECP256R1())
    until = min(now + LEAF_LIFE - CLOCK_SKEW, authority.leaf.not_valid_after_utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    issuer_id = authority.leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(subject, authority.leaf.subject, private.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False
        )
    )
    assert isinstance(authority.key, ec.EllipticCurvePrivateKey)
    return Pair((builder.sign(authority.key, hashes.SHA256()), authority.leaf), private)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _still_good(certificate: Path, key: Path, authority: Pair, names: Sequence[str], now: datetime) -> bool:
    try:
        pair = read_pair(certificate, key)
        pair.leaf.verify_directly_issued_by(authority.leaf)
    except (BootError, ValueError, TypeError, InvalidSignature):
        return False
    in_time = pair.leaf.not_valid_after_utc - now > RENEW_BEFORE
    return in_time and set(pair.names) == set(names)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _write_pair(pair: Pair, certificate: Path, key: Path) -> None:
    """Key first: a crash in between leaves a pair that does not match, which is made anew."""
    write_whole(key, pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    write_whole(certificate, b"".join(one.public_bytes(Encoding.PEM) for one in pair.chain), 0o644)


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Replace the file whole: a reader sees the old or the new one."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)  # a temporary file is 0600 from its first moment
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, mode)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
