"""A certification authority of ACME (RFC 8555) that answers from a table, without a network."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import requests
from acme import client
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from josepy.jwk import JWK
from requests.adapters import BaseAdapter

from cluster.acme.authority import Authority
from cluster.acme.store import Order, account_file, save_account
from cluster.settings import AcmeSettings, AuthoritySettings

BASE = "https://ca.test/"
NAME = "a.test"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
KEY = ec.derive_private_key(4711, ec.SECP256R1())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate(key: Any) -> bytes:
    """The same bytes for the same key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    authority = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    return (
        x509.CertificateBuilder(subject, subject, key, 7, datetime(2024, 1, 1), datetime(2034, 1, 1))
        .add_extension(identifier, critical=False)
        .sign(authority, None)
        .public_bytes(Encoding.PEM)
    )


CHAIN = certificate(KEY.public_key())
LEAF = x509.load_pem_x509_certificate(CHAIN)
OTHER = certificate(ec.derive_private_key(42, ec.SECP256R1()).public_key())


def as_json(document: object) -> bytes:
    return json.dumps(document).encode()


WINDOW = {"start": "2025-01-02T04:00:00Z", "end": "2025-01-03T04:00:00Z"}
ORDER = {
    "status": "pending", "expires": "2034-01-05T14:09:07.99Z", "authorizations": [BASE + "authz"],
    "identifiers": [{"type": "dns", "value": NAME}], "finalize": BASE + "finalize",
}  # fmt: skip
CHALLENGE = {"type": "http-01", "url": BASE + "challenge", "token": TOKEN, "status": "pending"}
PROBLEM = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too\nmany", "status": 429}
AUTHORIZATION = {
    "status": "pending", "identifier": {"type": "dns", "value": NAME},
    "challenges": [CHALLENGE, CHALLENGE | {"type": "tls-alpn-01"}, {"type": "dns-77", "url": BASE + "c"}],
}  # fmt: skip
DIRECTORY = {
    name: BASE + path
    for name, path in (("newNonce", "nonce"), ("newAccount", "account"), ("newOrder", "new-order"),
                       ("renewalInfo", "renewal"))
} | {"meta": {"termsOfService": BASE}}  # fmt: skip

# What an authority in good health answers, by the paths of its URLs; the order `valid` has its certificate.
GOOD: dict[str, tuple[int, bytes]] = {
    "directory": (200, as_json(DIRECTORY)),
    "nonce": (200, b""),
    "account": (201, as_json({"status": "valid", "contact": []})),
    "new-order": (201, as_json(ORDER)),
    "order": (200, as_json(ORDER)),
    "authz": (200, as_json(AUTHORIZATION)),
    "challenge": (200, as_json(CHALLENGE)),
    "finalize": (200, as_json(ORDER | {"status": "processing"})),
    "valid": (200, as_json(ORDER | {"status": "valid", "certificate": BASE + "chain"})),
    "chain": (200, CHAIN),
    "renewal": (200, as_json({"suggestedWindow": WINDOW})),
}

SETTINGS = AuthoritySettings(BASE + "directory")
ORDERED = Order(SETTINGS.directory, BASE + "order", PEM.decode())
ISSUED = Order(SETTINGS.directory, BASE + "valid", PEM.decode())

Table = Mapping[str, tuple[int, bytes, str]]  # by path: status, body, Retry-After


class Answers(BaseAdapter):
    """Answers requests from a table, as if they had gone somewhere."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        path = (request.url or "").removeprefix(BASE).partition("/")[0]
        status, body, wait = self._table.get(path, (404, b"", ""))
        answer = requests.Response()
        answer.status_code, answer._content, answer.request = status, body, request
        answer.url = request.url or ""
        answer.headers["Replay-Nonce"] = "bm9uY2U"
        answer.headers["Link"] = f'<{BASE}authz>;rel="up"'
        answer.headers["Location"] = BASE + ("order" if path == "new-order" else path)
        if wait:
            answer.headers["Retry-After"] = wait
        return answer

    def close(self) -> None:
        """There is nothing to close."""


class ScriptedAuthority(Authority):
    """An authority whose answers are at hand."""

    def __init__(self, state_dir: Path, table: Table) -> None:
        super().__init__(SETTINGS, AcmeSettings((SETTINGS,), (NAME,)), state_dir)
        save_account(account_file(state_dir, SETTINGS), PEM)
        self._table = table

    def _network(self, key: JWK) -> client.ClientNetwork:
        net = super()._network(key)
        net.session.mount("https://", Answers(self._table))
        net.session.mount("http://", Answers(self._table))
        return net
