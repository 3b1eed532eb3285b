"""Follows one script at one proxy: what it reused, and which rules that broke."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tests.differential import rules
from tests.differential.oracle import (
    Stored,
    age_range,
    broken_by_reuse,
    broken_by_storing,
    control,
    initial_age,
    is_not_modified,
    lifetime,
    may_send_part,
)
from tests.differential.origin import Exchange
from tests.differential.play import Seen
from tests.differential.rules import Rule
from tests.differential.script import (
    HOP_FIELD,
    PRIVATE_FIELD,
    VALIDATED_FIELD,
    Asked,
    Script,
    body_of,
    joined,
    values,
)

_FAILED = (500, 502, 503, 504)
_LATE_S = 0.5  # by which a fetch in the background may end after it was answered


@dataclass(slots=True)
class Finding:
    """One step: `reused` without asking, `validated` by a 304, `fetched` anew, or an answer of its `own`."""

    way: str
    status: int
    stored: Stored | None = None  # what was served, if it was made in an earlier step
    broken: list[Rule] = field(default_factory=list)
    origin_failed: bool = False
    after: list[Exchange] = field(default_factory=list)  # what the origin had said before


def judge(
    script: Script, seen: Sequence[Seen], exchanges: Sequence[Exchange], *, targeted: bool
) -> list[Finding]:
    """A finding for each step. `targeted`: hold it to targeted fields, too."""
    known: list[Stored] = []
    findings: list[Finding] = []
    for number, (step, answer) in enumerate(zip(script, seen, strict=True)):
        asked = step.asked
        told = [exchange for exchange in exchanges if exchange.step == number]
        finding = _find(number, asked, answer, told, known, targeted=targeted)
        finding.after = [exchange for exchange in exchanges if exchange.step < number]
        findings.append(finding)
        for exchange in told:
            known = _known_after(known, exchange, asked, answer, finding)
    return findings


def _find(
    number: int, asked: Asked, answer: Seen, told: list[Exchange], known: list[Stored], *, targeted: bool
) -> Finding:
    foreground = [exchange for exchange in told if exchange.at_s <= answer.ended_s]
    failed = any(exchange.status in _FAILED for exchange in foreground)
    served = answer.served
    if served is None and answer.status in (304, 416) and not foreground:
        return _unnamed(asked, answer, known, targeted=targeted)
    if served is None or served >= number:
        finding = Finding("fetched" if foreground else "own", answer.status, origin_failed=failed)
        if answer.status == 304 and foreground:
            finding.broken += _broken_304(asked, [exchange.fields for exchange in foreground])
        if answer.status == 206:
            finding.broken += _broken_206(asked, answer, [exchange.fields for exchange in foreground])
        return finding
    best: Finding | None = None
    validations = [exchange for exchange in foreground if exchange.status == 304]
    for stored in (version for version in known if version.step == served):
        for way in (
            ("validated", "reused") if validations else ("reused",)
        ):  # a 304 may be one of the background
            finding = Finding(way, answer.status, stored, origin_failed=failed)
            if way == "validated":
                finding.broken += broken_by_storing(stored, asked, targeted=targeted)
                if not any(_selects(exchange, stored) for exchange in validations):
                    finding.broken.append(rules.SELECTS)
            else:
                finding.broken += broken_by_reuse(
                    stored, asked, answer.began_s, origin_failed=failed, targeted=targeted
                )
                finding.broken += _broken_by_age_field(answer, stored)
                finding.broken += _older(known, stored, asked, answer, targeted=targeted, failed=failed)
            fields = [stored.fields, *(exchange.fields for exchange in validations)]
            finding.broken += _broken_fields(answer, stored, validated=way == "validated", targeted=targeted)
            finding.broken += _broken_304(asked, fields) if answer.status == 304 else []
            finding.broken += _broken_206(asked, answer, fields) if answer.status == 206 else []
            if stored.status == 206 and answer.status not in (206, 304):
                finding.broken.append(rules.PARTIAL)
            if best is None or len(finding.broken) < len(best.broken):
                best = finding
    return best if best is not None else Finding("unknown", answer.status)


def _possible_ways(number: int, answer: Seen, validations: list[Exchange]) -> tuple[str, ...]:
    """A 304 in time may still be one of the background, unless its fields are in the answer."""
    if not validations:
        return ("reused",)
    return ("validated",) if answer.fields.get(VALIDATED_FIELD) == str(number) else ("reused", "validated")


def _unnamed(asked: Asked, answer: Seen, known: list[Stored], *, targeted: bool) -> Finding:
    """A 304 or 416 that does not tell which stored response is behind it: the best that can be."""
    judged = []
    for stored in reversed(known):
        broken = broken_by_reuse(stored, asked, answer.began_s, origin_failed=False, targeted=targeted)
        broken += _broken_304(asked, [stored.fields]) if answer.status == 304 else []
        judged.append((len(broken), stored, broken))
    if not judged:
        return Finding("own", answer.status)
    _, stored, broken = min(judged, key=lambda entry: entry[0])
    return Finding("reused", answer.status, stored, broken)


def _selects(exchange: Exchange, stored: Stored) -> bool:
    """May this 304 be about that response (RFC 9111 4.3.4)? Tags decide, compared weakly, else dates."""
    for name in ("etag", "last-modified"):
        theirs, ours = joined(exchange.fields, name), joined(stored.fields, name)
        if theirs is not None:
            return ours is not None and theirs.removeprefix("W/") == ours.removeprefix("W/")
    return True


def _older(
    known: list[Stored], stored: Stored, asked: Asked, answer: Seen, *, targeted: bool, failed: bool
) -> list[Rule]:
    """Is there a newer one that it could have used? One without Vary is none beside others (RFC 9111 4.1)."""
    for other in known:
        if (
            other.step > stored.step
            and other.method == "GET"
            and lifetime(other, targeted=targeted)[0] is not None
            and other.status not in _FAILED  # may be taken for no answer (RFC 9111 4.3.3)
            and other.received_s < answer.began_s
            and bool(values(other.fields, "vary")) >= bool(values(stored.fields, "vary"))
            and not broken_by_reuse(other, asked, answer.began_s, origin_failed=failed, targeted=targeted)
        ):
            return [rules.NEWEST]
    return []


def _broken_by_age_field(answer: Seen, stored: Stored) -> list[Rule]:
    if answer.status == 304:
        return []
    value = answer.fields.get("age", "")
    if not value.isdigit():
        return [rules.AGE]
    return [rules.AGE_VALUE] if int(value) < min(age_range(stored, answer.began_s), 2**31) else []


def _broken_fields(answer: Seen, stored: Stored, *, validated: bool, targeted: bool) -> list[Rule]:
    told, _ = control(stored.fields, targeted=targeted)
    found = []
    if HOP_FIELD in answer.fields and joined(stored.fields, "connection") is not None:
        found.append(rules.HOP_BY_HOP)
    if PRIVATE_FIELD in answer.fields and ("private", PRIVATE_FIELD) in told:
        found.append(rules.PRIVATE_NAMED)
    if PRIVATE_FIELD in answer.fields and ("no-cache", PRIVATE_FIELD) in told and not validated:
        found.append(rules.NO_CACHE_NAMED)
    if answer.status in (200, 206) and stored.updated_by is not None and not validated:
        if answer.fields.get(VALIDATED_FIELD) != str(stored.updated_by):
            found.append(rules.UPDATED)
    return found


def _broken_304(asked: Asked, known_fields: Sequence[tuple[tuple[str, str], ...]]) -> list[Rule]:
    return [] if any(is_not_modified(asked, fields) for fields in known_fields) else [rules.NOT_MODIFIED]


def _broken_206(
    asked: Asked, answer: Seen, known_fields: Sequence[tuple[tuple[str, str], ...]]
) -> list[Rule]:
    if asked.method != "GET":
        return [rules.RANGE_OF_HEAD]
    found = []
    if not any(may_send_part(asked, fields) for fields in known_fields):
        found.append(rules.IF_RANGE)
    span = answer.fields.get("content-range", "").removeprefix("bytes ").partition("/")[0]
    first, _, last = span.partition("-")
    served = answer.served
    if (
        served is None
        or not (first.isdigit() and last.isdigit())
        or body_of(served)[int(first) : int(last) + 1] != answer.body
    ):
        found.append(rules.PART)
    return found


def _known_after(
    known: list[Stored], exchange: Exchange, asked: Asked, answer: Seen, finding: Finding
) -> list[Stored]:
    """What a cache may have stored after this exchange."""
    in_background = exchange.at_s > answer.ended_s or finding.way == "reused"
    received_s = exchange.at_s + _LATE_S if in_background else answer.ended_s
    after = list(known)
    if exchange.method not in ("GET", "HEAD") and 200 <= exchange.status < 400:
        after = [replace(stored, invalidated=True) for stored in after]
    if exchange.status == 304:
        served = finding.stored.step if finding.stored is not None else None
        for stored in known:
            if _selects(exchange, stored):
                surely = finding.way == "validated" and stored.step == served
                if surely:
                    after.remove(stored)
                after.append(stored.updated(exchange.fields, exchange.step, received_s, surely=surely))
        return after
    if exchange.method == "HEAD" and exchange.status == 200:
        after += [
            stored.updated(exchange.fields, exchange.step, received_s, surely=False)
            for stored in known
            if _selects(exchange, stored)
        ]
    fields = exchange.fields
    after.append(
        Stored(
            exchange.step, asked, exchange.method, exchange.status, fields, received_s,
            initial_age(fields, received_s),
        )
    )  # fmt: skip
    return after
