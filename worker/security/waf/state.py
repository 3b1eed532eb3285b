"""What one pass of the rules over a transaction has come to: matches, switches set by rules, the verdict.

Data, and how variables that depend on the pass itself are found. Decides nothing.
"""

import re
from dataclasses import dataclass, field

from worker.security.waf.forms import Forms
from worker.security.waf.transaction import Pairs, Transaction

# Variables of TX whose growth is a rule's score, whether or not another rule reads them.
SCORES = re.compile(rb"(?:inbound_|outbound_)?anomaly_score(?:_pl\d)?")


@dataclass(frozen=True, slots=True)
class Matched:
    """One rule that matched and is logged."""

    id: int
    variable: str  # "ARGS:name", of the first value that matched
    part: bytes  # what of the value matched, after transformations
    message: str
    data: str
    severity: str
    tags: tuple[str, ...]
    score: int  # what the match added to anomaly scores


@dataclass(frozen=True, slots=True)
class Intervention:
    """What a disruptive rule wants done."""

    rule: int
    action: str  # "deny", "drop" or "redirect"
    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a request."""

    matched: tuple[Matched, ...] = ()
    intervention: Intervention | None = None


CLEAN = Verdict()


@dataclass(slots=True)
class State:
    """A pass over one transaction, from its first phase to its last."""

    transaction: Transaction
    enforces: bool  # whether disruptive actions end the pass; otherwise they are only noted
    forms: Forms = field(default_factory=Forms)
    matched: list[Matched] = field(default_factory=list)
    intervention: Intervention | None = None
    is_off: bool = False  # a rule has switched the engine off
    removed_ids: list[range] = field(default_factory=list)
    removed_tags: set[str] = field(default_factory=set)
    removed_targets: list[tuple[range, str]] = field(default_factory=list)
    removed_targets_by_tag: dict[str, set[str]] = field(default_factory=dict)
    matched_vars: Pairs = field(default_factory=list)
    rule: dict[bytes, bytes] = field(default_factory=dict)  # RULE:id and the like of the rule in hand
    score: int = 0  # added to anomaly scores by the rule in hand
    first: tuple[bytes, bytes] | None = None  # what it matched first: the label, and the part of the value

    @property
    def is_blocked(self) -> bool:
        """Whether a rule wants the request refused."""
        return self.intervention is not None

    def scalar(self, name: str) -> bytes:
        if name == "MATCHED_VAR":
            return self.matched_vars[-1][1] if self.matched_vars else b""
        if name == "MATCHED_VAR_NAME":
            return self.matched_vars[-1][0] if self.matched_vars else b""
        return self.transaction.scalar(name)

    def pairs(self, name: str) -> Pairs:
        """The members of a collection, in order."""
        if name == "MATCHED_VARS":
            return self.matched_vars
        if name == "MATCHED_VARS_NAMES":
            return [(label, label) for label, _ in self.matched_vars]
        if name == "RULE":
            return list(self.rule.items())
        written = self.transaction.writable.get(name)
        if written is not None:
            return list(written.items())
        return self.transaction.collections.get(name, [])
