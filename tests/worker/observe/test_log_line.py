"""One request as one line: valid whatever clients send, complete, and without empty values."""

import json
import re
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.contexts import NOW_S, REQUEST_ID, make_context
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Request
from worker.observe.log_line import MEMO_ENTRIES, CombinedLine, JsonLine, line_format
from worker.observe.plain_line import plain_line
from worker.reasons import Block, Fault, Forward, NotStorable, Outcome, Side

COMBINED = re.compile(
    rb'([0-9a-f.:]+) - - \[([^\]]+)\] "([^"]*)" ([0-9]{3}) ([0-9]+) "([^"]*)" "([^"]*)"\n\Z'
)


def parsed(ctx: Context, line: JsonLine | None = None) -> dict[str, object]:
    ctx.ended_ns = ctx.started_ns + 1_234_567
    text = (line or JsonLine())(ctx)
    assert text.endswith(b"}\n") and text.count(b"\n") == 1
    facts = json.loads(text)
    assert isinstance(facts, dict)
    return facts


def hit(**learned: object) -> Context:
    ctx = make_context((b"User-Agent", b"curl/8"), (b"Referer", b"http://a/"), query=b"x=1")
    ctx.outcome, ctx.status, ctx.bytes_out = Outcome.HIT, 200, 1300
    for slot, value in learned.items():
        setattr(ctx, slot, value)
    return ctx


HIT = {
    "time": "2025-11-23T08:13:05.250Z",
    "request_id": REQUEST_ID.decode(),
    "client": "192.0.2.1",
    "method": "GET",
    "host": "example.org",
    "path": "/page",
    "query": "x=1",
    "version": "1.1",
    "status": 200,
    "cache": "hit",
    "route": "site",
    "bytes_out": 1300,
    "duration_us": 1234,
    "user_agent": "curl/8",
    "referer": "http://a/",
}


def test_a_hit_says_all_that_is_known_and_nothing_empty() -> None:
    assert parsed(hit()) == HIT
    assert datetime.fromisoformat(str(HIT["time"])).timestamp() == NOW_S


def test_remembered_pieces_belong_to_the_request_they_are_printed_for() -> None:
    line = JsonLine()
    for number in range(40):
        status, size, path = 200 + number % 3, number, b"/%d" % (number % 5)
        ctx = hit(status=status, bytes_out=size)
        ctx.request.path = path
        ctx.now_s = NOW_S + number / 10
        expected = HIT | {"status": status, "bytes_out": size, "path": path.decode()}
        facts = parsed(ctx, line)
        assert (
            facts.pop("time")
            == datetime.fromtimestamp(ctx.now_s)
            .astimezone(tz=datetime.fromisoformat("2025-01-01T00:00:00Z").tzinfo)
            .strftime("%Y-%m-%dT%H:%M:%S.")
            + f"{int(ctx.now_s * 1000) % 1000:03d}Z"
        )
        assert facts == {key: value for key, value in expected.items() if key != "time"}


def test_a_limit_that_only_logs_is_seen_on_a_hit_as_well() -> None:
    line = JsonLine()
    assert parsed(hit(block=Block.RATE), line)["block"] == "rate-limit"
    assert "block" not in parsed(hit(), line)


def test_a_failed_fetch_tells_the_whole_story() -> None:
    ctx = make_context()
    ctx.outcome, ctx.forward, ctx.status = Outcome.MISS, Forward.URI_MISS, 502
    ctx.origin, ctx.connect_ns, ctx.first_byte_ns, ctx.retries = "http://127.0.0.1:8081", 5_000, 9_000, 1
    ctx.forwarded_status, ctx.not_storable, ctx.bytes_in = 200, NotStorable.INCOMPLETE, 77
    ctx.error = EdgeError(502, Side.ORIGIN, Fault.INCOMPLETE, 'closed after "10" of 20 bytes')
    facts = parsed(ctx)
    expected = {
        "status": 502, "cache": "miss", "forward": "uri-miss", "not_storable": "incomplete",
        "fault": "http_response_incomplete", "side": "origin", "detail": 'closed after "10" of 20 bytes',
        "origin": "http://127.0.0.1:8081", "origin_status": 200, "origin_us": 9, "connect_us": 5,
        "retries": 1, "bytes_in": 77,
    }  # fmt: skip
    assert {key: facts[key] for key in expected} == expected


def with_client_values(path: bytes, query: bytes, agent: bytes, outcome: Outcome) -> Context:
    fields = Fields.trusted(b"User-Agent: " + field_value(agent) + b"\r\n")
    ctx = make_context(path=path)
    ctx.request = Request(b"GET", b"http", b"h", path, path, query, b"1.1", fields)
    ctx.outcome = outcome
    return ctx


def field_value(value: bytes) -> bytes:
    """As much of it as field validation lets through."""
    return re.sub(rb"[\x00-\x1f\x7f]", b"", value).strip()


# Of a target, validation lets through less than this.
CLIENT_BYTES = st.binary(max_size=300).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b""))


@given(CLIENT_BYTES, CLIENT_BYTES, CLIENT_BYTES, st.sampled_from(Outcome))
def test_no_client_can_break_out_of_a_line(path: bytes, query: bytes, agent: bytes, outcome: Outcome) -> None:
    ctx = with_client_values(path, query, agent, outcome)
    facts = parsed(ctx)
    assert facts.get("path", "") == path.decode("utf-8", "replace")
    assert facts.get("query", "") == query.decode("utf-8", "replace")
    assert COMBINED.match(CombinedLine()(ctx))


@given(st.binary(min_size=500, max_size=900))
def test_a_shortened_line_fits_a_pipe_whatever_it_holds(value: bytes) -> None:
    for blob in (value, b"\x01" * 5000, b'"' * 5000, b"\xff" * 5000):
        ctx = with_client_values(blob, blob, blob, Outcome.MISS)
        ctx.request.host = ctx.request.method = ctx.request.target = blob
        ctx.error = EdgeError(502, Side.ORIGIN, Fault.INCOMPLETE, '"' * 5000)
        ctx.origin = "http://" + "o" * 250
        for line in (JsonLine(), CombinedLine()):
            assert len(line.shortened(ctx)) <= 4096
            assert line.shortened(ctx).count(b"\n") == 1


@given(
    path=st.binary(max_size=60),
    query=st.none() | st.binary(max_size=60),
    agent=st.text(st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\x7f"), max_size=80).map(
        str.encode
    ),
    route=st.text(max_size=20),
    origin=st.none() | st.text(max_size=20),
    words=st.tuples(
        st.sampled_from(Outcome),
        *(st.none() | st.sampled_from(words) for words in (Forward, NotStorable, Block)),
    ),
    numbers=st.tuples(*[st.sampled_from((0, 1, 999, 1000, 2**31 - 1)) | st.integers(0, 2**31 - 1)] * 7),
)
def test_a_request_without_trouble_is_told_alike_by_the_native_writer_and_by_the_general_one(
    path: bytes,
    query: bytes | None,
    agent: bytes,
    route: str,
    origin: str | None,
    words: tuple[Outcome, Forward | None, NotStorable | None, Block | None],
    numbers: tuple[int, ...],
) -> None:
    ctx = hit()
    ctx.request.path, ctx.request.query = path, query
    ctx.request.fields = Fields.trusted(b"User-Agent: %b\r\n" % agent)
    assert ctx.route is not None
    ctx.route = replace(ctx.route, name=route)
    ctx.outcome, ctx.forward, ctx.not_storable, ctx.block = words
    if origin is not None:
        ctx.origin = origin
    ctx.status, ctx.forwarded_status, ctx.retries = numbers[:3]
    ctx.bytes_in, ctx.bytes_out, ctx.connect_ns, ctx.first_byte_ns = numbers[3:]
    line = JsonLine()
    ctx.ended_ns = ctx.started_ns + 777
    assert line(ctx) == line.any_line(ctx)


def test_the_native_writer_tells_of_a_request_passed_on_and_gives_up_what_must_be_escaped() -> None:
    ctx = hit()
    ctx.outcome, ctx.forward, ctx.origin = Outcome.MISS, Forward.URI_MISS, "http://127.0.0.1:8081"
    ctx.forwarded_status, ctx.first_byte_ns = 200, 9_000
    line = plain_line(b'{"request_id":"', ctx)
    assert line is not None
    assert json.loads(line)["origin_us"] == 9
    ctx.request.path = b'/"'
    assert plain_line(b'{"request_id":"', ctx) is None


def test_the_memory_of_pieces_is_bounded() -> None:
    line = CombinedLine()
    for number in range(MEMO_ENTRIES + 10):
        ctx = hit()
        ctx.request.target = b"/%d" % number
        assert b"/%d " % number in line(ctx)
    assert len(line._lines) <= MEMO_ENTRIES
    ctx.request.target = b"/" + b"x" * 10_000
    before = len(line._lines)
    line(ctx)
    assert len(line._lines) == before


def test_combined_is_what_log_analysers_know() -> None:
    match = COMBINED.match(CombinedLine()(hit()))
    assert match is not None
    assert match.groups() == (
        b"192.0.2.1", b"23/Nov/2025:08:13:05 +0000", b"GET /page?x=1 HTTP/1.1", b"200", b"1300",
        b"http://a/", b"curl/8",
    )  # fmt: skip


def test_combined_prints_a_dash_for_nothing_and_names_later_protocols() -> None:
    ctx = make_context(version=b"2")
    match = COMBINED.match(CombinedLine()(ctx))
    assert match is not None
    assert match.groups()[2:] == (b"GET /page HTTP/2.0", b"000", b"0", b"-", b"-")


def test_combined_escapes_what_would_end_a_quoted_value() -> None:
    ctx = with_client_values(b"/", b"", b'a"b\\c\xe9', Outcome.HIT)
    match = COMBINED.match(CombinedLine()(ctx))
    assert match is not None
    assert match[7] == rb"a\x22b\x5Cc\xE9"


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'xml'.*json or combined"):
        line_format("xml")
