"""Counts what proxies did with the same scripts: broken rules, permitted differences by cause, answers."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.differential import rules
from tests.differential.causes import Cause, cause_of, cause_of_answer, is_serious
from tests.differential.judge import Finding
from tests.differential.play import Seen
from tests.differential.rules import Rule
from tests.differential.script import Script, show

OURS = "edgecluster"
_OF_FIELDS = (
    rules.AGE,
    rules.AGE_VALUE,
    rules.UPDATED,
    rules.HOP_BY_HOP,
)  # say nothing about the reuse itself
EXAMPLES = 2


@dataclass(slots=True)
class Tally:
    """All that is reported of a run."""

    scripts: int = 0
    steps: int = 0
    ways: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # by proxy
    broken: dict[Rule, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    they_reuse: dict[Cause, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    we_reuse: dict[Cause, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    answers: dict[Cause, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    examples: dict[object, list[str]] = field(default_factory=lambda: defaultdict(list))
    faults: list[str] = field(default_factory=list)  # of ours: scripts in which we broke a rule

    def add(
        self,
        number: int,
        script: Script,
        seen: Mapping[str, Sequence[Seen]],
        found: Mapping[str, list[Finding]],
    ) -> None:
        """One script's findings by proxy."""
        self.scripts += 1
        self.steps += len(script)
        for name, findings in found.items():
            self.ways[name].update(finding.way for finding in findings)
            for at, finding in enumerate(findings):
                for rule in finding.broken:
                    self.broken[rule][name] += 1
                    self._example((rule, name), number, at, script)
                    if name == OURS and is_serious(rule):
                        self.faults.append(
                            f"{rule}, script {number}, step {at}:\n{show(script)}\n{seen[name][at]}"
                        )
        for name in found:
            if name != OURS and OURS in found:
                self._compare(number, script, name, seen, found)

    def _compare(
        self,
        number: int,
        script: Script,
        name: str,
        seen: Mapping[str, Sequence[Seen]],
        found: Mapping[str, list[Finding]],
    ) -> None:
        """The first step in which they differ; later ones start from different stores."""
        for at, (ours, theirs) in enumerate(zip(found[OURS], found[name], strict=True)):
            if (ours.way == "reused") != (theirs.way == "reused"):
                we = ours.way == "reused"
                reused, who = (ours, OURS) if we else (theirs, name)
                if any(is_serious(rule) and rule not in _OF_FIELDS for rule in reused.broken):
                    return  # counted as a broken rule
                cause = cause_of(script[at].asked, reused, seen[who][at].began_s)
                (self.we_reuse if we else self.they_reuse)[cause][name] += 1
                self._example((cause, name, we), number, at, script)
                return
            if ours.status != theirs.status:
                statuses = ours.status, theirs.status
                cause = cause_of_answer(script[at].asked, statuses)
                self.answers[cause][name] += 1
                self._example((cause, name, statuses), number, at, script)
                if ours.way != "reused":
                    return

    def _example(self, key: object, number: int, at: int, script: Script) -> None:
        if len(self.examples[key]) < EXAMPLES:
            self.examples[key].append(f"script {number}, step {at}:\n{show(script)}")


def report(tally: Tally, names: Sequence[str]) -> str:
    """Three tables in Markdown."""
    peers = [name for name in names if name != OURS]
    lines = [f"{tally.scripts} scripts, {tally.steps} steps at each proxy.", ""]
    for name in names:
        ways = ", ".join(f"{way} {count}" for way, count in tally.ways[name].most_common())
        lines.append(f"- {name}: {ways}")
    lines += ["", *_row("Section", "", "What it says", *names), *_rule(3 + len(names))]
    for rule, counts in sorted(tally.broken.items(), key=lambda item: -sum(item[1].values())):
        lines += _row(rule.section, rule.strength, rule.sentence, *(counts[name] or "" for name in names))
    lines += ["", *_row("Section", "What it permits", "What we do", *peers), *_rule(3 + len(peers))]
    causes = {**tally.they_reuse, **tally.we_reuse}
    weight = {c: sum(tally.they_reuse[c].values()) + sum(tally.we_reuse[c].values()) for c in causes}
    for cause in sorted(causes, key=lambda cause: -weight[cause]):
        cells = [f"{tally.they_reuse[cause][name]} / {tally.we_reuse[cause][name]}" for name in peers]
        lines += _row(cause.section, cause.sentence, cause.ours, *cells)
    lines += ["", *_row("Section", "What it permits", "What we do", *peers), *_rule(3 + len(peers))]
    for cause, counts in sorted(tally.answers.items(), key=lambda item: -sum(item[1].values())):
        lines += _row(cause.section, cause.sentence, cause.ours, *(counts[name] or "" for name in peers))
    return "\n".join(lines)


def _row(*cells: object) -> list[str]:
    return ["| " + " | ".join(str(cell) for cell in cells) + " |"]


def _rule(columns: int) -> list[str]:
    return ["|" + " --- |" * columns]
