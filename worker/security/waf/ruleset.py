"""Directives -> rules in the order in which each phase runs them.

Puts chains together, gives every rule its defaults, applies removals and updates, prepares operators. What
comes out is read-only and shared by all transactions.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from worker.security.waf import seclang, words
from worker.security.waf.operators import Match, OperatorError, prepare
from worker.security.waf.seclang import Action, Position, SecLangError, Target, is_number, number
from worker.security.waf.targets import Macro, Watch, watches

PHASES = (1, 2, 3, 4, 5)
_PHASE_NAMES = {"request": 2, "response": 4, "logging": 5}


@dataclass(frozen=True, slots=True)
class SetVar:
    """`setvar`: op is "=", "+", "-" or "!" (remove)."""

    collection: str
    name: Macro
    op: str
    value: Macro


@dataclass(frozen=True, slots=True)
class Control:
    """`ctl:name=value`, the name in lower case."""

    name: str
    value: str


@dataclass(slots=True)
class Link:
    """One SecRule of a chain; a rule that is no chain has one."""

    position: Position
    watches: tuple[Watch, ...]
    operator: str  # "" for SecAction
    argument: Macro
    negated: bool
    match: Match | None  # None while the argument depends on the transaction
    folder: Path
    transformations: tuple[str, ...]
    multi_match: bool
    captures: bool
    setvars: tuple[SetVar, ...]
    controls: tuple[Control, ...]


@dataclass(slots=True)
class Rule:
    """A rule with all its chain."""

    id: int
    phase: int
    links: list[Link]
    tags: tuple[str, ...]
    message: Macro
    data: Macro
    severity: str
    logs: bool
    disruptive: str  # "pass", "deny", ...; `block` is resolved
    status: int
    skip: int
    skip_after: str
    index: int = -1  # among all rules of the set
    jump: int = -1  # where `skip` or `skip_after` leads, an index into its phase


@dataclass(slots=True)
class RuleSet:
    """The rules of every phase; None stands where a marker is."""

    phases: dict[int, list[Rule | None]] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    digest: str = ""  # names this very set of patterns

    def by_id(self, rule_id: int) -> Rule | None:
        return next((rule for rule in self.rules if rule.id == rule_id), None)


def load(path: str | Path, settings: str = "") -> RuleSet:
    """The rules of a file and all it includes, `settings` (SecLang) before them. Raises SecLangError."""
    return build([*seclang.parse(settings, "settings"), *seclang.read(path)])


def build(directives: Iterable[seclang.Directive], faults: list[SecLangError] | None = None) -> RuleSet:
    """Raises SecLangError; with `faults` those of single directives are put there instead."""
    builder = _Builder()
    for directive in directives:
        try:
            builder.add(directive)
        except SecLangError as error:
            if faults is None:
                raise
            faults.append(error)
    return builder.finish()


class _Builder:
    def __init__(self) -> None:
        self._defaults: dict[int, tuple[Action, ...]] = {}
        self._order: list[Rule | str] = []
        self._positions: dict[int, Position] = {}
        self._open: Rule | None = None  # a chain that wants another rule
        self._removals: list[seclang.RemoveRules] = []
        self._target_updates: list[seclang.UpdateTargets] = []
        self._action_updates: dict[int, tuple[Action, ...]] = {}
        self._targets: dict[int, tuple[Target, ...]] = {}

    def add(self, directive: seclang.Directive) -> None:
        if self._open is not None and not isinstance(directive, seclang.Rule):
            raise SecLangError(directive.position, f"rule {self._open.id} is a chain, and no rule follows it")
        match directive:
            case seclang.Rule():
                self._rule(directive)
            case seclang.Marker():
                self._order.append(directive.name)
            case seclang.DefaultAction():
                self._default(directive)
            case seclang.RemoveRules():
                self._removals.append(directive)
            case seclang.UpdateTargets():
                self._target_updates.append(directive)
            case seclang.UpdateActions():
                self._update_actions(directive)
            case seclang.Setting():
                pass  # has no effect here

    def finish(self) -> RuleSet:
        if self._open is not None:
            raise SecLangError(
                self._positions[self._open.id], f"the chain of rule {self._open.id} is not finished"
            )
        for update in self._target_updates:
            self._update_targets(update)
        removed = {rule.id for rule in self._rules() for removal in self._removals if _removes(removal, rule)}
        found = RuleSet()
        for entry in self._order:
            if isinstance(entry, Rule) and entry.id not in removed:
                entry.index = len(found.rules)
                found.rules.append(entry)
        for phase in PHASES:
            self._phase(phase, removed, found)
        return found

    def _rules(self) -> list[Rule]:
        return [entry for entry in self._order if isinstance(entry, Rule)]

    def _phase(self, phase: int, removed: set[int], found: RuleSet) -> None:
        """Lay out one phase; a jump leads behind its marker, or to the end when there is none."""
        entries: list[Rule | None] = []
        markers: dict[str, list[int]] = {}
        for entry in self._order:
            if isinstance(entry, str):
                markers.setdefault(entry, []).append(len(entries))
                entries.append(None)
            elif entry.phase == phase and entry.id not in removed:
                entries.append(entry)
        for place, rule in enumerate(entries):
            if rule is not None and rule.skip_after:
                later = (mark for mark in markers.get(rule.skip_after, ()) if mark > place)
                rule.jump = next(later, len(entries))
            elif rule is not None and rule.skip:
                rule.jump = _behind(entries, place + 1, rule.skip)
        found.phases[phase] = entries

    # Rules

    def _rule(self, directive: seclang.Rule) -> None:
        at = directive.position
        first = self._open is None
        phase = _phase_of(directive.actions, at) if first else self._open.phase  # type: ignore[union-attr]
        actions = (*self._defaults.get(phase, ()), *directive.actions)
        link = _link(directive, actions)
        if first:
            rule = _starter(link, phase, actions, directive.actions, at)
            if rule.id in self._positions:
                raise SecLangError(at, f"rule {rule.id} is already at {self._positions[rule.id]}")
            self._positions[rule.id] = at
            self._targets[rule.id] = directive.targets
            self._order.append(rule)
        else:
            assert self._open is not None
            rule = self._open
            rule.links.append(link)
        self._open = rule if any(action.name == "chain" for action in directive.actions) else None

    def _default(self, directive: seclang.DefaultAction) -> None:
        phase = _phase_of(directive.actions, directive.position)
        self._defaults[phase] = tuple(action for action in directive.actions if action.name != "phase")

    # Updates

    def _update_targets(self, update: seclang.UpdateTargets) -> None:
        for rule in self._rules():
            if not _selects(update.by, update.value, rule):
                continue
            link = rule.links[0]
            targets = (*self._targets[rule.id], *update.targets)
            self._targets[rule.id] = targets
            link.watches = watches(targets, update.position)

    def _update_actions(self, update: seclang.UpdateActions) -> None:
        rule = next((rule for rule in self._rules() if rule.id == update.id), None)
        if rule is None:
            raise SecLangError(update.position, f"there is no rule {update.id} to update so far")
        _apply_metadata(rule, update.actions, update.position)


def _behind(entries: list[Rule | None], place: int, count: int) -> int:
    """The place behind the next `count` rules; markers do not count."""
    while count and place < len(entries):
        count -= entries[place] is not None
        place += 1
    return place


def _removes(removal: seclang.RemoveRules, rule: Rule) -> bool:
    return any(_selects(removal.by, value, rule) for value in removal.values)


def _selects(by: str, value: str, rule: Rule) -> bool:
    if by == "tag":
        return value in rule.tags
    if by == "msg":
        return value == rule.message.text
    return any(rule.id in ids for part in value.split() for ids in id_ranges(part))


def id_ranges(text: str) -> list[range]:
    """`942100`, `942100-942199`, several separated by commas. What is no number is no id."""
    found = []
    for part in text.strip("'\" ").split(","):
        low, _, high = part.strip().partition("-")
        if is_number(low) and is_number(high or low):
            found.append(range(int(low), int(high or low) + 1))
    return found


def _phase_of(actions: Iterable[Action], at: Position) -> int:
    phase = 2
    for action in actions:
        if action.name == "phase":
            text = action.value.strip("'").lower()
            phase = _PHASE_NAMES[text] if text in _PHASE_NAMES else number(text, at, "phase")
    if phase not in PHASES:
        raise SecLangError(at, f"there is no phase {phase}: 1 to 5 are known")
    return phase


def _starter(
    link: Link, phase: int, actions: tuple[Action, ...], own: tuple[Action, ...], at: Position
) -> Rule:
    ids = [action.value for action in own if action.name == "id"]
    if not ids:
        raise SecLangError(at, "a rule without an id")
    rule = Rule(
        id=number(ids[-1], at, "id"), phase=phase, links=[link], tags=(), message=Macro(""), data=Macro(""),
        severity="", logs=True, disruptive="pass", status=403, skip=0, skip_after="",
    )  # fmt: skip
    _apply_metadata(rule, actions, at)
    return rule


def _apply_metadata(rule: Rule, actions: tuple[Action, ...], at: Position) -> None:
    """What the actions of the chain's first rule say about the whole."""
    default = rule.disruptive
    for action in actions:
        name, value = action.name, action.value
        if name == "tag":
            rule.tags = (*rule.tags, value)
        elif name == "msg":
            rule.message = Macro(value)
        elif name == "logdata":
            rule.data = Macro(value)
        elif name == "severity":
            rule.severity = _severity(value, at)
        elif name in _LOGS:
            rule.logs = _LOGS[name]
        elif name == "status":
            rule.status = number(value, at, "status")
        elif name == "skip":
            rule.skip = number(value, at, "skip")
        elif name == "skipafter":
            rule.skip_after = value
        elif name == "block":
            rule.disruptive = default
        elif name in words.DISRUPTIVE:
            rule.disruptive = name
            default = default if name == "pass" else name


# The last one decides; without an audit log the two of it mean the same (as in libmodsecurity 3).
_LOGS = {"log": True, "auditlog": True, "nolog": False, "noauditlog": False}


def _severity(value: str, at: Position) -> str:
    word = value.strip("'").lower()
    if is_number(word) and int(word) < len(words.SEVERITIES):
        return words.SEVERITIES[int(word)]
    if word not in words.SEVERITIES:
        raise SecLangError(at, words.unknown("severity", word, words.SEVERITIES))
    return word


# Links


def _link(directive: seclang.Rule, actions: tuple[Action, ...]) -> Link:
    at = directive.position
    transformations: list[str] = []
    for action in actions:
        if action.name == "t":
            transformations = [] if action.value == "none" else [*transformations, action.value]
    operator = directive.operator
    argument = Macro("" if operator is None else operator.argument)
    link = Link(
        position=at,
        watches=watches(directive.targets, at),
        operator="" if operator is None else operator.name,
        argument=argument,
        negated=operator is not None and operator.negated,
        match=None,
        folder=Path(at.file).parent,
        transformations=tuple(transformations),
        multi_match=any(action.name == "multimatch" for action in actions),
        captures=any(action.name == "capture" for action in actions),
        setvars=tuple(_setvar(action.value, at) for action in actions if action.name == "setvar"),
        controls=tuple(_control(action.value) for action in actions if action.name == "ctl"),
    )
    if link.operator and argument.constant is not None:
        link.match = prepared(link, argument.constant)
    return link


def prepared(link: Link, argument: bytes) -> Match:
    """The operator of a link for an argument that does not depend on requests. Raises SecLangError."""
    try:
        return prepare(link.operator, argument, link.folder)
    except OperatorError as error:
        raise SecLangError(link.position, f"@{link.operator}: {error}") from None


def _setvar(text: str, at: Position) -> SetVar:
    """`tx.name=value`, `tx.name=+1`, `tx.name` (which is 1), `!tx.name`."""
    target, equals, value = text.partition("=")
    removes = target.startswith("!")
    collection, dot, name = target.lstrip("!").partition(".")
    if not dot or collection.upper() not in words.WRITABLE:
        known = ", ".join(name.lower() for name in words.WRITABLE)
        raise SecLangError(at, f"setvar:{text}: wants collection.name; rules can write {known}")
    op = "!" if removes else value[:1] if value[:1] in ("+", "-") else "="
    if op in ("+", "-"):
        value = value[1:]
    return SetVar(collection.upper(), Macro(name), op, Macro(value if equals else "1"))


def _control(text: str) -> Control:
    name, _, value = text.partition("=")
    return Control(name.strip().lower(), value.strip())
