"""How good the attack detection is: `python -m tests.security.judge [--set tuning|judging] [--show]`.

Prints, class by class, how much of the corpus's attacks is refused, and kind by kind how much of what is
harmless is refused too. It takes any verdict function; by default edgecluster's own detectors at their
default threshold.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.security.items import SETS, Item, items

THRESHOLD = 5

Verdict = Callable[[Item], bool]


@dataclass
class Tally:
    """The items of one class: how many, and which were refused and which passed."""

    refused: list[Item] = field(default_factory=list)
    passed: list[Item] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The refused share in percent."""
        return 100 * len(self.refused) / (len(self.refused) + len(self.passed))


@dataclass
class Score:
    """Tallies of attacks and of harmless items by class, and the two rates over all."""

    attacks: dict[str, Tally] = field(default_factory=dict)
    harmless: dict[str, Tally] = field(default_factory=dict)

    @property
    def detection(self) -> float:
        """The mean of the classes' rates, so that a large class does not hide a small one."""
        return sum(tally.rate for tally in self.attacks.values()) / len(self.attacks)

    @property
    def false_positives(self) -> float:
        """The refused share of all harmless items."""
        return together(self.harmless.values()).rate


def together(tallies: Iterable[Tally]) -> Tally:
    """Several tallies as one."""
    total = Tally()
    for tally in tallies:
        total.refused += tally.refused
        total.passed += tally.passed
    return total


def judge(corpus: Iterable[Item], verdict: Verdict) -> Score:
    """Ask `verdict` (true: refused) for each item and count."""
    score = Score()
    for item in corpus:
        side = score.attacks if item.attack else score.harmless
        tally = side.setdefault(item.kind, Tally())
        (tally.refused if verdict(item) else tally.passed).append(item)
    return score


def by_detectors() -> Verdict:
    """Edgecluster's detectors: refused when the scores of all findings in an item reach the threshold."""
    from worker.security.detect.table import PROBE, Detectors

    findings = Detectors().findings

    def verdict(item: Item) -> bool:
        fields = item.fields()
        score = sum(found.score for text in fields for found in findings(text))
        if item.where == "path":
            score += sum(PROBE.score for text in fields if PROBE.find(text.partition(b"?")[0]))
        return score >= THRESHOLD

    return verdict


def print_score(score: Score, show: bool) -> None:
    """The tables; with `show` also every attack that passed and every harmless item that was refused."""
    for title, side in (("attacks refused", score.attacks), ("harmless refused", score.harmless)):
        print(f"\n{title}")
        for kind, tally in side.items():
            print(f"  {kind:<14}{len(tally.refused) + len(tally.passed):>6}{tally.rate:>8.1f} %")
            for item in (tally.passed if side is score.attacks else tally.refused) if show else ():
                print(f"      {item.value!r}")
    every = together(score.attacks.values())
    print(f"\nall attacks {every.rate:.1f} %, mean of the classes {score.detection:.1f} %")
    print(f"false positives {score.false_positives:.2f} %")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.security.judge", description=__doc__)
    parser.add_argument("--set", choices=SETS, default="tuning", help="half of the corpus (default: tuning)")
    parser.add_argument("--show", action="store_true", help="list missed attacks and refused harmless items")
    options = parser.parse_args()
    print_score(judge(items(options.set), by_detectors()), options.show)


if __name__ == "__main__":
    main()
