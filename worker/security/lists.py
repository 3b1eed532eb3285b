"""Access lists read from settings and files, into memory that all workers share.

Knows the files' format; when they are read, and what happens if they cannot be, is for the caller.
"""

from collections.abc import Iterable
from pathlib import Path

from worker.networks import NetworkError, NetworkMap
from worker.settings import AccessSettings, Network

ALLOW = 1
DENY = 2  # larger: holds where both name the same network


class ListError(Exception):
    """A list that cannot be used; the message says which file and line, and why."""


def read_networks(settings: AccessSettings) -> NetworkMap:
    """The networks that the settings name, and those in the files they name. Raises ListError."""
    sources = [
        (None, lines(settings.allow), ALLOW),
        (None, lines(settings.deny), DENY),
        *((path, _content(path), ALLOW) for path in settings.allow_files),
        *((path, _content(path), DENY) for path in settings.deny_files),
    ]
    try:
        return NetworkMap((text, value) for _, text, value in sources)
    except NetworkError as error:
        path, text, _ = sources[error.source]
        line = text.splitlines()[error.line - 1][:80].decode("utf-8", "replace").strip()
        raise ListError(
            f"{path}:{error.line}: {error.args[0]}: {line!r}; expected one network a line such as "
            "192.0.2.0/24 or 2001:db8::/32, comments behind # or ;"
        ) from None


def lines(networks: Iterable[Network | str]) -> bytes:
    """The text of a list of these."""
    return "\n".join(map(str, networks)).encode()


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ListError(f"cannot read {path}: {error.strerror}") from None
