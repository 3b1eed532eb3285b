"""Which host names a public certification authority could vouch for."""

from ipaddress import ip_address

# Names that nobody can own in the public DNS (RFC 6761, 6762, 7686, 8375; .internal is reserved by ICANN).
_PRIVATE = ("localhost", "local", "internal", "home.arpa", "invalid", "example", "onion")


def is_public(host: str) -> bool:
    """Whether `host` (lower case, without port) is a single DNS name that may be public.

    Addresses, single labels, reserved names and wildcards are not: the first have no owner to be asked, and
    wildcards cannot be proven over HTTP (RFC 8555 8.3).
    """
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        private = any(host == name or host.endswith(f".{name}") for name in _PRIVATE)
        return "." in host and "*" not in host and not private
    return False
