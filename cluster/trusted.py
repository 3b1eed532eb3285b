"""Which of the sites' hosts clients can reach by https without a warning: what automatic redirects go by.

A host counts when its name is public and a certificate is served for it that was given or issued, and is in
time. The local authority's are not trusted by anyone; neither is a certificate that signs itself, nor what
comes from Let's Encrypt's staging environment.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from cluster.acme.names import is_public
from cluster.acme.store import issued_pairs
from cluster.certificates import Pair, covers, read_pair
from cluster.errors import BootError
from cluster.settings import ClusterSettings

_STAGING = "(STAGING)"  # how the names of those authorities begin


def trusted_hosts(settings: ClusterSettings) -> tuple[bytes, ...]:
    """Those hosts as the sites name them, wildcards too; none unless we listen on http and on https."""
    if {"http", "https"} - {listener.scheme for listener in settings.worker.listeners}:
        return ()
    names = [name for pair in _pairs(settings) for name in pair.names]
    hosts = (host for site in settings.worker.sites for host in site.hosts)
    return tuple(host for host in hosts if _is_served(host.decode(), names))


def _pairs(settings: ClusterSettings) -> Iterator[Pair]:
    """The pairs that clients trust."""
    now = datetime.now(UTC)
    for files in settings.certificates + issued_pairs(settings):
        try:
            pair = read_pair(files.certificate, files.key)
        except BootError:  # the contexts tell of it
            continue
        leaf = pair.leaf
        in_time = leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc
        if in_time and leaf.issuer != leaf.subject and _STAGING not in leaf.issuer.rfc4514_string():
            yield pair


def _is_served(host: str, names: list[str]) -> bool:
    return is_public(host.removeprefix("*.")) and any(covers(name, host) for name in names)
