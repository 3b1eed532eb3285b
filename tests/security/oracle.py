"""Our engine beside libmodsecurity on the same rules and requests: do both match and log the same rules?

Run by hand over thousands of requests (scripts/waf-oracle), over a few hundred by the suite. Both use
libinjection for @detectSQLi and @detectXSS here, so that the engines are compared and not the detectors.
"""

import argparse
import gc
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from tests.security import handwritten
from tests.security.requests import Generator
from tests.support.modsecurity import BODY_RULES, CRS, ModSecurity, libinjection
from worker.run import COLLECT
from worker.security.waf import seclang
from worker.security.waf.engine import Engine
from worker.security.waf.operators import use_detectors
from worker.security.waf.ruleset import build
from worker.security.waf.transaction import HttpRequest

LEVELS = (1, 2, 3, 4)


@dataclass(slots=True)
class Agreement:
    """What a comparison has found."""

    requests: int = 0
    same: int = 0
    only_theirs: Counter[int] = field(default_factory=Counter)
    only_ours: Counter[int] = field(default_factory=Counter)
    examples: dict[int, HttpRequest] = field(default_factory=dict)  # one per rule

    @property
    def percent(self) -> float:
        return 100 * self.same / self.requests

    def add(self, request: HttpRequest, theirs: set[int], ours: set[int]) -> None:
        self.requests += 1
        self.same += theirs == ours
        self.only_theirs.update(theirs - ours)
        self.only_ours.update(ours - theirs)
        for rule in theirs ^ ours:
            self.examples.setdefault(rule, request)


def rules_text(level: int) -> str:
    """Debian's Core Rule Set at a paranoia level, with the usual rules for bodies before it."""
    level_rule = f'SecAction "id:900000,phase:1,nolog,pass,t:none,setvar:tx.paranoia_level={level}"\n'
    return level_rule + BODY_RULES + CRS


def requests(count: int, seed: int) -> Iterable[HttpRequest]:
    """The hand-written ones, then generated ones, `count` together."""
    generator = Generator(seed)
    yield from islice([*handwritten.HARMLESS, *handwritten.ATTACKS], count)
    written = len(handwritten.HARMLESS) + len(handwritten.ATTACKS)
    for _ in range(count - written):
        yield generator.request()


def compare(level: int, count: int, seed: int, *, every_rule: bool = False) -> Agreement:
    """`every_rule`: let our engine run all rules rather than find out beforehand which may match."""
    use_detectors(*libinjection())
    engine = Engine(build(seclang.parse(rules_text(level))))
    engine.prepare()
    gc.freeze()  # as before a worker is forked; going through all rules for garbage would take 80 ms
    gc.set_threshold(*COLLECT)
    judge = ModSecurity(rules_text(level))
    found = Agreement()
    for request in requests(count, seed):
        state = engine.inspect_all(request) if every_rule else engine.inspect(request)
        engine.finish(state)
        found.add(request, set(judge.matched(request)), {matched.id for matched in state.matched})
    judge.close()
    return found


def report(level: int, found: Agreement, *, examples: bool) -> None:
    """To standard output: the percentage, then the differences by rule."""
    lines = [f"paranoia {level}: {found.same} of {found.requests} requests agree, {found.percent:.2f} %"]
    for name, rules in (("libmodsecurity only", found.only_theirs), ("edgecluster only", found.only_ours)):
        lines += [f"  rule {rule}: {times} x {name}" for rule, times in rules.most_common()]
    if examples:
        lines += [f"  for example {rule}: {request}" for rule, request in found.examples.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000, help="for each paranoia level")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--level", type=int, choices=LEVELS, action="append")
    parser.add_argument("--examples", action="store_true", help="print a request per rule that differs")
    options = parser.parse_args()
    for level in options.level or LEVELS:
        report(level, compare(level, options.requests, options.seed), examples=options.examples)


if __name__ == "__main__":
    main()
