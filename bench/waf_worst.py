"""Looks for the request that costs the WAF engine the most: `python -m bench.waf_worst`

Bodies, targets and fields of at most 64 KiB, put together from pieces that make rules work (escapes, marks of
comments, phrases, almost-matches), mutated from the costliest found so far. The figure is the thread's CPU
time. Every request is new to two engines, and the cheaper one counts, so that a moment in which the machine
was busy elsewhere is not taken for a costly request.
"""

import argparse
import gc
import random
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.security.handwritten import BROWSER, FORM, JSON
from tests.security.oracle import rules_text
from tests.support.modsecurity import libinjection
from worker.run import COLLECT
from worker.security.waf import seclang
from worker.security.waf.engine import Engine
from worker.security.waf.operators import use_detectors
from worker.security.waf.ruleset import build
from worker.security.waf.transaction import HttpRequest

MOST = 65536  # bytes of a request's changing part
PIECES = [
    b"%u0041", b"%2525", b"&#x41;", b"&lt", b"\\u0041", b"\\x41", b"\\", b"/*", b"*/", b"--", b"#", b"\0",
    b"\xc3\xa9", b"\xf0", b" ", b"\t", b"\n", b"../", b"./", b"//", b"'", b'"', b"`", b"(", b")", b"=",
    b"<", b">", b"<script ", b"union select ", b"or 1=1", b"sleep(", b"${", b"$(", b"|", b";", b"cat ",
    b"etc/passwd", b"javascript:", b"onload=", b"http://", b"A", b"a", b"0x41", b"Ab1", b"+", b"^", b"{",
    b"}", b"[", b"]", b",", b":", b"@", b"~", b"admin", b"php", b"PD9waHA", b"%20", b"&#x2f;", b"%2f", b"...",
    b"document.", b"java.lang.", b"=1;", b"-1", b"%c0%af", b"\\u002e", b"0x", b"||", b"; ls -la ",
]  # fmt: skip
PLACES = (
    "form",
    "json",
    "members",
    "xml",
    "plain",
    "multipart",
    "target",
    "field",
    "cookie",
    "keys",
    "files",
)


class Shape:
    """How a request is made: where, and of which pieces repeated in which sizes."""

    def __init__(self, chance: random.Random) -> None:
        self.place = chance.choice(PLACES)
        self.pieces = chance.choices(PIECES, k=chance.choice((1, 2, 3, 6, 20)))
        self.length = chance.choice((1, 8, 64, 700, 8000, MOST))  # bytes of one value
        self.differs = chance.random() < 0.7  # each value from the others

    def mutated(self, chance: random.Random) -> "Shape":
        other = Shape(chance)
        other.place = self.place
        other.length = chance.choice((self.length, self.length * 2, self.length // 2 + 1, other.length))
        kept = [piece for piece in self.pieces if chance.random() < 0.8]
        other.pieces = [*kept, *chance.choices(PIECES, k=chance.choice((0, 1, 2)))] or other.pieces
        chance.shuffle(other.pieces)
        return other

    def values(self) -> list[bytes]:
        unit = b"".join(self.pieces)
        value = (unit * (self.length // len(unit) + 1))[: self.length]
        count = min(1000, max(1, MOST // (len(value) + 8)))
        return [b"%d%b" % (index, value) if self.differs else value for index in range(count)]

    def request(self) -> HttpRequest:
        values = self.values()
        fields, body, target, method = BROWSER, b"", b"/worst", b"POST"
        if self.place == "form":
            fields, body = (*BROWSER, (b"Content-Type", FORM)), b"&".join(b"a=" + value for value in values)
        elif self.place == "keys":
            fields, body = (*BROWSER, (b"Content-Type", FORM)), b"&".join(values)
        elif self.place == "json":
            fields, body = (*BROWSER, (b"Content-Type", JSON)), b"[%b]" % _listed(map(_quoted, values))
        elif self.place == "members":
            pairs = _listed(b"%b:%b" % (_quoted(value[:200]), _quoted(value)) for value in values)
            fields, body = (*BROWSER, (b"Content-Type", JSON)), b"{%b}" % pairs
        elif self.place == "xml":
            fields = (*BROWSER, (b"Content-Type", b"text/xml"))
            body = b"<a>%b</a>" % b"".join(b"<b>%b</b>" % value.translate(None, b"<&\0") for value in values)
        elif self.place == "plain":
            fields, body = (*BROWSER, (b"Content-Type", b"text/plain")), b"".join(values)
        elif self.place in ("multipart", "files"):
            fields = (*BROWSER, (b"Content-Type", b"multipart/form-data; boundary=x"))
            named = b'a"; filename="b' if self.place == "files" else b"a"
            part = b'--x\r\nContent-Disposition: form-data; name="' + named + b'"\r\n\r\n%b\r\n'
            body = b"".join(part % value for value in values[:200])[: MOST - 7] + b"\r\n--x--\r\n"
        elif self.place == "target":
            method, target = b"GET", b"/w?" + b"&".join(b"a=" + value for value in values)[: MOST - 3]
        elif self.place == "field":
            fields = (*BROWSER, *((b"X-A", value) for value in values[:100]))
        else:
            fields = (*BROWSER, (b"Cookie", b"; ".join(b"a=" + value.replace(b";", b"") for value in values)))
        return HttpRequest(method, target, b"1.1", tuple(fields), body[:MOST], "192.0.2.1")


def _listed(parts: Iterable[bytes]) -> bytes:
    """With commas between them, as many as there is room for."""
    kept: list[bytes] = []
    room = MOST - 2
    for part in parts:
        room -= len(part) + 1
        if room < 0:
            break
        kept.append(part)
    return b",".join(kept)


def _quoted(value: bytes) -> bytes:
    """As a text of JSON."""
    escaped = value.replace(b"\\", b"\\\\").replace(b'"', b"")
    return b'"%b"' % escaped.translate(_PRINTABLE)


_PRINTABLE = bytes(code if 32 <= code < 127 else 65 for code in range(256))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.waf_worst", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--level", type=int, default=1, help="paranoia level")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    use_detectors(*libinjection())
    rules, cache = rules_text(arguments.level), Path(tempfile.gettempdir())
    engines = [Engine(build(seclang.parse(rules)), cache=cache) for _ in range(2)]
    for engine in engines:
        engine.prepare()
    gc.freeze()  # as before a worker is forked; going through all rules for garbage would take 80 ms
    gc.set_threshold(*COLLECT)
    chance = random.Random(arguments.seed)
    best: list[tuple[float, int, Shape]] = []
    refused = 0
    for number in range(arguments.requests):
        shape = best[chance.randrange(len(best))][2].mutated(chance) if best and number % 3 else Shape(chance)
        request = shape.request()
        costs = []
        for engine in engines:
            before = time.thread_time_ns()
            verdict = engine.judge(request)
            costs.append((time.thread_time_ns() - before) / 1e6)
        refused += any(matched.id == 0 for matched in verdict.matched)
        best = sorted([*best, (min(costs), number, shape)], key=lambda one: -one[0])[:20]
    print(f"paranoia {arguments.level}: {arguments.requests} requests, {refused} cost more than is granted")
    for cost, _, shape in best[:5]:
        print(
            f"{cost:.1f} ms | {shape.place}, values of {shape.length} bytes | {b''.join(shape.pieces)[:60]!r}"
        )


if __name__ == "__main__":
    main()
