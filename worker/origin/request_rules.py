"""Fields that a route sets, adds or removes on requests to its origin."""

from collections.abc import Awaitable, Callable
from typing import Any

from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.settings import HeaderSettings


class RuledFetch:
    """A fetch stage whose origin gets other fields. Which may be changed is for the configuration to know."""

    def __init__(self, fetch: Callable[..., Awaitable[Response]], rules: HeaderSettings) -> None:
        self._fetch = fetch
        self._dropped = (*rules.remove, *(name.lower() for name, _ in rules.set))
        self._lines = Fields.of([*rules.set, *rules.add]).encode()

    def __call__(
        self, ctx: Context, extra: Fields | None = None, drop: tuple[bytes, ...] = (), *how: Any, **more: Any
    ) -> Awaitable[Response]:
        lines = self._lines
        if extra is not None:
            lines += extra.encode_without(self._dropped)
        return self._fetch(ctx, Fields.trusted(lines) if lines else None, drop + self._dropped, *how, **more)
