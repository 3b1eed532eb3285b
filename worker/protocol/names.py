"""Which of several names a client asks for (SNI, RFC 6066 3), whatever carries the question: TLS or QUIC.

Names are lower-case, exact or a wildcard for one label (RFC 9525 6.3). Knows nothing of certificates.
"""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def choose(names: Mapping[str, T], asked: str | None) -> T | None:
    """What stands for the name that was asked for, exact before wildcard; None when nothing does.

    `asked` may be in any case and end with the root's dot; None is a client that asks for no name.
    """
    if asked is None:
        return None
    name = asked.lower().removesuffix(".")
    found = names.get(name)
    return found if found is not None else names.get("*." + name.partition(".")[2])
