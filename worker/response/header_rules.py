"""Send filter: fields that a route sets, adds or removes on answers to clients.

Runs at sending, so nothing of it is stored, and a reload changes hits too. The edge's own fields come later.
"""

from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.response.scheme import is_secure
from worker.settings import HeaderSettings

_HSTS = b"strict-transport-security"


class HeaderRules:
    """Changes the fields of every answer of a route. `hsts` is a value, for https only (RFC 6797 7.2)."""

    def __init__(self, rules: HeaderSettings, hsts: bytes | None = None) -> None:
        self._dropped: tuple[bytes, ...] = (*rules.remove, *(name.lower() for name, _ in rules.set))
        self._lines = self._secure = Fields.of([*rules.set, *rules.add]).encode()
        if hsts is not None:
            self._dropped += (_HSTS,)
            self._secure += b"Strict-Transport-Security: %b\r\n" % hsts

    def __call__(self, ctx: Context, response: Response) -> None:
        fields = response.fields
        if self._dropped:
            fields.remove(*self._dropped)
        lines = self._lines if self._lines is self._secure or not is_secure(ctx) else self._secure
        if lines:
            fields.append_lines(lines)
