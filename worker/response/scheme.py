"""How the client reached us, whoever stands between."""

from worker.context import Context


def is_secure(ctx: Context) -> bool:
    """Does the client speak https: to us, or to a trusted proxy that says so?"""
    request = ctx.request
    return request.scheme == b"https" or (
        ctx.peer.trusted and (request.fields.get(b"x-forwarded-proto") or b"").lower() == b"https"
    )
