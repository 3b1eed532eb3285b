"""What one pass of the rules over a transaction has come to: matches, switches set by rules, the verdict.

Data, and how variables that depend on the pass itself are found. Decides nothing.
"""

import re
from dataclasses import dataclass

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


class State:
    """A pass over one transaction, from its first phase to its last."""

    __slots__ = (
        "enforces", "first", "forms", "intervention", "is_off", "matched", "matched_vars", "removed_ids",
        "removed_tags", "removed_targets", "removed_targets_by_tag", "rule", "score", "transaction",
    )  # fmt: skip

    def __init__(self, transaction: Transaction, enforces: bool, forms: Forms) -> None:
        self.transaction = transaction
        self.enforces = enforces  # whether disruptive actions end the pass; otherwise they are only noted
        self.forms = forms
        self.matched: list[Matched] = []
        self.intervention: Intervention | None = None
        self.is_off = False  # a rule has switched the engine off
        self.removed_ids: list[range] = []
        self.removed_tags: set[str] = set()
        self.removed_targets: list[tuple[range, str]] = []
        self.removed_targets_by_tag: dict[str, set[str]] = {}
        self.matched_vars: Pairs = []
        self.rule: dict[bytes, bytes] = {}  # RULE:id and the like of the rule in hand
        self.score = 0  # added to anomaly scores by the rule in hand
        self.first: tuple[bytes, bytes] | None = None  # what it matched first: the label, part of the value

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
