"""Which certificates serve which name, when there are several: one for each kind of key, side by side.

OpenSSL keeps one certificate of each kind in a context and gives a client the one it can verify. Knows names
and kinds, neither files nor contexts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes


@dataclass(frozen=True, slots=True)
class Offer:
    """What a certificate is for."""

    names: tuple[str, ...]  # DNS names in lower case
    kind: str  # of its key


def serving(offers: Sequence[Offer]) -> dict[str, tuple[int, ...]]:
    """The offers, by index, that serve each name: of each kind of key the first that claims it.

    A wildcard does not join an exact name: whoever gave that its own certificate wants no other for it.
    """
    claimed: dict[str, dict[str, int]] = {}
    for index, offer in enumerate(offers):
        for name in offer.names:
            claimed.setdefault(name, {}).setdefault(offer.kind, index)
    return {name: tuple(kinds.values()) for name, kinds in claimed.items()}


def kind_of(key: CertificatePublicKeyTypes) -> str:
    """The place a key takes in a context; ECDSA keys of all curves share one."""
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa"
    return "ec" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
