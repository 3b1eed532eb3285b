"""Questions about single values: does this link of this rule match here? Answers are remembered by value.

hyperscan names the patterns that may be in a value after each chain of transformations, the exact operator
confirms; operators that are no searches are asked one by one. Knows links and values, not where values come
from.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from worker.security.prefilter import Pattern, Prefilter
from worker.security.waf.forms import Form, Forms, step
from worker.security.waf.needs import NOTHING as NOTHING_NEEDED
from worker.security.waf.needs import any_of, needs
from worker.security.waf.operators import file_lines, phrases_of
from worker.security.waf.pcre import Groups
from worker.security.waf.ruleset import Link
from worker.security.waf.triggers import effective, traits

FEW = 3  # so many questions are asked outright: searching would cost more
REMEMBERED = 1024  # values per plan; a full memory begins anew
REMEMBERED_BYTES = 2048  # a longer value comes too seldom to be remembered

_SEARCHES = frozenset({"pm", "pmf", "pmfromfile", "rx"})

Origin = tuple[str, bytes, bytes]  # variable, name and value of a member
Effect = tuple[int, Groups | None, Origin | None]  # the link, and what its rule's outcome hangs on besides


class Finding:
    """Links that match (as bits), and of rules whose outcome hangs on more than that, what it hangs on."""

    __slots__ = ("bits", "effects")

    def __init__(self, bits: int = 0, effects: tuple[Effect, ...] = ()) -> None:
        self.bits = bits
        self.effects = effects

    def add(self, other: "Finding") -> None:
        self.bits |= other.bits
        if other.effects:
            self.effects += other.effects


NOTHING = Finding()


class Question:
    """One link of one rule, asked about single values."""

    __slots__ = (
        "bit", "is_keyed", "is_negated", "is_phrase", "keeps_groups", "keeps_value", "link", "match", "needs",
    )  # fmt: skip

    def __init__(self, bit: int, link: Link, *, keeps_value: bool, is_keyed: bool) -> None:
        assert link.match is not None  # only links whose argument is known are asked
        self.bit = bit
        self.link = link
        self.match = link.match
        self.is_negated = link.negated
        # a value that holds none of these kinds of bytes is no match
        self.needs = NOTHING_NEEDED if link.negated else needs(link.operator, link.argument.text, link.folder)
        self.is_keyed = is_keyed  # its rule's outcome hangs on more than whether this matches:
        self.keeps_groups = link.captures
        self.keeps_value = keeps_value
        # whether hyperscan's word is enough
        self.is_phrase = _is_plain(pattern_of(link)) and not (is_keyed and link.captures)

    def ask(self, origin: Origin, asked: Form, found: Finding, forms: Forms) -> None:
        """Ask the exact operator about a transformed value, and write the answer down."""
        if self.needs and not self.needs & asked.held:
            return
        groups = forms.answer(self.match, asked.text)
        if (groups is None) is self.is_negated:
            self.note(origin, groups, found)

    def note(self, origin: Origin, groups: Groups | None, found: Finding) -> None:
        """Write down that it matches."""
        found.bits |= self.bit
        if self.is_keyed:
            kept = groups if self.keeps_groups else None
            found.effects += ((self.bit, kept, origin if self.keeps_value else None),)


class Group:
    """Questions about values after the same transformations."""

    __slots__ = ("by_pattern", "direct", "last", "needs", "scanned", "searches")

    def __init__(self, transformations: tuple[str, ...]) -> None:
        self.last = step(transformations)
        # hyperscan looks without case
        is_lower = transformations[-1:] == ("lowercase",)
        self.scanned = step(transformations[:-1]) if is_lower else self.last
        self.searches = False
        self.needs = NOTHING_NEEDED  # by all that is searched
        self.by_pattern: dict[int, list[Question]] = {}
        self.direct: list[Question] = []  # what hyperscan is not asked

    def add(self, question: Question, number: int | None) -> None:
        """`number` is that of the pattern in the prefilter."""
        if number is None:
            self.direct.append(question)
            return
        self.needs = any_of((self.needs, question.needs)) if self.searches else question.needs
        self.searches = True
        self.by_pattern.setdefault(number, []).append(question)


class Plan:
    """The questions about the values of one kind, say of all arguments; remembers answers."""

    def __init__(
        self, questions: Sequence[Question], patterns: dict[Pattern, int], search: Prefilter, forms: Forms
    ) -> None:
        self._forms = forms
        self._search = search
        self._needs_origin = any(question.keeps_value for question in questions)
        self._memory: dict[object, Finding] = {}
        self._spare = Finding()  # most values have none
        self._groups: dict[int, list[Group]] = {}  # by a value's traits
        self._made: dict[tuple[tuple[str, ...], tuple[int, ...]], Group] = {}
        self._asked: list[tuple[tuple[str, ...], Question, int | None]] = []
        searches = len(questions) > FEW
        for question in questions:
            pattern = pattern_of(question.link) if searches else None
            number = None if pattern is None else patterns.get(pattern)
            names = question.link.transformations
            for count in range(len(names) + 1) if question.link.multi_match else (len(names),):
                self._asked.append((names[:count], question, number))

    def find(self, variable: str, name: bytes, value: bytes) -> Finding:
        """What is found in a value; `variable` and `name` are what it is a value of."""
        key: object = (variable, name, value) if self._needs_origin else value
        known = self._memory.get(key)
        if known is not None:
            return known
        found = self._look((variable, name, value), value)
        if len(value) <= REMEMBERED_BYTES:
            if len(self._memory) >= REMEMBERED:
                self._memory.clear()
            self._memory[key] = found
        return found

    def _look(self, origin: Origin, value: bytes) -> Finding:
        whole = self._forms.of(value)
        held = traits(whole.held)
        groups = self._groups.get(held)
        if groups is None:
            groups = self._groups[held] = self._grouped(held)
        found = self._spare
        found.bits, found.effects = 0, ()
        for group in groups:
            self._forms.spend(value)
            if group.searches:
                self._search_in(group, whole, origin, found)
            if group.direct:
                self._ask(group.direct, self._forms.after(whole, group.last), origin, found)
        if not found.bits:
            return NOTHING
        self._spare = Finding()
        return found

    def _search_in(self, group: Group, whole: Form, origin: Origin, found: Finding) -> None:
        scanned = self._forms.after(whole, group.scanned)
        if group.needs and not group.needs & scanned.held:
            return
        if scanned.searched_by is not self._search:
            scanned.candidates = self._search.candidates(scanned.text)
            scanned.searched_by = self._search
        for number in scanned.candidates:
            questions = group.by_pattern.get(number)
            if questions is not None:
                self._confirm(questions, self._forms.after(whole, group.last), origin, found)

    def _confirm(self, questions: Sequence[Question], asked: Form, origin: Origin, found: Finding) -> None:
        self._forms.spend(asked.text)
        for question in questions:
            if question.is_phrase:
                question.note(origin, None, found)
            else:
                question.ask(origin, asked, found, self._forms)

    def _ask(self, questions: Sequence[Question], asked: Form, origin: Origin, found: Finding) -> None:
        self._forms.spend(asked.text)
        for question in questions:
            question.ask(origin, asked, found, self._forms)

    def _grouped(self, held: int) -> list[Group]:
        """The questions by what must be done to a value with these traits.

        With multiMatch one is asked after each transformation, of which only those count that do something.
        """
        chosen: dict[tuple[str, ...], list[int]] = {}
        seen: set[tuple[tuple[str, ...], int]] = set()
        for place, (names, question, _) in enumerate(self._asked):
            left = effective(names, held)
            if (left, question.bit) not in seen:
                seen.add((left, question.bit))
                chosen.setdefault(left, []).append(place)
        return [self._group(left, tuple(places)) for left, places in chosen.items()]

    def _group(self, left: tuple[str, ...], places: tuple[int, ...]) -> Group:
        """Made once: values of many traits are asked the same."""
        key = (left, places)
        group = self._made.get(key)
        if group is None:
            group = self._made[key] = Group(left)
            for place in places:
                _, question, number = self._asked[place]
                group.add(question, number)
        return group


def pattern_of(link: Link) -> Pattern | None:
    """What hyperscan is to look for; None for what it is not asked."""
    if link.negated or link.operator not in _SEARCHES:
        return None
    return _pattern(link.operator, link.argument.text, link.folder)


def _is_plain(pattern: Pattern | None) -> bool:
    """Whether hyperscan decides it as the operator does: phrases of ASCII."""
    return pattern is not None and all(map(bytes.isascii, pattern.phrases)) and bool(pattern.phrases)


@lru_cache(4096)
def _pattern(operator: str, argument: str, folder: Path) -> Pattern | None:
    text = argument.encode("latin-1")
    if operator == "rx":
        return Pattern(expression=text)
    listed = phrases_of(text) if operator == "pm" else file_lines(folder / argument.strip())
    return Pattern(phrases=tuple(listed)) if listed else None
