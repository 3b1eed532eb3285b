"""Which methods a route takes. What others of them mean is nobody's business here."""

from collections.abc import Callable, Sequence

from worker.context import Context
from worker.message import Response
from worker.reasons import Block

Refuse = Callable[[Context, int, Block], Response]


class MethodGate:
    """Answers 405 with Allow (RFC 9110 15.5.6) to every other method.

    HEAD is taken where GET is, since it asks for less. PURGE is not an origin's: it has a rule of its own.
    """

    def __init__(self, methods: Sequence[bytes], refuse: Refuse) -> None:
        allowed = list(dict.fromkeys(methods))
        if b"GET" in allowed and b"HEAD" not in allowed:
            allowed.insert(allowed.index(b"GET") + 1, b"HEAD")
        self._taken = frozenset((*allowed, b"PURGE"))
        self._allow = b", ".join(allowed)
        self._refuse = refuse

    def __call__(self, ctx: Context) -> Response | None:
        if ctx.request.method in self._taken:
            return None
        response = self._refuse(ctx, 405, Block.METHOD)
        response.fields.append(b"Allow", self._allow)
        return response
