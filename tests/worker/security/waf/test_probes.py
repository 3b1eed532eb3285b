"""What may match is found beforehand: nothing that matches is missed, and what is remembered stays true."""

from pathlib import Path

import pytest

from tests.security import handwritten
from tests.security.requests import Generator
from tests.support.modsecurity import BODY_RULES, is_installed, libinjection
from worker.security.waf import seclang
from worker.security.waf.engine import Engine
from worker.security.waf.kinds import kinds
from worker.security.waf.operators import use_detectors
from worker.security.waf.ruleset import build, load
from worker.security.waf.state import CLEAN
from worker.security.waf.transaction import HttpRequest
from worker.security.waf.transformations import TRANSFORMATIONS
from worker.security.waf.triggers import effective, traits

CRS = Path("/etc/modsecurity/crs/crs-setup.conf")
RULES = """
SecAction "id:1,phase:1,nolog,setvar:tx.limit=5"
SecRule REQUEST_METHOD "!@within GET POST" "id:10,phase:1,log"
SecRule REQUEST_HEADERS:User-Agent "@pm scanner robot" "id:11,phase:1,log,t:lowercase"
SecRule &REQUEST_HEADERS:Host "@eq 0" "id:12,phase:1,log"
SecRule ARGS|REQUEST_COOKIES "@rx union\\s+select" "id:20,phase:2,log,t:urlDecodeUni,t:lowercase"
SecRule ARGS "@rx (?<!a)x=(\\d+)" "id:21,phase:2,log,capture,chain"
    SecRule TX:1 "@gt %{tx.limit}" "t:none"
SecRule ARGS:a "@streq 1" "id:22,phase:2,nolog,chain,setvar:tx.seen=+1"
    SecRule ARGS:b "@streq 1"
SecRule TX:seen "@ge 2" "id:23,phase:2,log"
SecRule REQUEST_HEADERS_NAMES "@rx ^(.*)$" "id:24,phase:2,log,capture,chain,\
    setvar:tx.name_%{tx.1}=/%{tx.1}/"
    SecRule TX:/^name_/ "@within /proxy/" "log"
SecRule REQUEST_BODY "@contains body" "id:25,phase:2,log"
SecRule &ARGS "@gt 3" "id:26,phase:2,log"
"""
# Its outcome hangs on more than what is found in single values: nothing is remembered with it.
UNFORESEEN = 'SecRule ARGS "@contains %{REQUEST_METHOD}" "id:27,phase:2,log"\n'


def request(
    target: bytes, *fields: tuple[bytes, bytes], method: bytes = b"GET", body: bytes = b""
) -> HttpRequest:
    return HttpRequest(method, target, b"1.1", ((b"host", b"h"), *fields), body, "192.0.2.1")


REQUESTS = [
    request(b"/"),
    request(b"/?a=2&b=1"),
    request(b"/?a=1&b=2"),
    request(b"/?a=1&a=1&b=2"),
    request(b"/?a=1&c=3&a=1"),
    request(b"/", method=b"TRACE"),
    request(b"/?q=UNION%2520%20SELECT"),
    request(b"/", (b"cookie", b"q=union+select")),
    request(b"/", (b"user-agent", b"A ROBOT")),
    request(b"/?q=x=4"),
    request(b"/?q=x=6"),
    request(b"/?q=ax=6"),
    request(b"/", (b"proxy", b"1")),
    request(b"/", (b"proxies", b"1")),
    request(b"/?a&b&c&d"),
    request(b"/?q=GET"),
    request(b"/", (b"content-type", b"application/x-www-form-urlencoded"), body=b"q=union%20select&b=body"),
    HttpRequest(b"GET", b"/", b"1.1", ()),
]


def test_every_way_of_asking_comes_to_the_same() -> None:
    engine = Engine(build(seclang.parse(RULES + UNFORESEEN)))
    seen = set()
    for one in [*REQUESTS, *REQUESTS]:  # remembered the second time
        expected = engine.inspect_all(one).matched
        assert engine.inspect(one).matched == expected
        assert list(engine.judge(one).matched) == expected
        seen.update(matched.id for matched in expected)
    assert seen == {10, 11, 12, 20, 21, 23, 24, 25, 26, 27}


def test_a_request_like_one_that_was_clean_is_not_looked_at_again() -> None:
    engine = Engine(build(seclang.parse(RULES)))
    assert engine.judge(REQUESTS[0]) is CLEAN
    assert engine.judge(REQUESTS[8]).matched
    engine.run = None  # type: ignore[method-assign,assignment]  # whoever runs rules now fails
    assert engine.judge(REQUESTS[0]) is CLEAN
    assert engine.judge(request(b"/other?z=1")) is CLEAN
    with pytest.raises(TypeError):
        engine.judge(request(b"/?q=x=6"))


def test_transformations_that_cannot_change_a_value_are_left_out() -> None:
    chains = [
        ("urldecodeuni", "htmlentitydecode", "lowercase"),
        ("lowercase", "removenulls", "cmdline"),
        ("cssdecode",),
    ]
    values = [
        b"",
        b"plain",
        b"Upper",
        b"a%41\0",
        b"&LT;",
        b"a, b",
        b"x\\41",
        b"\xc3\xa4\0",
        b"a/../b",
        b"/*x*/ y",
    ]
    for chain in [*chains, *((name,) for name in TRANSFORMATIONS if name != "none")]:
        for value in values:
            full = short = value
            for name in chain:
                full = TRANSFORMATIONS[name](full)
            for name in effective(chain, traits(kinds(value))):
                short = TRANSFORMATIONS[name](short)
            assert short == full, (chain, value)
    assert effective(chains[0], traits(kinds(b"plain"))) == ()
    assert effective(chains[0], traits(kinds(b"Upper"))) == ("lowercase",)


def test_compiled_patterns_are_kept_and_used_again(tmp_path: Path) -> None:
    first = Engine(build(seclang.parse(RULES)), cache=tmp_path)
    first.prepare()
    kept = sorted(tmp_path.iterdir())
    assert kept
    times = [path.stat().st_mtime_ns for path in kept]
    second = Engine(build(seclang.parse(RULES)), cache=tmp_path)
    second.prepare()
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())] == times
    assert second.inspect(REQUESTS[6]).matched == first.inspect(REQUESTS[6]).matched
    for path in kept:
        path.write_bytes(b"torn")
    third = Engine(build(seclang.parse(RULES)), cache=tmp_path)
    assert third.inspect(REQUESTS[6]).matched == first.inspect(REQUESTS[6]).matched


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    engine = Engine(build(seclang.parse(RULES)), cache=tmp_path / "missing")
    assert engine.inspect(REQUESTS[6]).matched


@pytest.mark.skipif(not (is_installed() and CRS.is_file()), reason="modsecurity-crs is not installed")
def test_on_the_core_rule_set_nothing_is_missed(tmp_path: Path) -> None:
    use_detectors(*libinjection())
    (tmp_path / "main.conf").write_text(
        f"{BODY_RULES}\nInclude {CRS}\nInclude /usr/share/modsecurity-crs/rules/*.conf\n"
    )
    engine = Engine(load(tmp_path / "main.conf"))
    generator = Generator(1)
    generated = [generator.request() for _ in range(120)]
    for one in [*handwritten.HARMLESS, *handwritten.ATTACKS, *generated, *handwritten.HARMLESS]:
        expected = engine.inspect_all(one)
        assert engine.inspect(one).matched == expected.matched, one
        verdict = engine.judge(one)
        assert (list(verdict.matched), verdict.intervention) == (expected.matched, expected.intervention), one
