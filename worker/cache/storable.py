"""May a response be stored by a shared cache (RFC 9111 3)? Pure; every no has its word."""

from worker.cache.control import RequestControl, ResponseControl
from worker.cache.key import vary_names
from worker.fields import AUTHORIZATION, SET_COOKIE, VARY, Fields
from worker.reasons import NotStorable

# Statuses whose caching needs no explicit permission (RFC 9110 15.1).
HEURISTICALLY_CACHEABLE = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
# Statuses whose caching requirements we know, for must-understand (RFC 9111 5.2.2.3).
UNDERSTOOD = HEURISTICALLY_CACHEABLE | {302, 303, 307, 400, 401, 403, 500, 502, 503, 504}

# Reasons that lie in the request: another request for the same target may fare better.
OF_REQUEST = frozenset({NotStorable.METHOD, NotStorable.REQUEST_NO_STORE, NotStorable.AUTHORIZATION})


def refusal(
    request_fields: Fields, asked: RequestControl, status: int, fields: Fields, control: ResponseControl
) -> NotStorable | None:
    """The part of `not_storable` that needs no times: what the two messages say outright."""
    if asked.no_store:
        return NotStorable.REQUEST_NO_STORE
    reason = _status_reason(status, control)
    if reason is not None:
        return reason
    if control.private:
        return NotStorable.PRIVATE
    mask = fields.mask
    if mask & VARY and vary_names(fields) == (b"*",):
        return NotStorable.VARY_STAR
    if (request_fields.mask & AUTHORIZATION or b"client-cert" in request_fields) and not (
        control.public or control.must_revalidate or control.s_maxage is not None
    ):  # RFC 9111 3.5; who is known by a certificate is as who is known by a password
        return NotStorable.AUTHORIZATION
    if mask & SET_COOKIE and not control.public:
        return NotStorable.SET_COOKIE
    return None


def not_storable(
    request_fields: Fields,
    asked: RequestControl,
    status: int,
    fields: Fields,
    control: ResponseControl,
    *,
    lifetime_s: int | None,
    length: int | None,
    max_bytes: int,
) -> NotStorable | None:
    """Why the answer to this GET may not be stored; None if it may.

    `lifetime_s` as `freshness_lifetime` found it, `length` the body's announced bytes (None: unknown).
    A Set-Cookie is one client's own unless the origin says `public`: stricter than RFC 9111 7.3, as every
    careful edge is. A response without a lifetime is kept for its validator alone.
    """
    reason = refusal(request_fields, asked, status, fields, control)
    if reason is not None:
        return reason
    if not _is_worth_keeping(status, fields, control, lifetime_s):
        return NotStorable.NO_LIFETIME
    if length is not None and length > max_bytes:
        return NotStorable.TOO_LARGE
    return None


def _status_reason(status: int, control: ResponseControl) -> NotStorable | None:
    if status == 206:
        return NotStorable.PARTIAL_CONTENT
    if status < 200 or status == 304 or status > 599:
        return NotStorable.STATUS
    if control.must_understand:  # overrides no-store for a status we understand
        return None if status in UNDERSTOOD else NotStorable.STATUS
    return NotStorable.NO_STORE if control.no_store else None


def _is_worth_keeping(status: int, fields: Fields, control: ResponseControl, lifetime_s: int | None) -> bool:
    """Has it time to live, or time past it, or at least a validator to be asked about?"""
    if lifetime_s and not control.no_cache:
        return True
    windows = control.stale_while_revalidate or control.stale_if_error
    if windows and lifetime_s is not None and not control.forbids_stale:
        return True
    if lifetime_s is None and not (control.public or status in HEURISTICALLY_CACHEABLE):
        return False  # no-cache alone permits nothing
    return is_validatable(fields)


def is_validatable(fields: Fields) -> bool:
    """Has it something to ask the origin about later (RFC 9110 8.8)?"""
    return b"etag" in fields or b"last-modified" in fields
