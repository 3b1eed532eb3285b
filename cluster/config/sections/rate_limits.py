"""Rate limits: how many requests with something in common are answered."""

import math
from typing import Literal

from pydantic import Field, model_validator

from cluster.config.values import (
    Count,
    Duration,
    KeyPart,
    Many,
    PerWindow,
    Rate,
    Section,
    Statuses,
    Token,
    Word,
)


class RateLimit(Section):
    """A token bucket (`rate`) or a sliding window (`limit`), one for all workers."""

    name: Word = Field(description="Its name in the log and the metrics.")
    rate: Rate | None = Field(
        default=None, description="Requests that come back over time, for example 10/s or 600/m."
    )
    burst: Count | None = Field(
        default=None, description="Requests that may come at once; one second's worth when not given."
    )
    limit: PerWindow | None = Field(
        default=None, description="Or requests within any such time, for example 100/10m."
    )
    key: Many[KeyPart] = Field(
        default=["address"],
        description="What is counted together: address (/64 for IPv6), asn, country, host, path, method, "
        "header:NAME, cookie:NAME, query:NAME.",
    )
    methods: Many[Token] = Field(default=[], description="Methods whose requests count; all when not given.")
    cost: dict[Token, Count] = Field(
        default={}, description="What a request costs, by method; 1 where none is named."
    )
    statuses: Many[Statuses] = Field(
        default=[],
        description="Count only answers of these statuses, such as 401 or 4xx; too many, and it refuses.",
    )
    action: Literal["block", "log", "delay"] = Field(
        default="block", description="Answer 429, or only log, or let requests wait for their turn."
    )
    longest_delay: Duration = Field(
        default=5.0, description="With delay: who would wait longer is answered 429."
    )

    @model_validator(mode="after")
    def _fits(self) -> "RateLimit":
        if (self.rate is None) == (self.limit is None):
            raise ValueError("needs a 'rate' or a 'limit', and not both")
        if self.limit is not None and self.burst is not None:
            raise ValueError("a 'limit' has no 'burst': all of it may come at once")
        if self.action == "delay" and (self.limit is not None or self.statuses):
            raise ValueError("only a 'rate' of requests can be kept by delay")
        most = self.most
        for method, cost in self.cost.items():
            if cost > most:
                raise ValueError(f"{method} costs {cost}, more than the {most} that there ever are")
        return self

    @property
    def most(self) -> int:
        """What is granted at once."""
        if self.limit is not None:
            return int(self.limit[0])
        return self.burst or max(1, math.ceil(self.rate or 0))
