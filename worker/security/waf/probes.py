"""Which rules can match a request at all, asked of its values before any rule runs.

A rule matches only if each link of its chain finds a value, so a link that finds none rules it out. Links
that look at the request alone are asked here, about every value by itself, and what a whole line, field or
head came to is remembered, because most requests bring what others brought before. The answer is a set of
rules as bits of a number; running them is the engine's business.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from worker.security import prefilter
from worker.security.prefilter import Pattern, Prefilter
from worker.security.waf import words
from worker.security.waf.forms import LONG, Form, Forms
from worker.security.waf.plan import NOTHING, Finding, Plan, Question, pattern_of
from worker.security.waf.program import MATCHED, TX_CAPTURES, Program
from worker.security.waf.ruleset import Link, Rule
from worker.security.waf.state import State
from worker.security.waf.targets import Watch
from worker.security.waf.transaction import HttpRequest, Limits, Pairs, Transaction, cookies

FEW_OF = 4  # so small a part of all patterns has a database of its own
MANY = 4  # patterns from which on one look for all of them is cheaper than a look for each
REMEMBERED = 1024  # heads, lines and the like; a full memory begins anew

LINE = frozenset(
    {
        "ARGS", "ARGS_COMBINED_SIZE", "ARGS_GET", "ARGS_GET_NAMES", "ARGS_NAMES", "PATH_INFO", "QUERY_STRING",
        "REQUEST_BASENAME", "REQUEST_FILENAME", "REQUEST_LINE", "REQUEST_METHOD", "REQUEST_PROTOCOL",
        "REQUEST_URI", "REQUEST_URI_RAW", "URLENCODED_ERROR",
    }
)  # fmt: skip
FIELDS = frozenset({"REQUEST_COOKIES", "REQUEST_COOKIES_NAMES", "REQUEST_HEADERS", "REQUEST_HEADERS_NAMES"})
ADDRESS = frozenset({"REMOTE_ADDR", "REMOTE_HOST"})
BODY = frozenset(
    {
        "ARGS_POST", "ARGS_POST_NAMES", "FILES", "FILES_COMBINED_SIZE", "FILES_NAMES", "FILES_SIZES",
        "FILES_TMP_CONTENT", "MULTIPART_FILENAME", "MULTIPART_NAME", "MULTIPART_PART_HEADERS",
        "REQBODY_ERROR", "REQUEST_BODY", "REQUEST_BODY_LENGTH", "XML",
        *(name for name in words.SCALARS if name.startswith("MULTIPART_")),
    }
)  # fmt: skip
_PROBED = LINE | FIELDS | ADDRESS | BODY
_PHASES = (1, 2)

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Count:
    """A question about how many members of a collection are picked."""

    question: Question
    watch: Watch


class Probes:
    """The questions of a program, by variable. `cache` is the folder for compiled patterns."""

    def __init__(self, program: Program, limits: Limits, forms: Forms, cache: Path | None = None) -> None:
        self._forms = forms
        self._limits = limits
        rules = [rule for rule in program.rules if rule.phase in _PHASES]  # which have the lowest indexes
        self._width = len(rules)
        self._asked: dict[str, list[tuple[Question, Watch]]] = {}
        self._counted: dict[str, list[_Count]] = {}
        depth = max((len(rule.links) for rule in rules), default=1)
        self._shifts = tuple(self._width * position for position in range(depth))
        self._unasked = 0  # links that nobody asks about beforehand: they may always match
        self.unforeseen = 0  # rules whose outcome hangs on what no finding holds
        for rule in rules:
            self._add(rule)
        self._patterns = {pattern: number for number, pattern in enumerate(self._worth_searching())}
        self._plans: dict[str, dict[bytes, Plan]] = {variable: {} for variable in self._asked}
        self._picky = {variable: _picky(asked) for variable, asked in self._asked.items()}
        self._picked: dict[tuple[str, tuple[bool, ...]], Plan] = {}
        self._shared: dict[tuple[int, ...], Plan] = {}
        self._lines: dict[tuple[bytes, bytes, bytes], Finding] = {}
        self._fields: dict[tuple[bytes, bytes], Finding] = {}
        self._heads: dict[tuple[bytes, ...], Finding] = {}
        self._addresses: dict[str, Finding] = {}
        self._filters = self._compiled(cache)
        self._of_lines = self._known(LINE)
        self._every = self._known(_PROBED)
        self._without_body = self._of_empty_body()

    # Which rules can match

    def hits(self, found: Finding) -> int:
        """The rules, by index, that the finding does not rule out."""
        bits = found.bits | self._unasked
        hits = bits
        for shift in self._shifts[1:]:
            hits &= bits >> shift
        return hits & ((1 << self._width) - 1)

    # Asking

    def of_head(self, request: HttpRequest) -> Finding:
        """A request that has no body."""
        found = Finding(self._without_body.bits, self._without_body.effects)
        key = (request.method, request.target, request.version)
        line = self._lines.get(key)
        if line is None:
            line = _remember(self._lines, key, self._of_line(request))
        found.add(line)
        names = []
        for pair in request.fields:
            names.append(pair[0])
            finding = self._fields.get(pair)
            if finding is None:
                finding = _remember(self._fields, pair, self._of_field(pair[0], pair[1]))
            if finding is not NOTHING:
                found.add(finding)
        key_of_names = tuple(names)
        head = self._heads.get(key_of_names)
        if head is None:
            head = _remember(self._heads, key_of_names, self._of_names(request))
        found.add(head)
        address = self._addresses.get(request.address)
        if address is None:
            address = _remember(self._addresses, request.address, self._of_address(request.address))
        found.add(address)
        return found

    def of_transaction(self, state: State) -> Finding:
        """Every variable there is by now."""
        found = Finding()
        self._of_variables(state.transaction, self._every, found)
        return found

    def _of_line(self, request: HttpRequest) -> Finding:
        if len(request.target) > LONG:
            self._forms.begin()
        bare = HttpRequest(request.method, request.target, request.version, ())
        return self._of_variables(Transaction(bare, self._limits), self._of_lines, Finding())

    def _of_variables(self, transaction: Transaction, variables: Sequence[str], found: Finding) -> Finding:
        for variable in variables:
            if variable in words.SCALARS:
                self._of_member(variable, b"", transaction.scalar(variable), found)
                members: Pairs = []
            else:
                members = transaction.collections.get(variable, [])
                for name, value in members:
                    self._of_member(variable, name, value, found)
            if variable in self._counted:
                self._count(variable, [name for name, _ in members], found)
        return found

    def _of_field(self, name: bytes, value: bytes) -> Finding:
        found = Finding()
        self._of_member("REQUEST_HEADERS_NAMES", name, name, found)
        self._of_member("REQUEST_HEADERS", name, value, found)
        if name.lower() == b"cookie":
            for cookie, content in cookies(value):
                self._of_member("REQUEST_COOKIES_NAMES", cookie, cookie, found)
                self._of_member("REQUEST_COOKIES", cookie, content, found)
        return found if found.bits else NOTHING

    def _of_member(self, variable: str, name: bytes, value: bytes, found: Finding) -> None:
        plans = self._plans.get(variable)
        if plans is None:
            return
        plan = plans.get(name)
        if plan is None:
            plan = self._plan(variable, name)
        finding = plan.find(variable, name, value)
        if finding is not NOTHING:
            found.add(finding)

    def _of_names(self, request: HttpRequest) -> Finding:
        """How many fields and cookies of which name there are. Cookies are counted by the engine itself."""
        found = Finding()
        names = [name for name, _ in request.fields]
        for variable in ("REQUEST_HEADERS", "REQUEST_HEADERS_NAMES"):
            self._count(variable, names, found)
        return found

    def _of_address(self, address: str) -> Finding:
        bare = HttpRequest(b"", b"", b"", (), address=address)
        return self._of_variables(Transaction(bare, self._limits), self._known(ADDRESS), Finding())

    def _of_empty_body(self) -> Finding:
        bare = Transaction(HttpRequest(b"", b"", b"", ()), self._limits)
        bare.read_body()
        return self._of_variables(bare, self._known(BODY), Finding())

    def _known(self, variables: Iterable[str]) -> list[str]:
        """Those about which something is asked."""
        return [name for name in variables if name in self._asked or name in self._counted]

    def _count(self, variable: str, names: Sequence[bytes], found: Finding) -> None:
        for count in self._counted.get(variable, ()):
            number = b"%d" % sum(count.watch.covers(name) for name in names)
            count.question.ask((variable, b"", number), Form(number), found, self._forms)

    def _plan(self, variable: str, name: bytes) -> Plan:
        picked = tuple([watch.covers(name) for watch in self._picky[variable]])
        plan = self._picked.get((variable, picked))
        if plan is None:
            plan = _remember(self._picked, (variable, picked), self._plan_of_covering(variable, name))
        return _remember(self._plans[variable], name, plan)

    def _plan_of_covering(self, variable: str, name: bytes) -> Plan:
        covered = self._covering(variable, name)
        key = tuple(question.bit for question in covered)
        plan = self._shared.get(key)
        if plan is None:
            plan = self._shared[key] = self._new_plan(covered)
        return plan

    def _covering(self, variable: str, name: bytes) -> list[Question]:
        """What is asked about members of this name."""
        asked = self._asked[variable]
        return [question for question, watch in asked if watch.is_scalar or watch.covers(name)]

    def _worth_searching(self) -> dict[Pattern, None]:
        """The patterns for hyperscan: many for one kind of value. Where they are few, each is asked."""
        kinds: dict[tuple[str, bytes | None], dict[Pattern, None]] = {}
        for variable, asked in self._asked.items():
            for question, watch in asked:
                pattern = pattern_of(question.link)
                if pattern is not None and not _is_in_anything(question):
                    kinds.setdefault((variable, watch.exact), {})[pattern] = None
        many = [
            patterns
            for patterns in kinds.values()
            if len(patterns) >= MANY or any(p.phrases for p in patterns)
        ]
        return dict.fromkeys(pattern for patterns in many for pattern in patterns)

    def _compiled(self, cache: Path | None) -> list[tuple[int, Prefilter]]:
        """With the patterns in each, the smallest first; the last has all.

        Looking for less is faster, so what is asked about one kind of value, if it is little, has a database
        of its own.
        """
        found = {sum(1 << number for number in self._patterns.values())}
        for variable, asked in self._asked.items():
            for name in {watch.exact for _, watch in asked} | {None}:
                patterns = self._mask(self._covering(variable, name or b""))
                if 0 < patterns.bit_count() <= len(self._patterns) // FEW_OF:
                    found.add(patterns)
        return [
            (patterns, prefilter.compiled(self._chosen(patterns), cache))
            for patterns in sorted(found, key=int.bit_count)
        ]

    def _chosen(self, patterns: int) -> list[tuple[int, Pattern]]:
        return [(number, pattern) for pattern, number in self._patterns.items() if patterns >> number & 1]

    def _new_plan(self, questions: list[Question]) -> Plan:
        """With the smallest prefilter that holds all that is asked."""
        asked = self._mask(questions)
        search = next(search for patterns, search in self._filters if not asked & ~patterns)
        return Plan(questions, self._patterns, search, self._forms)

    def _mask(self, questions: Iterable[Question]) -> int:
        found = [pattern_of(question.link) for question in questions]
        return sum({1 << self._patterns[pattern] for pattern in found if pattern in self._patterns})

    # What is asked about

    def _add(self, rule: Rule) -> None:
        asked = _asked_links(rule)
        is_keyed, keeps_value, is_foreseen = _nature(rule)
        if rule.logs and len(asked) == len(rule.links):
            is_keyed = keeps_value = False  # if it can match it does, and is reported
        for position, link in enumerate(rule.links):
            bit = 1 << (rule.index + self._width * position)
            if position not in asked:
                self._unasked |= bit
                is_foreseen = is_foreseen and all(watch.dynamic for watch in link.watches)
                continue
            question = Question(bit, link, keeps_value=keeps_value, is_keyed=is_keyed)
            for watch in link.watches:
                if watch.counts:
                    self._counted.setdefault(watch.variable, []).append(_Count(question, watch))
                else:
                    self._asked.setdefault(watch.variable, []).append((question, watch))
        for position in range(len(rule.links), len(self._shifts)):
            self._unasked |= 1 << (rule.index + self._width * position)
        if not is_foreseen:
            self.unforeseen |= 1 << rule.index


def _asked_links(rule: Rule) -> set[int]:
    """The links to ask about: once one has set variables, those behind it end no rule without a trace."""
    asked = set()
    for position, link in enumerate(rule.links):
        if _is_askable(rule, link):
            asked.add(position)
        if link.setvars:
            break
    return asked


def _is_askable(rule: Rule, link: Link) -> bool:
    """Whether its answer depends on values of the request, each by itself, or on how many there are."""
    if not link.operator or link.match is None:
        return False
    known = _PROBED - BODY if rule.phase == 1 else _PROBED
    counted = (LINE | BODY | {"REQUEST_HEADERS", "REQUEST_HEADERS_NAMES"}) & known
    return all(
        not watch.dynamic
        and watch.variable in (counted if watch.counts else known)
        and not (watch.counts and (watch.is_scalar or link.transformations or link.multi_match))
        for watch in link.watches
    )


def _nature(rule: Rule) -> tuple[bool, bool, bool]:
    """Of a rule's effects: do they hang on captures or counts, on matched values, on nothing unforeseen?"""
    is_keyed = keeps_value = False
    is_foreseen = True
    for link in rule.links:
        references = [*link.argument.references]
        for setvar in link.setvars:
            references += [*setvar.name.references, *setvar.value.references]
            is_keyed = is_keyed or setvar.op in ("+", "-")
        for watch in link.watches:
            if watch.variable in MATCHED:
                keeps_value = True
            elif watch.variable == "TX" and (watch.exact is None or watch.exact in TX_CAPTURES):
                is_keyed = True
        for variable, name in references:
            if variable in MATCHED:
                keeps_value = True
            elif variable != "TX":
                is_foreseen = False
            elif name in TX_CAPTURES:
                is_keyed = True
        is_foreseen = is_foreseen and not any(
            control.name not in words.INERT_CONTROLS for control in link.controls
        )
    return is_keyed or keeps_value, keeps_value, is_foreseen


def _picky(asked: list[tuple[Question, Watch]]) -> list[Watch]:
    """The watches that do not look at every member, each way of choosing once."""
    chosen = {
        (watch.exact, watch.picks): watch
        for _, watch in asked
        if not watch.is_scalar and (watch.exact is not None or watch.picks is not None)
    }
    return list(chosen.values())


def _is_in_anything(question: Question) -> bool:
    """Whether nearly every value matches, so that a look for the pattern tells nothing."""
    return all(question.match(value) is not None for value in (b"ordinary", b"12"))


def _remember(memory: dict[Key, Value], key: Key, value: Value) -> Value:
    if len(memory) >= REMEMBERED:
        memory.clear()
    memory[key] = value
    return value
