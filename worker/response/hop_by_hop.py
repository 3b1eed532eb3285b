"""Store filter: what an answer says to the next hop only must be neither stored nor forwarded.

Runs once on what the origin sent. Knows field names, not the cache.
"""

from worker.context import Context
from worker.fields import CONNECTION
from worker.message import Response

# RFC 9110 7.6.1 and, for the Proxy-* ones, RFC 9111 3.1.
HOP_BY_HOP = (
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"transfer-encoding",
    b"upgrade",
)

# The edge writes the first two itself on every answer; an older value kept in the cache would stand beside
# ours. The next is the targeted field (RFC 9213) that speaks to this edge and to nobody behind it. Alt-Svc
# (RFC 7838) names other ways to the server it comes from: a client would go past the edge, or nowhere.
OURS = (b"x-cache", b"x-request-id", b"edgecluster-cache-control", b"alt-svc")


def drop_hop_by_hop(ctx: Context, response: Response) -> None:
    """Remove hop-by-hop fields, and those the origin's Connection field names (RFC 9110 7.6.1).

    A 101 answer keeps Upgrade: it is the answer's whole meaning, and it is never stored.
    """
    fields = response.fields
    if fields.mask & CONNECTION:
        named = [name.strip().lower() for name in (fields.joined(b"connection") or b"").split(b",")]
        fields.remove(*(name for name in named if name and (response.status != 101 or name != b"upgrade")))
    drop = HOP_BY_HOP if response.status != 101 else tuple(name for name in HOP_BY_HOP if name != b"upgrade")
    fields.remove(*drop, *OURS)
