"""What a shared cache must not do, as sentences of RFC 9111 and its kin: the names by which a run counts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A requirement. `strength`: MUST, SHOULD, or MAY for what a cache may leave out (request directives)."""

    section: str
    strength: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.section} ({self.strength}): {self.sentence}"


METHOD = Rule(
    "3",
    "MUST",
    "stored only if the request method is understood; an answer to POST answers no GET (RFC 9110 9.3.3)",
)
BODYLESS = Rule(
    "4", "MUST", "the stored response's method allows it to be used: a HEAD's answer has no body for a GET"
)
STATUS = Rule("3", "MUST", "206, 304 and must-understand: only if the cache understands the status code")
NO_STORE = Rule("5.2.2.5", "MUST", "no-store: a cache must not store any part of the response")
PRIVATE = Rule("5.2.2.7", "MUST", "private: a shared cache must not store the response")
PRIVATE_NAMED = Rule("5.2.2.7", "MUST", "private with names: a shared cache must not store the named fields")
NO_CACHE = Rule("5.2.2.4", "MUST", "no-cache: not used for any other request without validation")
NO_CACHE_NAMED = Rule(
    "5.2.2.4", "MUST", "no-cache with names: the named fields are not sent without validation"
)
AUTHORIZATION = Rule(
    "3.5", "MUST", "an answer to a request with Authorization needs public, must-revalidate or s-maxage"
)
PERMISSION = Rule(
    "3", "MUST", "something must permit storing: public, a lifetime, or a heuristically cacheable status"
)
PARTIAL = Rule("3.3", "MUST", "no incomplete response without making it known as such")
VARY_STAR = Rule("4.1", "MUST", "a stored Vary of * always fails to match")
VARY = Rule("4.1", "MUST", "the fields that Vary names must match those of the stored response's request")
STALE = Rule("4.2.4", "MUST", "no stale response unless disconnected or permitted by client or origin")
STALE_FORBIDDEN = Rule(
    "5.2.2.2", "MUST", "must-revalidate, proxy-revalidate, s-maxage: not stale without validation"
)
EXPIRES_INVALID = Rule("5.3", "MUST", "an invalid Expires, 0 above all, is in the past")
INVALID = Rule("4.2.1", "SHOULD", "invalid lifetimes are stale; of several the first, or stale")
INVALIDATED = Rule("4.4", "MUST", "a successful unsafe request invalidates what is stored for its target")
SELECTS = Rule("4.3.4", "MUST", "a 304 with a validator updates only what has the same")
NEWEST = Rule("4", "MUST", "of several suitable stored responses the most recent")
TARGETED = Rule(
    "RFC 9213 2.2", "MUST", "a valid targeted field decides in place of Cache-Control and Expires"
)
NOT_MODIFIED = Rule("RFC 9110 13.2.2", "MUST", "a 304 only where the request's own condition says so")
IF_RANGE = Rule("RFC 9110 13.1.5", "MUST", "no part where If-Range does not match")
RANGE_OF_HEAD = Rule("RFC 9110 14.2", "MUST", "Range is ignored for any method but GET")
PART = Rule("RFC 9110 15.3.7", "MUST", "a 206 holds the bytes that its Content-Range names")
AGE = Rule("4", "MUST", "an Age on what is used without validation, in place of any other")
AGE_VALUE = Rule("5.1", "MUST", "Age is the estimated time since the response was made or validated")
HOP_BY_HOP = Rule("3.1", "MUST", "fields of one hop, those that Connection names among them, are not stored")
UPDATED = Rule("3.2", "MUST", "every field of a 304 replaces the stored one")
ASKED_NO_CACHE = Rule("5.2.1.4", "MAY", "no-cache of a request: no stored response without validation")
ASKED_NO_STORE = Rule("5.2.1.5", "MAY", "no-store of a request: its answer is not stored")
ASKED_MAX_AGE = Rule("5.2.1.1", "MAY", "max-age of a request: no older response")
ASKED_MIN_FRESH = Rule("5.2.1.3", "MAY", "min-fresh of a request: fresh for as long")
ASKED_ONLY_STORED = Rule("5.2.1.7", "MAY", "only-if-cached: a stored response, or 504")
