"""A rule set made ready to run: what is the same for every request is done once, here.

Rule sets configure themselves with rules: variables are set, and whole files are jumped over because a
switch is off. Such rules look at nothing but variables of the rules themselves, so their outcome can be
known beforehand. Where it is, the rule is replaced by what it sets; rules that can never be reached, and
those that can have no effect, go.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from worker.security.waf import words
from worker.security.waf.operators import number_of
from worker.security.waf.ruleset import PHASES, Link, Rule, RuleSet, SetVar, id_ranges, prepared
from worker.security.waf.state import SCORES
from worker.security.waf.targets import Macro
from worker.security.waf.transformations import TRANSFORMATIONS

MATCHED = frozenset({"MATCHED_VAR", "MATCHED_VAR_NAME", "MATCHED_VARS", "MATCHED_VARS_NAMES"})
TX_CAPTURES = frozenset(b"%d" % digit for digit in range(10))


@dataclass(frozen=True, slots=True)
class Assign:
    """Variables that rules would have set to the same values for every request."""

    values: dict[bytes, bytes]


Entry = Rule | Assign | None


@dataclass(slots=True)
class Program:
    """The entries of every phase. `rules` are those left, numbered anew."""

    phases: dict[int, list[Entry]] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)


def program(rules: RuleSet) -> Program:
    """The same outcome as the rules have, in fewer steps.

    Rules that go leave nothing in MATCHED_VARS, where a later chain could find it; where a rule asks for that
    before it has matched anything itself, all stay.
    """
    if any(watch.variable in MATCHED for rule in rules.rules for watch in rule.links[0].watches):
        return _as_is(rules)
    first = _Specializer(rules, rules.rules).run()
    return _Specializer(rules, first.rules).run()  # now that it is known which rules can switch others off


def reads(rules: Iterable[Rule], *, reports: bool = True) -> tuple[set[bytes], list[Link]]:
    """Names of TX variables that rules read, and the links that pick them by pattern.

    `reports`: messages count as reading.
    """
    names: set[bytes] = set()
    patterns: list[Link] = []
    for rule in rules:
        macros: list[Macro] = [rule.message, rule.data] if reports else []
        for link in rule.links:
            macros += [link.argument, *(m for setvar in link.setvars for m in (setvar.name, setvar.value))]
            for watch in link.watches:
                if watch.variable == "TX" and watch.exact is not None:
                    names.add(watch.exact)
                elif watch.variable == "TX":
                    patterns.append(link)
        for macro in macros:
            names |= {name for variable, name in macro.references if variable == "TX"}
    return names, patterns


def _as_is(rules: RuleSet) -> Program:
    made = Program()
    for phase in PHASES:
        made.phases[phase] = [entry and replace(entry) for entry in rules.phases[phase]]
        _number(made, phase)
    return made


def _number(made: Program, phase: int) -> None:
    for entry in made.phases[phase]:
        if isinstance(entry, Rule):
            entry.index = len(made.rules)
            made.rules.append(entry)


class _Specializer:
    """Runs the rules once with what is known of TX: a value, absence, or nothing."""

    def __init__(self, rules: RuleSet, reached: list[Rule]) -> None:
        self._rules = rules
        self._known: dict[bytes, bytes] = {}
        self._unknown: set[bytes] = set()
        self._unknown_beginnings: set[bytes] = set()
        self._removable_ids, self._removable_tags = _removable(reached)
        self._read, self._patterns = reads(reached)

    def run(self) -> Program:
        made = Program()
        for phase in PHASES:
            made.phases[phase] = self._phase(self._rules.phases[phase])
            _number(made, phase)
        return made

    def _phase(self, entries: list[Rule | None]) -> list[Entry]:
        kept: list[tuple[int, Entry]] = []  # with the places they had
        landings: dict[int, set[bytes]] = {}  # where a jump may lead, and what is unknown behind it
        place = 0
        while place < len(entries):
            self._unknown |= landings.get(place, set())
            rule = entries[place]
            place += 1
            if rule is None:
                continue
            outcome = self._outcome(rule)
            if outcome is False:
                continue
            jump = rule.jump if rule.jump >= 0 else place
            if outcome and not any(place < landing < jump for landing in landings):
                values = self._assign(rule)
                if values:
                    kept.append((place - 1, Assign(values)))
                place = jump
                continue
            reduced = self._with_constants(self._without_unread(rule))
            self._forget(rule)
            if rule.jump >= 0:
                landings.setdefault(jump, set()).update(_written(entries[place:jump]))
            if not _is_inert(reduced):
                kept.append((place - 1, reduced))
        return _relocated(kept)

    # What a rule comes to

    def _outcome(self, rule: Rule) -> bool | None:
        """Whether it matches; None if that depends on the request, or if more hangs on it than variables."""
        if self._is_removable(rule):
            return None
        known = True
        changed: list[tuple[bytes, bool]] = []  # what earlier links of the chain set
        for link in rule.links:
            outcome = None if self._reads_any(link, changed) else self._link_outcome(link)
            if outcome is False:
                return False
            known = known and outcome is not None
            if not known and link.setvars:
                return None
            changed += _writes(link)
        if not known or rule.logs or rule.disruptive not in ("pass", "block"):
            return None
        if any(link.captures or _controls(link) or not self._is_foreseeable(link) for link in rule.links):
            return None
        return True

    def _link_outcome(self, link: Link) -> bool | None:
        if not link.operator:
            return True
        if link.operator in words.INERT_OPERATORS and not link.negated:
            return False
        if any(watch.variable != "TX" or watch.exact is None for watch in link.watches):
            return None
        names = [watch.exact for watch in link.watches if watch.exact is not None]
        argument = self._expanded(link.argument)
        if argument is None or link.multi_match or any(map(self._is_unknown, names)):
            return None
        match = link.match or prepared(link, argument)
        for watch, name in zip(link.watches, names, strict=True):
            value = self._known.get(name)
            if watch.counts:
                value = b"0" if value is None else b"1"
            if value is None:
                continue
            for transformation in link.transformations:
                value = TRANSFORMATIONS[transformation](value)
            if (match(value) is None) is link.negated:
                return True
        return False

    @staticmethod
    def _reads_any(link: Link, changed: list[tuple[bytes, bool]]) -> bool:
        names = {watch.exact for watch in link.watches} | {name for _, name in link.argument.references}
        return any(
            name is not None and (name.startswith(written) if beginning else name == written)
            for name in names
            for written, beginning in changed
        )

    def _expanded(self, macro: Macro) -> bytes | None:
        if macro.constant is not None:
            return macro.constant
        if any(variable != "TX" or self._is_unknown(name) for variable, name in macro.references):
            return None
        return macro.replaced(lambda name: self._known.get(name, b""))

    def _is_foreseeable(self, link: Link) -> bool:
        """Whether all it sets is known; matching twice, it would count twice."""
        return all(
            setvar.collection == "TX"
            and setvar.op in ("=", "+", "-")
            and setvar.name.constant is not None
            and not (setvar.op in ("+", "-") and len(link.watches) > 1)
            and (setvar.op == "=" or not self._is_unknown(setvar.name.constant.lower()))
            and self._expanded(setvar.value) is not None
            for setvar in link.setvars
        )

    # What a rule does to what is known

    def _assign(self, rule: Rule) -> dict[bytes, bytes]:
        values: dict[bytes, bytes] = {}
        for link in rule.links:
            for setvar in link.setvars:
                name = (setvar.name.constant or b"").lower()
                value = assigned(setvar, self._known.get(name, b""), self._expanded(setvar.value) or b"")
                self._unknown.discard(name)
                self._known[name] = values[name] = value
        return values

    def _forget(self, rule: Rule) -> None:
        for name, beginning in (write for link in rule.links for write in _writes(link)):
            if beginning:
                self._unknown_beginnings.add(name)
            else:
                self._unknown.add(name)
                self._known.pop(name, None)

    def _is_unknown(self, name: bytes) -> bool:
        return name in self._unknown or any(
            name.startswith(beginning) for beginning in self._unknown_beginnings
        )

    def _is_removable(self, rule: Rule) -> bool:
        """Whether a `ctl` might switch it off."""
        return any(rule.id in ids for ids in self._removable_ids) or not self._removable_tags.isdisjoint(
            rule.tags
        )

    def _without_unread(self, rule: Rule) -> Rule:
        """Without variables that nobody reads, such as keys of collections that are not kept here."""
        for index, link in enumerate(rule.links):
            read = tuple(setvar for setvar in link.setvars if self._is_read(setvar))
            if len(read) < len(link.setvars):
                rule = replace(rule, links=[*rule.links])
                rule.links[index] = replace(link, setvars=read)
        return rule

    def _with_constants(self, rule: Rule) -> Rule:
        """With the values of known variables in the arguments of operators."""
        changed: list[tuple[bytes, bool]] = []
        links = []
        for link in rule.links:
            argument = None if self._reads_any(link, changed) else self._expanded(link.argument)
            changed += _writes(link)
            if link.match is None and link.operator and argument is not None:
                text = Macro(argument.decode("latin-1"))
                link = replace(link, argument=text, match=prepared(link, argument))
            links.append(link)
        return replace(rule, links=links)

    def _is_read(self, setvar: SetVar) -> bool:
        name = setvar.name.constant
        if setvar.collection != "TX" or name is None or self._patterns_pick(name.lower()):
            return True
        return name.lower() in self._read or SCORES.fullmatch(name.lower()) is not None

    def _patterns_pick(self, name: bytes) -> bool:
        watches = [watch for link in self._patterns for watch in link.watches if watch.variable == "TX"]
        return any(watch.covers(name) for watch in watches)


def assigned(setvar: SetVar, old: bytes, value: bytes) -> bytes:
    """What a variable becomes."""
    if setvar.op == "=":
        return value
    step = number_of(value) if setvar.op == "+" else -number_of(value)
    return b"%d" % (number_of(old) + step)


def _removable(rules: list[Rule]) -> tuple[list[range], set[str]]:
    ids: list[range] = []
    tags: set[str] = set()
    for control in (control for rule in rules for link in rule.links for control in link.controls):
        if control.name == "ruleremovebyid":
            ids += id_ranges(control.value)
        elif control.name == "ruleremovebytag":
            tags.add(control.value)
    return ids, tags


def _controls(link: Link) -> bool:
    return any(control.name not in words.INERT_CONTROLS for control in link.controls)


def _writes(link: Link) -> list[tuple[bytes, bool]]:
    """Names of TX that the link may set, or (True) what such names begin with."""
    found = [(name, False) for name in TX_CAPTURES if link.captures]
    for setvar in link.setvars:
        if setvar.collection == "TX":
            name = setvar.name.constant
            found.append((name.lower(), False) if name is not None else (setvar.name.beginning.lower(), True))
    return found


def _written(entries: Iterable[Rule | None]) -> set[bytes]:
    links = [link for rule in entries if rule is not None for link in rule.links]
    return {name for link in links for name, _ in _writes(link)}


def _is_inert(rule: Rule) -> bool:
    """Whether nothing follows from its matching."""
    if rule.logs or rule.disruptive not in ("pass", "block") or rule.jump >= 0:
        return False
    return not any(link.setvars or _controls(link) or link.captures for link in rule.links)


def _relocated(kept: list[tuple[int, Entry]]) -> list[Entry]:
    """The entries, with jumps that lead to where they led before."""
    places = [place for place, _ in kept]
    entries: list[Entry] = []
    for _, entry in kept:
        if isinstance(entry, Rule):
            entry = replace(entry)
            if entry.jump >= 0:
                entry.jump = sum(other < entry.jump for other in places)
        entries.append(entry)
    return entries
