from shmcache.core import Hit
from worker.context import Context
from worker.message import Response

def plain_hit(ctx: Context, hit: Hit, with_body: bool) -> Response:
    """The answer for `hit`, whose verdict and flags the caller has looked at; sets outcome, age_s, ttl_s."""
