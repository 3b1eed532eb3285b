"""Runs rules over transactions, with the semantics of libmodsecurity 3.

Pure and synchronous: a request goes in, what matched and what should happen comes out. Opens nothing,
logs nothing.
"""

from functools import cached_property, lru_cache
from pathlib import Path

from worker.security.waf.forms import Forms, TooCostlyError
from worker.security.waf.operators import Match, OperatorError, number_of, prepare
from worker.security.waf.pcre import Groups
from worker.security.waf.plan import Effect
from worker.security.waf.probes import REMEMBERED, Probes
from worker.security.waf.program import program
from worker.security.waf.ruleset import Control, Link, Rule, RuleSet, SetVar, id_ranges
from worker.security.waf.state import CLEAN, SCORES, Intervention, Matched, State, Verdict
from worker.security.waf.transaction import HttpRequest, HttpResponse, Limits, Transaction

_INTERRUPTS = frozenset({"deny", "drop", "redirect"})


class Engine:
    """One set of rules. `enforces`: the first rule that denies ends the pass; otherwise it is only noted."""

    def __init__(
        self,
        rules: RuleSet,
        *,
        enforces: bool = False,
        limits: Limits | None = None,
        cache: Path | None = None,
    ) -> None:
        self.program = program(rules)
        self._enforces = enforces
        self._limits = limits or Limits()
        self._cache = cache
        self._forms = Forms(self._limits.budget_ns)
        self._clean: set[tuple[int, tuple[Effect, ...]]] = set()  # findings of which nothing came

    @cached_property
    def _probes(self) -> Probes:
        return Probes(self.program, self._limits, self._forms, self._cache)

    def prepare(self) -> None:
        """Compile the patterns now (seconds) or load them from the cache; else the first request does."""
        self._probes  # noqa: B018

    def judge(self, request: HttpRequest) -> Verdict:
        """What phases 1 and 2 come to, for who wants no more: a request like others before costs little."""
        if not self._is_bare(request):
            return _verdict(self.inspect(request))
        self._forms.clear()
        try:
            found = self._probes.of_head(request)
        except TooCostlyError:
            return _verdict(self._refused(request))
        hits = self._probes.hits(found)
        key = (hits, found.effects)
        if key in self._clean:
            return CLEAN
        state = self._run_bare(request, hits)
        if state.matched or state.intervention is not None or hits & self._probes.unforeseen:
            return _verdict(state)
        if len(self._clean) >= REMEMBERED:
            self._clean.clear()
        self._clean.add(key)
        return CLEAN

    def inspect(self, request: HttpRequest) -> State:
        """Phases 1 and 2 of a whole request, with all that later phases need.

        One that takes longer than `Limits.budget_ns` is denied.
        """
        self._forms.clear()
        try:
            hits = self._probes.hits(self._probes.of_head(request))
        except TooCostlyError:
            return self._refused(request)
        if self._is_bare(request):
            return self._run_bare(request, hits)
        state = State(Transaction(request, self._limits), self._enforces, self._forms)
        try:
            self.run(state, 1, hits)
            if self._goes_on(state):
                self._forms.begin()
                state.transaction.read_body()
                self.run(state, 2, self._probes.hits(self._probes.of_transaction(state)))
        except TooCostlyError:
            _refuse(state)
        return state

    def inspect_all(self, request: HttpRequest) -> State:
        """The same as `inspect`, every rule asked: the slow way, to check the other by."""
        state = State(Transaction(request, self._limits), self._enforces, Forms())
        self.run(state, 1)
        if self._goes_on(state):
            state.transaction.read_body()
            self.run(state, 2)
        return state

    def _is_bare(self, request: HttpRequest) -> bool:
        """Whether the head is all there is, within all limits."""
        if request.body or request.target.count(b"&") >= self._limits.arguments:
            return False
        for name, _ in request.fields:
            if len(name) == 12 and name.lower() == b"content-type":
                return False
        return True

    def _run_bare(self, request: HttpRequest, hits: int) -> State:
        state = State(Transaction(request, self._limits), self._enforces, self._forms)
        try:
            self.run(state, 1, hits)
            if self._goes_on(state):
                state.transaction.read_body()
                self.run(state, 2, hits)
        except TooCostlyError:
            _refuse(state)
        return state

    def _refused(self, request: HttpRequest) -> State:
        state = State(Transaction(request, self._limits), self._enforces, self._forms)
        _refuse(state)
        return state

    def response(self, state: State, response: HttpResponse) -> None:
        """Phases 3 and 4, within a budget of their own."""
        self._forms.clear()
        try:
            if self._goes_on(state):
                state.transaction.read_response(response)
                self.run(state, 3)
            if self._goes_on(state):
                state.transaction.read_response_body(response.body)
                self.run(state, 4)
        except TooCostlyError:
            _refuse(state)

    def finish(self, state: State) -> None:
        """Phase 5: rules that only report."""
        state.forms = Forms()
        self.run(state, 5)

    def _goes_on(self, state: State) -> bool:
        return not state.is_off and not (self._enforces and state.is_blocked)

    # One phase

    def run(self, state: State, phase: int, hits: int = -1) -> None:
        """Every rule of the phase among `hits` (bits by index), as far as rules let it run."""
        entries = self.program.phases[phase]
        place = 0
        while place < len(entries):
            rule = entries[place]
            place += 1
            if not isinstance(rule, Rule):
                if rule is not None:
                    state.transaction.tx.update(rule.values)
                continue
            if not hits >> rule.index & 1:
                state.matched_vars = []  # as when it had been asked
                continue
            if is_removed(state, rule):
                continue
            if not matches(state, rule):
                continue
            complete(state, rule)
            if state.enforces and state.is_blocked and phase != 5:
                return
            if rule.jump >= 0:
                place = rule.jump


def _refuse(state: State) -> None:
    """Note that the time was used up: what is undecided counts as found."""
    message = "takes too long to inspect"
    state.matched.append(
        Matched(id=0, variable="", part=b"", message=message, data="", severity="CRITICAL", tags=(), score=0)
    )
    if state.intervention is None:
        state.intervention = Intervention(0, "deny", 403, message)


def _verdict(state: State) -> Verdict:
    return Verdict(tuple(state.matched), state.intervention)


def is_removed(state: State, rule: Rule) -> bool:
    """Whether a `ctl` of an earlier rule has switched this one off."""
    return any(rule.id in ids for ids in state.removed_ids) or not state.removed_tags.isdisjoint(rule.tags)


def matches(state: State, rule: Rule) -> bool:
    """Whether the whole chain matches. Variables are set link by link, even if a later link does not."""
    state.score = 0
    state.first = None
    state.rule = {b"id": b"%d" % rule.id, b"msg": rule.message.text.encode("latin-1")}
    return all(_link_matches(state, rule, link) for link in rule.links)


def _link_matches(state: State, rule: Rule, link: Link) -> bool:
    if not link.operator:
        for setvar in link.setvars:
            _set(state, setvar)
        return True
    match = link.match or _prepared(link.operator, link.argument.expand(state), link.folder)
    removed = removed_targets(state, rule)
    found = False
    for watch in link.watches:
        if removed and watch.name in removed:
            continue
        for label, value in watch.values(state):
            if removed and label.decode("latin-1") in removed:
                continue
            state.forms.spend(value)
            for candidate in _candidates(state, link, value):
                groups = state.forms.answer(match, candidate)
                if (groups is None) is link.negated:
                    found = True
                    _on_match(state, link, label, candidate, groups)
    if not found:
        state.matched_vars = []
    return found


@lru_cache(4096)
def _prepared(operator: str, argument: bytes, folder: Path) -> Match:
    """An argument that a request had a part in may mean nothing to the operator: then nothing matches."""
    try:
        return prepare(operator, argument, folder)
    except OperatorError:
        return _never


def _never(value: bytes) -> None:
    return None


def removed_targets(state: State, rule: Rule) -> set[str]:
    """What `ctl` has taken out of this rule's sight."""
    if not state.removed_targets and not state.removed_targets_by_tag:
        return set()
    names = {target for ids, target in state.removed_targets if rule.id in ids}
    for tag, targets in state.removed_targets_by_tag.items():
        if tag in rule.tags:
            names |= targets
    return names


def _candidates(state: State, link: Link, value: bytes) -> list[bytes]:
    """The value as the operator gets to see it; with multiMatch after each transformation that changed it."""
    names = link.transformations
    if not link.multi_match:
        return [state.forms.transformed(value, names)]
    forms = [value]
    for count in range(1, len(names) + 1):
        form = state.forms.transformed(value, names[:count])
        if form != forms[-1]:
            forms.append(form)
    return forms


def _on_match(state: State, link: Link, label: bytes, value: bytes, groups: Groups | None) -> None:
    if groups and link.captures:
        tx = state.transaction.tx
        for index, group in enumerate(groups[:10]):
            if group is not None:
                tx[b"%d" % index] = group
    state.matched_vars.append((label, value))
    if state.first is None:
        state.first = (label, groups[0] or b"") if groups else (label, value)
    for setvar in link.setvars:
        _set(state, setvar)


def _set(state: State, setvar: SetVar) -> None:
    variables = state.transaction.writable.setdefault(setvar.collection, {})
    name = setvar.name.expand(state).lower()
    if setvar.op == "!":
        variables.pop(name, None)
        return
    value = setvar.value.expand(state)
    if setvar.op == "=":
        variables[name] = value
        return
    step = number_of(value) if setvar.op == "+" else -number_of(value)
    variables[name] = b"%d" % (number_of(variables.get(name, b"")) + step)
    if setvar.collection == "TX" and SCORES.fullmatch(name):
        state.score += step


# A rule whose whole chain matched


def complete(state: State, rule: Rule) -> None:
    """Run what only a full match runs: controls, the report, the disruptive action."""
    for link in reversed(rule.links):
        for control in link.controls:
            _control(state, control)
    message = rule.message.expand(state).decode("utf-8", "replace")
    if rule.logs:
        label, part = state.first or (b"", b"")
        state.matched.append(
            Matched(
                id=rule.id,
                variable=label.decode("utf-8", "replace"),
                part=part,
                message=message,
                data=rule.data.expand(state).decode("utf-8", "replace"),
                severity=rule.severity,
                tags=rule.tags,
                score=state.score,
            )
        )
    if rule.disruptive in _INTERRUPTS and state.intervention is None and rule.phase != 5:
        state.intervention = Intervention(rule.id, rule.disruptive, rule.status, message)


def _control(state: State, control: Control) -> None:
    value = control.value
    if control.name == "ruleengine":
        state.is_off = value.lower() == "off"
    elif control.name == "ruleremovebyid":
        state.removed_ids += id_ranges(value)
    elif control.name == "ruleremovebytag":
        state.removed_tags.add(value)
    elif control.name == "ruleremovetargetbyid":
        rules, _, target = value.partition(";")
        state.removed_targets += [(ids, target) for ids in id_ranges(rules)]
    elif control.name == "ruleremovetargetbytag":
        tag, _, target = value.partition(";")
        state.removed_targets_by_tag.setdefault(tag, set()).add(target)
    elif control.name == "requestbodyprocessor":
        state.transaction.use_processor(value.upper().encode("latin-1"))
