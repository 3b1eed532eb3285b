"""The cache that all workers share, what a route keeps in it, and who may purge it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cluster.config.values import (
    HTTP_TOKEN,
    Block,
    CacheSize,
    Duration,
    Expects,
    Flag,
    Many,
    Section,
    ShareOrZero,
    Size,
    Statuses,
    WholeSeconds,
    WholeSecondsOrZero,
)
from worker.settings import CacheSettings

_Language = Annotated[
    str, Field(pattern=r"^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$"), Expects("a language tag such as en or pt-BR")
]
_QueryName = Annotated[str, Field(pattern=r"^[!-%'-:<>-~]+$"), Expects("a parameter's name such as utm_*")]
_FieldName = Annotated[str, Field(pattern=f"^{HTTP_TOKEN}$"), Expects("a field's name")]
_CookieName = Annotated[_FieldName, Expects("a cookie's name")]
_cache = CacheSettings()


class Memory(Section):
    """The cache that all workers share."""

    memory: CacheSize = Field(
        default=256 * 1024**2,
        description="Size of the shared segment: responses, counters and leases together.",
    )
    keep: Flag = Field(
        default=True,
        description="Take over, at a start, what an edge that crashed had cached; false: start empty.",
    )
    keep_on_stop: Flag = Field(
        default=False, description="Leave the cache in /dev/shm at a stop, for the next start to take over."
    )


class Key(Section):
    """What decides which stored response a request may get, beside scheme, host and path."""

    query: Literal["all", "none"] = Field(
        default="all", description="Whether the query counts; the origin gets it as it is either way."
    )
    sort_query: Flag = Field(default=False, description="Parameters count whatever their order.")
    drop: Many[_QueryName] = Field(
        default=[], description="Query parameters that do not count; * stands for anything."
    )
    keep: Many[_QueryName] = Field(
        default=[], description="The only query parameters that count, if the origin reads no others."
    )
    headers: Many[_FieldName] = Field(default=[], description="Request fields whose values count.")
    cookies: Many[_CookieName] = Field(default=[], description="Cookies whose values count.")
    device: Flag = Field(default=False, description="Whether mobile, tablet and desktop are told apart.")
    country: Flag = Field(
        default=False, description="Whether the countries of the clients' addresses are told apart."
    )


class Cache(Section):
    """Caching of a route. `false` is short for `{enabled: false}`."""

    enabled: Flag = Field(default=_cache.enabled, description="Whether the cache is asked and filled.")
    max_object: Size = Field(
        default=_cache.max_object_bytes,
        description="Largest response that is stored, and never more than an eighth of the cache memory.",
    )
    lease: Duration = Field(
        default=_cache.lease_s,
        description="How long requests wait for the one that fetches, then elect another.",
    )
    collapse: Flag = Field(
        default=_cache.collapse, description="One fetch for many requests of one URL at once."
    )
    ignore_client: Flag = Field(
        default=_cache.ignore_client,
        description="Heed no Cache-Control or Pragma of requests: nobody can bypass the cache.",
    )
    heuristic: ShareOrZero = Field(
        default=_cache.heuristic,
        description="Lifetime where the origin names none, as a share of the time since Last-Modified; "
        "at most a week. 0: none.",
    )
    by_status: Annotated[
        dict[Statuses, WholeSecondsOrZero],
        Expects("a mapping of statuses to durations such as {404: 10s, 5xx: 1s}"),
    ] = Field(default={}, description="Lifetimes of answers for which the origin names none, by status.")
    ttl: Annotated[WholeSeconds | None, Expects("a duration of whole seconds such as 30s or 5m")] = Field(
        default=None, description="Lifetime here of what may be stored, whatever the origin names."
    )
    max_ttl: Annotated[WholeSeconds | None, Expects("a duration of whole seconds such as 1d")] = Field(
        default=None, description="Longest lifetime here."
    )
    browser_ttl: Annotated[
        WholeSecondsOrZero | None, Expects("a duration of whole seconds such as 30s, or 0")
    ] = Field(default=None, description="Lifetime that clients are told for what is stored here.")
    stale_while_revalidate: WholeSecondsOrZero = Field(
        default=_cache.stale_while_revalidate_s,
        description="How long a stale response is served while it is fetched anew, unless the origin says.",
    )
    stale_if_error: WholeSecondsOrZero = Field(
        default=_cache.stale_if_error_s,
        description="How long a stale response is served when the origin fails, unless the origin says.",
    )
    drop_cookies: Flag = Field(
        default=_cache.drop_cookies,
        description="Take Set-Cookie out of answers that may be stored without it; nobody gets the cookie.",
    )
    key: Key = Field(default=Key(), description="Which requests share a stored response.")
    languages: Many[_Language] = Field(
        default=[],
        description="Languages the origin serves: Accept-Language counts, and is sent, as the best of these.",
    )

    short_key: ClassVar = "enabled"
    short_types: ClassVar = (bool,)
    short_hand: ClassVar = {"type": "boolean"}
    short_words: ClassVar = "true, false"


class Purge(Section):
    """Who may purge by requests of the method PURGE."""

    allow: Many[Block] = Field(default=[], description="Networks that may; everyone else gets 403.")
