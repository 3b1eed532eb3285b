"""The WAF gate: clean requests pass, others are logged, and refused where that is wanted."""

import logging

import pytest

from tests.support.contexts import REQUEST_ID, make_context
from worker.reasons import Block
from worker.response.error_page import ErrorPage
from worker.security.waf import seclang
from worker.security.waf.engine import Engine
from worker.security.waf.gate import WafGate, head_of, settings
from worker.security.waf.ruleset import build

RULES = """
SecRule ARGS|REQUEST_HEADERS "@contains attack" "id:1,phase:2,log,msg:'An attack',setvar:tx.anomaly_score=+5"
SecRule TX:anomaly_score "@ge %{tx.inbound_anomaly_score_threshold}" "id:2,phase:2,log,deny,msg:'Too much'"
SecRule REQUEST_HEADERS:Host "!@streq example.org" "id:3,phase:1,log,deny,msg:'Wrong host'"
SecRule REQUEST_PROTOCOL "!@within %{tx.allowed_http_versions}" "id:4,phase:1,log,deny,msg:'Wrong version'"
"""


def gate(*, blocks: bool, threshold: int = 5) -> WafGate:
    text = settings(paranoia=1, threshold=threshold) + RULES
    return WafGate(Engine(build(seclang.parse(text))), ErrorPage("edge").refuse, blocks=blocks)


HOST = (b"Host", b"example.org")


def test_a_clean_request_goes_on_and_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    waf = gate(blocks=True)
    for _ in range(2):
        ctx = make_context(HOST, query=b"a=1")
        assert waf(ctx) is None
        assert ctx.block is None
    assert not caplog.records


def test_what_the_rules_deny_is_refused_with_a_403_and_told_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ctx = make_context(HOST, query=b"a=an%20attack")
    response = gate(blocks=True)(ctx)
    assert response is not None
    assert (response.status, ctx.block) == (403, Block.WAF)
    (record,) = caplog.records
    line = record.getMessage()
    assert REQUEST_ID.decode() in line
    assert "rule 1 at ARGS:a b'an attack': An attack (score 5); rule 2 at TX:anomaly_score b'5'" in line
    assert "was refused" in line


def test_without_blocking_the_log_says_what_would_have_happened(caplog: pytest.LogCaptureFixture) -> None:
    ctx = make_context(HOST, query=b"a=attack")
    assert gate(blocks=False)(ctx) is None
    assert ctx.block is None
    assert "would have been refused ('waf: block' enforces it)" in caplog.text


def test_a_match_below_the_threshold_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert gate(blocks=True, threshold=6)(make_context(HOST, query=b"a=attack")) is None
    assert "matched rules: rule 1" in caplog.text


def test_a_flood_of_matches_is_one_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    waf = gate(blocks=True)
    caplog.set_level(logging.WARNING)
    first = make_context(HOST, query=b"a=attack")
    for elapsed_ns in (0, 1, 2, 1_000_000_000):
        ctx = make_context(HOST, query=b"a=attack")
        ctx.now_ns = first.now_ns + elapsed_ns
        assert waf(ctx) is not None
    assert len(caplog.records) == 2
    assert "(2 more requests since the last line)" in caplog.records[1].getMessage()


@pytest.mark.parametrize("version", [b"1.0", b"1.1", b"2", b"3"])
def test_every_protocol_we_speak_is_a_known_one_with_a_host(version: bytes) -> None:
    fields = [HOST] if version.startswith(b"1") else []
    assert gate(blocks=True)(make_context(*fields, version=version)) is None


def test_what_is_looked_at_is_what_is_forwarded() -> None:
    ctx = make_context(HOST, path=b"/a/../b", query=b"x=1")
    ctx.request.path = b"/b"  # what the normalise gate makes of it
    head = head_of(ctx)
    assert (head.target, head.address, head.unique_id) == (b"/b?x=1", "192.0.2.1", REQUEST_ID)
