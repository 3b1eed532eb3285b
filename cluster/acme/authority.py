"""A certification authority as a client of ACME (RFC 8555) sees it: blocking calls, each of a request or two.

Every failure is an AuthorityError that says what the authority said. Waiting, files of certificates and the
answering of challenges are the caller's.
"""

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import josepy
import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

from cluster.acme.schedule import retry_after_s
from cluster.acme.store import Order, account_file, save_account
from cluster.settings import AcmeSettings, AuthoritySettings, BindingSettings
from cluster.version import VERSION

T = TypeVar("T")

TIMEOUT_S: Final = 15
NONCES: Final = 4  # tries of a request whose nonce the authority does not like (RFC 8555 6.5)
RETRY_STATUSES: Final = (429, 503)
MOST_CHARACTERS: Final = 1000  # of what went wrong: it is logged, kept and shown

# What the libraries raise for documents that are not what ACME has: few look at types before they use them.
_NOT_ACME: Final = (
    errors.Error, josepy.errors.Error, UnsupportedAlgorithm, ValueError, LookupError, TypeError,
    AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip


@challenges.ChallengeResponse.register
class TlsAlpn01Response(challenges.KeyAuthorizationChallengeResponse):
    """That the authority may look (RFC 8737 3)."""

    typ = "tls-alpn-01"


@challenges.Challenge.register
class TlsAlpn01(challenges.KeyAuthorizationChallenge):
    """The challenge that the `acme` package has dropped."""

    response_cls = TlsAlpn01Response
    typ = response_cls.typ

    def validation(self, account_key: JWK, **_named: Any) -> str:
        """What the certificate has to prove."""
        return self.key_authorization(account_key)


class AuthorityError(Exception):
    """What went wrong, in one line. `is_general`: it would for every name; `retry_after_s`: what we are asked
    to wait."""

    def __init__(self, message: str, *, is_general: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(_line(message))
        self.is_general = is_general
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Challenge:
    """A way to prove a name: what is to be shown, and by what token it is asked for."""

    kind: str  # "http-01"
    token: bytes
    answer: bytes  # the key authorization (RFC 8555 8.1)
    body: messages.ChallengeBody


@dataclass(frozen=True, slots=True)
class OrderState:
    """What has become of an order."""

    status: str  # pending, ready, processing, valid, invalid
    error: str
    challenges: tuple[Challenge, ...]  # those of which one is to be answered
    resource: messages.OrderResource


@dataclass(frozen=True, slots=True)
class RenewalWindow:
    """From when until when an authority would have a certificate renewed; wall-clock seconds."""

    start_s: float
    end_s: float
    retry_after_s: float  # what to wait before asking again; 0: it does not say


class Authority:
    """One authority, and our account with it."""

    def __init__(self, settings: AuthoritySettings, acme: AcmeSettings, state_dir: Path) -> None:
        self.settings = settings
        self._email = acme.email
        self._account_file = account_file(state_dir, settings)
        self._retry_after = ""

    def open(self) -> None:
        """Read its directory and find our account there, or make one. Raises AuthorityError or OSError."""
        self._key = JWKEC(key=self._account_key())
        self._net = self._network(self._key)
        url = self.settings.directory
        found = self._call(lambda: self._net.get(url).json())
        if not isinstance(found, dict) or "newOrder" not in found:
            raise AuthorityError(f"{url} is not the directory of an ACME authority", is_general=True)
        directory = self._call(lambda: messages.Directory.from_json(found))
        self._client = client.ClientV2(directory, self._net)
        self._call(self._find_account)

    def _network(self, key: JWK) -> client.ClientNetwork:
        """What carries our requests."""
        net = client.ClientNetwork(key, alg=ES256, user_agent=f"edgecluster/{VERSION}", timeout=TIMEOUT_S)
        if self.settings.ca_file is not None:
            net.verify_ssl = str(self.settings.ca_file)  # type: ignore[assignment]  # as requests has it
        net.session.hooks["response"].append(self._note)
        return net

    def new_order(self, name: str) -> Order:
        """Order a certificate for `name`, with a new key."""
        private = ec.generate_private_key(ec.SECP256R1())
        key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        csr = crypto_util.make_csr(key, [name])
        made = self._call(lambda: self._client.new_order(csr))
        return Order(self.settings.directory, str(made.uri), key.decode())

    def look(self, name: str, order: Order) -> OrderState:
        """Where the order stands."""
        csr = crypto_util.make_csr(order.key.encode(), [name])
        return self._call(lambda: self._state(order, csr))

    def _state(self, order: Order, csr: bytes) -> OrderState:
        body = messages.Order.from_json(self._call(lambda: self._post(order.url)).json())
        resource = messages.OrderResource(body=body, uri=order.url, csr_pem=csr, authorizations=())
        status = str(body.status.name)
        found: list[Challenge] = []
        error = _words(body.error) if body.error is not None else ""
        if status in ("pending", "invalid"):
            for url in body.authorizations:
                asked = messages.AuthorizationResource(uri=url, body=messages.Authorization())
                authorization, _ = self._call(partial(self._client.poll, asked))
                for one in authorization.body.challenges:
                    challenge = self._challenge(one)
                    error = f"{challenge.kind}: {_words(one.error)}" if one.error is not None else error
                    if authorization.body.status == messages.STATUS_PENDING:
                        found.append(challenge)
        return OrderState(status, error, tuple(found), resource)

    def answer(self, challenge: Challenge) -> None:
        """Tell the authority that it may look now."""
        if challenge.body.status == messages.STATUS_PENDING:
            response = challenge.body.response(self._key)
            self._call(lambda: self._client.answer_challenge(challenge.body, response))

    def finalize(self, state: OrderState) -> None:
        """Ask for the certificate to be issued."""
        self._call(lambda: self._client.begin_finalization(state.resource))

    def chain(self, state: OrderState) -> str:
        """The certificate, of the key that was asked for, with its intermediates, PEM."""
        answer = self._call(lambda: self._post(str(state.resource.body.certificate)))
        try:
            return _chain_of(answer.content, state.resource.csr_pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise AuthorityError(f"the authority sent a certificate that is no use: {error}") from error

    def renewal_window(self, leaf: x509.Certificate) -> RenewalWindow | None:
        """When it would have that certificate renewed (RFC 9773); None: it does not say such things."""
        try:
            base, identifier = self._client.directory["renewalInfo"], certificate_id(leaf)
        except (KeyError, x509.ExtensionNotFound):
            return None

        def ask() -> RenewalWindow:
            answer = self._net.get(f"{base}/{identifier}")
            window = answer.json()["suggestedWindow"]
            start_s, end_s = (datetime.fromisoformat(window[end]).timestamp() for end in ("start", "end"))
            if end_s < start_s:
                raise ValueError(f"a window that ends before it begins: {window}")
            wait_s = retry_after_s(answer.headers.get("Retry-After", ""), time.time())
            return RenewalWindow(start_s, end_s, wait_s)

        return self._call(ask)

    def _account_key(self) -> ec.EllipticCurvePrivateKey:
        try:
            key = load_pem_private_key(self._account_file.read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey), "we make no other"
            return key
        except FileNotFoundError:
            key = ec.generate_private_key(ec.SECP256R1())
        except (ValueError, TypeError):
            raise AuthorityError(
                f"the account key {self._account_file} is damaged: remove it, and a new account is made",
                is_general=True,
            ) from None
        save_account(self._account_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return key

    def _find_account(self) -> None:
        """The account of our key; made on the first time (RFC 8555 7.3)."""
        binding = self.settings.binding
        if binding is None and self._client.external_account_required():
            raise AuthorityError(
                f"{self.settings.directory} wants an account that was made beforehand (external account "
                "binding): get one from it, and give its 'kid' and 'key' as 'eab' of 'acme'",
                is_general=True,
            )
        try:
            bound = None
            if binding is not None:
                self._seek_account()
                bound = self._bound_to(binding)
            wanted = messages.NewRegistration.from_data(
                email=self._email, external_account_binding=bound, terms_of_service_agreed=True
            )
            self._client.new_account(wanted)
        except errors.ConflictError as there:
            self._net.account = messages.RegistrationResource(
                uri=there.location, body=messages.Registration()
            )

    def _seek_account(self) -> None:
        """Raise ConflictError, which names the account, if there is one of our key already.

        A binding may be good for one account only: it is not shown again without need.
        """
        try:
            self._client.new_account(messages.NewRegistration(only_return_existing=True))
        except messages.Error as error:
            if error.code != "accountDoesNotExist":
                raise

    def _bound_to(self, binding: BindingSettings) -> dict[str, Any]:
        """The proof that our key may speak for that account (RFC 8555 7.3.4)."""
        try:
            key = binding.key if binding.key_file is None else binding.key_file.read_text().strip()
            return messages.ExternalAccountBinding.from_data(
                self._key.public_key(), binding.kid, key, self._client.directory
            )
        except OSError as error:
            words = f"cannot read the key of the account {binding.kid}, {error.filename}: {error.strerror}"
        except ValueError:
            words = f"the key of the account {binding.kid} ('eab' of 'acme') is not base64url"
        raise AuthorityError(words, is_general=True)

    def _challenge(self, body: messages.ChallengeBody) -> Challenge:
        if not isinstance(body.chall, challenges.KeyAuthorizationChallenge):
            return Challenge(str(body.to_json().get("type")), b"", b"", body)  # none that we could answer
        answer = body.chall.key_authorization(self._key)
        return Challenge(body.chall.typ, body.chall.encode("token").encode(), answer.encode(), body)

    def _post(self, url: str) -> requests.Response:
        """POST-as-GET (RFC 8555 6.3)."""
        return self._net.post(url, None, new_nonce_url=self._client.directory["newNonce"])

    def _note(self, response: requests.Response, *_args: Any, **_named: Any) -> None:
        limited = response.status_code in RETRY_STATUSES
        self._retry_after = response.headers.get("Retry-After", "") if limited else ""

    def _call(self, request: Callable[[], T]) -> T:
        """What `request` gives; a refused nonce is worth another try, all else is an AuthorityError."""
        tries = NONCES
        while True:
            try:
                return request()
            except messages.Error as error:
                tries -= 1
                if error.code == "badNonce" and tries:
                    continue
                general = error.code in ("rateLimited", "serverInternal", "userActionRequired", "badNonce")
                raise AuthorityError(
                    f"the authority refused: {_words(error)}",
                    is_general=general,
                    retry_after_s=self._wait_s(),
                ) from error
            except _NOT_ACME as error:
                raise AuthorityError(
                    f"the authority {self.settings.directory} did not answer as ACME has it: {error!r}",
                    is_general=True,
                    retry_after_s=self._wait_s(),
                ) from error
            except requests.RequestException as error:
                raise AuthorityError(
                    f"cannot reach the authority {self.settings.directory}: {_reason(error)}", is_general=True
                ) from error

    def _wait_s(self) -> float:
        """What its last answer asked us to wait."""
        return retry_after_s(self._retry_after, time.time())


def certificate_id(leaf: x509.Certificate) -> str:
    """What a certificate is called when its renewal is asked for (RFC 9773 4.1). Raises ExtensionNotFound."""
    issuer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier or b""
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in (issuer, serial))


def _chain_of(pem: bytes, csr_pem: bytes) -> str:
    """The certificates that were sent, and nothing else that was. Raises ValueError if they are no use."""
    chain = x509.load_pem_x509_certificates(pem)
    if chain[0].public_key() != x509.load_pem_x509_csr(csr_pem).public_key():
        raise ValueError("a certificate of another key than the one it was asked for")
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in chain)


def _words(error: messages.Error) -> str:
    """A problem document (RFC 7807)."""
    return f"{error.code or error.typ}: {error.detail or error.title or 'no detail given'}"


def _line(text: str) -> str:
    """As one line that any terminal may show."""
    words = "".join(mark if mark.isprintable() else " " for mark in text).split()
    return " ".join(words)[:MOST_CHARACTERS]


def _reason(error: requests.RequestException) -> str:
    """The innermost cause: requests and urllib3 wrap it several times."""
    inner: BaseException = error
    while inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    reason = getattr(inner, "reason", None)
    return str(reason if isinstance(reason, BaseException) else inner)
