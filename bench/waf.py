"""What does the WAF engine cost per request, beside libmodsecurity in the same process? `python -m bench.waf`

Both have Debian's Core Rule Set at the same paranoia level, only detect, and are called without a socket;
libmodsecurity runs phases 1 and 2, as we do. The figure is the thread's CPU time. "warm" has seen every
value before, "new target" only the fields, "all new" nothing: not one value of a request has come before.
Both detect SQLi and XSS by libinjection; the last rows are of the gate as a worker has it, by our detectors.
"""

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tests.security.handwritten import ATTACKS, BROWSER, FORM, HARMLESS, JSON, get, post
from tests.security.oracle import rules_text
from tests.support.modsecurity import ModSecurity, libinjection
from worker.context import Client, Context
from worker.fields import Fields
from worker.message import Request, Response
from worker.run import COLLECT
from worker.security.waf import seclang
from worker.security.waf.engine import Engine
from worker.security.waf.gate import WafGate
from worker.security.waf.judges import make_judges
from worker.security.waf.operators import use_detectors
from worker.security.waf.ruleset import build
from worker.security.waf.transaction import HttpRequest
from worker.settings import JudgeSettings, WafSettings

Asked = TypeVar("Asked", HttpRequest, Context)

TEXT = "The quick brown fox jumps over the lazy dog; it's 5 o'clock & tea costs < 3 pounds. "


def all_new(number: int) -> HttpRequest:
    """A browser's request of which no value has come before, but for the host."""
    fields = tuple((name, value + b"%d" % number if len(value) > 15 else value) for name, value in BROWSER)
    return HttpRequest(b"GET", b"/a%d?page=%d&sort=by%d" % ((number,) * 3), b"1.1", fields, b"", "192.0.2.1")


def document(size: int, number: int) -> bytes:
    """A JSON document of about `size` bytes: records with a text each."""
    records = [
        {"id": number + index, "title": f"Item {index}", "text": TEXT * 9, "price": 1.25, "tags": ["a", "b"]}
        for index in range(max(1, size // 840))
    ]
    return json.dumps(records).encode()


ROWS: list[tuple[str, Callable[[int], HttpRequest]]] = [
    ("browser GET, warm", lambda number: HARMLESS[1]),
    ("browser GET, new target", lambda number: get(b"/articles?page=%d&sort=by%d" % (number, number))),
    ("browser GET, all new", all_new),
    ("attack GET", lambda number: ATTACKS[number % 20]),
    (
        "form POST, 100 bytes",
        lambda number: post(b"/x", FORM, b"id=%d&text=I+said+%%22where%%22&a=1" % number),
    ),
    ("JSON POST, 1 KiB", lambda number: post(b"/x", JSON, document(1024, number))),
    ("JSON POST, 64 KiB", lambda number: post(b"/x", JSON, document(65536, number))),
    (
        "form POST, one field of 64 KiB",
        lambda number: post(b"/x", FORM, b"%d=" % number + TEXT.encode() * 780),
    ),
]


def cost_us(inspect: Callable[[Asked], object], requests: Sequence[Asked], rounds: int) -> float:
    """CPU microseconds per request, the median of the rounds; every round has requests of its own."""
    share = len(requests) // rounds
    costs = []
    for index in range(rounds):
        part = requests[index * share : (index + 1) * share]
        before = time.thread_time_ns()
        for request in part:
            inspect(request)
        costs.append((time.thread_time_ns() - before) / share / 1000)
    return statistics.median(costs)


def gates(rules: Path) -> list[tuple[str, float]]:
    """What the gate costs on top of everything else, with our own detectors."""
    found = []
    for name, settings in (
        ("detectors alone", JudgeSettings()),
        ("with rules", JudgeSettings(rules=(str(rules),))),
    ):
        judge = make_judges([settings], Path(tempfile.gettempdir()))[settings].loop
        gate = WafGate(judge, WafSettings(settings), lambda ctx, status, block: Response(status, Fields.of()))
        for what, count, targets, is_new in (
            ("warm, one target", 20_000, 1, False),
            ("warm, 1000 targets", 20_000, 1000, False),
            ("new target", 1000, 1_000_000, False),
            ("all new", 1000, 1_000_000, True),
        ):
            contexts = [_context(number % targets, is_new) for number in range(5000, 5000 + count)]
            found.append((f"gate, {name}, {what}", cost_us(gate, contexts, 5)))
    return found


def _context(number: int, is_new: bool) -> Context:
    """A browser's request as a worker has it; `is_new`: in no field as one before."""
    path, query = b"/articles/%d" % number, b"page=%d" % number
    fields = Fields.of(all_new(number).fields if is_new else BROWSER)
    request = Request(b"GET", b"http", b"example.org", path, path, query, b"1.1", fields)
    return Context(request, Client("192.0.2.1", 1, b"", ""), b"0" * 32, 0, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.waf", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--level", type=int, default=1, help="paranoia level")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()), help="for compiled patterns"
    )
    arguments = parser.parse_args()
    use_detectors(*libinjection())
    text = rules_text(arguments.level)
    engine = Engine(build(seclang.parse(text)), cache=arguments.cache)
    engine.prepare()
    gc.freeze()  # as before a worker is forked; going through all rules for garbage would take 80 ms
    gc.set_threshold(*COLLECT)
    judge = ModSecurity(text)
    print(f"us of CPU per request, paranoia {arguments.level} | edgecluster | libmodsecurity | ratio")
    for name, make in ROWS:
        count = arguments.rounds * (4 if "64 KiB" in name else 200)
        engine.judge(make(-1))
        ours = cost_us(engine.judge, [make(number) for number in range(count)], arguments.rounds)
        few = [make(number) for number in range(count // 2)]
        theirs = cost_us(lambda one: judge.lines(one, answer=False), few, arguments.rounds)
        print(f"{name} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.3f}")
    for name, ours in gates(Path("/usr/share/modsecurity-crs")):
        print(f"{name} | {ours:.2f} | |")
    judge.close()


if __name__ == "__main__":
    main()
