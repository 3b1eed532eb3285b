"""Fields: the native validator against a naive one, and every look-up and change against a list of pairs."""

import pickle
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import worker.fields as module
from worker.fields import FieldError, Fields, LineError, TooManyFields, is_plain_path, read_head

Pairs = list[tuple[bytes, bytes]]

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
TEXT = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")

KNOWN = {
    "HOST": [b"host"],
    "CONNECTION": [b"connection"],
    "CONTENT_LENGTH": [b"content-length"],
    "TRANSFER_ENCODING": [b"transfer-encoding"],
    "EXPECT": [b"expect"],
    "UPGRADE": [b"upgrade"],
    "AUTHORIZATION": [b"authorization"],
    "COOKIE": [b"cookie"],
    "RANGE": [b"range"],
    "IF_RANGE": [b"if-range"],
    "IF_NONE_MATCH": [b"if-none-match"],
    "IF_MODIFIED_SINCE": [b"if-modified-since"],
    "IF_MATCH": [b"if-match"],
    "IF_UNMODIFIED_SINCE": [b"if-unmodified-since"],
    "CACHE_CONTROL": [b"cache-control"],
    "PRAGMA": [b"pragma"],
    "ACCEPT_ENCODING": [b"accept-encoding"],
    "FORWARDED": [b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip"],
    "CDN_LOOP": [b"cdn-loop", b"via"],
    "TE": [b"te"],
    "TRAILER": [b"trailer"],
    "SET_COOKIE": [b"set-cookie"],
    "VARY": [b"vary"],
    "CONTENT_ENCODING": [b"content-encoding"],
}
KNOWN_NAMES = [name for names in KNOWN.values() for name in names]


def naive_check(pairs: Pairs, max_fields: int) -> bool:
    """Is this a valid header section?"""
    names = [name.lower() for name, _value in pairs]
    lengths = [value.strip(b" \t") for name, value in pairs if name.lower() == b"content-length"]
    return (
        len(pairs) <= max_fields
        and all(TOKEN.fullmatch(name) and TEXT.fullmatch(value) for name, value in pairs)
        and names.count(b"host") <= 1
        and len(lengths) <= 1
        and all(re.fullmatch(rb"[0-9]{1,18}", value) for value in lengths)
        and not (lengths and b"transfer-encoding" in names)
    )


def naive_parse(block: bytes, max_fields: int) -> Pairs | None:
    """The lines of a header section, None if it is to be refused."""
    if not block.endswith(b"\r\n"):
        return None
    pairs: Pairs = []
    for line in block[:-2].split(b"\r\n")[:-1] if block != b"\r\n" else []:
        name, colon, value = line.partition(b":")
        if not colon:
            return None
        pairs.append((name, value.strip(b" \t")))
    if block != b"\r\n" and not block.endswith(b"\r\n\r\n"):
        return None
    return pairs if naive_check(pairs, max_fields) else None


def outcome(make: Callable[[], Fields]) -> Pairs | None:
    try:
        return make().items()
    except FieldError as error:
        assert error.args[0]
        return None


SPELLINGS = st.sampled_from(KNOWN_NAMES).flatmap(
    lambda name: st.sampled_from([name, name.upper(), name.title(), name.swapcase()])
)
NAMES = st.one_of(SPELLINGS, st.from_regex(TOKEN, fullmatch=True), st.binary(max_size=3))
VALUES = st.one_of(
    st.from_regex(TEXT, fullmatch=True),
    st.sampled_from([b"", b" ", b"5", b" 5 ", b"0x5", b"chunked"]),
    st.binary(),
)
GOOD_NAMES = st.one_of(
    st.sampled_from([b"A", b"a", b"B-c", b"X-Long-Name-Of-A-Field", b"accept", b"Vary", b"via"]),
    st.from_regex(rb"[A-Za-z0-9-]{1,20}", fullmatch=True).filter(
        lambda name: name.lower() not in (b"host", b"content-length", b"transfer-encoding")
    ),
)
GOOD_VALUES = st.from_regex(TEXT, fullmatch=True).map(lambda value: value.strip(b" \t"))
GOOD_PAIRS = st.lists(st.tuples(GOOD_NAMES, GOOD_VALUES), max_size=12)
SEPARATORS = st.sampled_from([b":", b": ", b":\t ", b" :", b"\t:", b"", b"\r\n:"])
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n ", b" \r\n", b"\t\r\n", b""])


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.tuples(NAMES, SEPARATORS, VALUES, ENDS), max_size=6))
    return b"".join(b"".join(line) for line in lines) + draw(
        st.sampled_from([b"\r\n"] * 8 + [b"", b"\n", b"\r"])
    )


@given(st.one_of(blocks(), st.binary(max_size=60).map(lambda data: data + b"\r\n\r\n")))
@example(b"\r\n")
@example(b"A: b\r\n\r\n\r\n")
@example(b"A: b\r\n\r\nC: d\r\n\r\n")
@example(b"A: b\r\r\n\r\n")
@example(b":\r\n\r\n")
def test_parse_agrees_with_a_naive_parser(block: bytes) -> None:
    assert outcome(lambda: Fields.parse(block)) == naive_parse(block, 128)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_of_follows_the_same_rules(pairs: Pairs) -> None:
    expected = [(name, value.strip(b" \t")) for name, value in pairs] if naive_check(pairs, 1000) else None
    assert outcome(lambda: Fields.of(pairs)) == expected


@given(GOOD_PAIRS, st.binary(max_size=20))
def test_parse_begins_where_it_is_told(pairs: Pairs, before: bytes) -> None:
    block = b"".join(b"%b:%b\r\n" % pair for pair in pairs) + b"\r\n"
    fields = Fields.parse(before + block, len(before))
    assert fields.items() == pairs
    assert fields.encode() == block[:-2]
    assert fields.copy().encode() == block[:-2]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (b"A : b\r\n\r\n", "whitespace before the colon"),
        (b"A: b\r\n c\r\n\r\n", "line folding"),
        (b"A: b\r\n\tc\r\n\r\n", "line folding"),
        (b"A: b\nC: d\r\n\r\n", "bare LF"),
        (b"A: b\rc\r\n\r\n", "bare CR"),
        (b"A: b\x00\r\n\r\n", "control character"),
        (b"A: b\x7f\r\n\r\n", "control character"),
        (b"A: 01234567\x01\r\n\r\n", "control character"),
        (b": b\r\n\r\n", "not a token"),
        (b"A(: b\r\n\r\n", "not a token"),
        (b"A\xe9: b\r\n\r\n", "not a token"),
        (b"A\r\n\r\n", "not a token"),
        (b"A: b\r\n", "without an end"),
        (b"A: b", "without its empty line"),
        (b"", "without its empty line"),
        (b"Host: a\r\nhOST: a\r\n\r\n", "more than one Host"),
        (b"Content-Length: 1\r\ncontent-length: 1\r\n\r\n", "more than one Content-Length"),
        (b"Content-Length: 1, 1\r\n\r\n", "not a number"),
        (b"Content-Length:\r\n\r\n", "not a number"),
        (b"Content-Length: 1234567890123456789\r\n\r\n", "at most 18 digits"),
        (b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "together with Transfer-Encoding"),
    ],
)
def test_a_refusal_says_which_rule_is_broken(block: bytes, words: str) -> None:
    with pytest.raises(FieldError, match=words):
        Fields.parse(block)


@pytest.mark.parametrize("count", [0, 1, 3, 127, 128, 129, 500])
@pytest.mark.parametrize("limit", [0, 1, 3, 128, 400])
def test_the_number_of_fields_is_limited(count: int, limit: int) -> None:
    block = b"A: b\r\n" * count + b"\r\n"
    if count > limit:
        with pytest.raises(TooManyFields, match=f"more than {limit} field lines"):
            Fields.parse(block, max_fields=limit)
    else:
        assert len(Fields.parse(block, max_fields=limit)) == count


def test_every_control_character_but_tab_is_refused_wherever_it_stands() -> None:
    for code in range(256):
        for place in range(20):
            value = b"x" * place + bytes((code,)) + b"y" * 9
            allowed = code == 9 or (code >= 32 and code != 127)
            assert (
                outcome(lambda value=value: Fields.parse(b"A: " + value + b"\r\n\r\n")) is not None
            ) is allowed


def test_every_byte_of_a_name_is_checked() -> None:
    for code in range(256):
        name = b"x" + bytes((code,)) + b"y"
        valid = TOKEN.fullmatch(name) is not None
        parsed = outcome(lambda name=name: Fields.parse(name + b": v\r\n\r\n"))
        if code != 0x3A:
            assert (parsed is not None) is valid
        assert (outcome(lambda name=name: Fields.of([(name, b"v")])) is not None) is valid


@pytest.mark.parametrize("bit", KNOWN)
def test_the_mask_knows_each_name_in_any_case_and_no_other(bit: str) -> None:
    for name in KNOWN[bit]:
        for spelling in (name, name.upper(), name.title()):
            fields = Fields.parse(spelling + b": 1\r\n\r\n")
            assert fields.mask == getattr(module, bit)
            assert fields.get(name) == b"1"
        for other in (name[:-1], name + b"x", b"z" + name[1:], name[:-1] + b"_"):
            if other not in KNOWN_NAMES:
                assert Fields.of([(other, b"1")]).mask == 0 if other else True


def test_the_bits_are_distinct() -> None:
    bits = [getattr(module, bit) for bit in KNOWN]
    assert len(set(bits)) == len(bits)
    assert all(bit & (bit - 1) == 0 for bit in bits)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), GOOD_NAMES, GOOD_VALUES),
        st.tuples(st.just("append_lines"), GOOD_PAIRS),
        st.tuples(st.just("set"), GOOD_NAMES, GOOD_VALUES),
        st.tuples(st.just("remove"), st.lists(GOOD_NAMES, max_size=3)),
        st.tuples(st.just("get"), GOOD_NAMES),
        st.tuples(st.just("copy")),
        st.tuples(st.just("encode")),
    ),
    max_size=12,
)


def naive_set(pairs: Pairs, name: bytes, value: bytes) -> Pairs:
    result: Pairs = []
    done = False
    for other in pairs:
        if other[0].lower() != name.lower():
            result.append(other)
        elif not done:
            result.append((name, value))
            done = True
    return result if done else [*result, (name, value)]


@given(GOOD_PAIRS, st.sampled_from(["of", "parse", "trusted"]), OPERATIONS)
def test_changes_and_look_ups_agree_with_a_list_of_pairs(
    pairs: Pairs, maker: str, operations: list[tuple[object, ...]]
) -> None:
    lines = b"".join(b"%b: %b\r\n" % pair for pair in pairs)
    if maker == "of":
        fields = Fields.of(pairs)
    elif maker == "parse":
        fields = Fields.parse(b"GET / HTTP/1.1\r\n" + lines + b"\r\n", 16)
    else:
        fields = Fields.trusted(lines)
    model = list(pairs)
    for operation in operations:
        match operation:
            case ("append", bytes(name), bytes(value)):
                fields.append(name, value)
                model.append((name, value))
            case ("append_lines", list(more)):
                fields.append_lines(b"".join(b"%b: %b\r\n" % pair for pair in more))
                model += more
            case ("set", bytes(name), bytes(value)):
                fields.set(name, value)
                model = naive_set(model, name, value)
            case ("remove", list(names)):
                lower = [name.lower() for name in names]
                fields.remove(*lower)
                model = [pair for pair in model if pair[0].lower() not in lower]
            case ("get", bytes(name)):
                values = [value for other, value in model if other.lower() == name.lower()]
                assert fields.get(name.lower()) == (values[0] if values else None)
                assert fields.get_all(name.lower()) == values
                assert fields.joined(name.lower()) == (b", ".join(values) if values else None)
                assert (name.lower() in fields) is bool(values)
            case ("copy",):
                before = fields
                fields = fields.copy()
                before.append(b"only-in-the-original", b"1")
            case ("encode",):
                assert fields.encode() == b"".join(b"%b: %b\r\n" % pair for pair in model)
    assert fields.items() == model
    assert len(fields) == len(model)
    assert Fields.trusted(fields.encode()).items() == model
    assert pickle.loads(pickle.dumps(fields)).items() == model


@given(GOOD_PAIRS, GOOD_PAIRS, st.lists(GOOD_NAMES, max_size=3))
def test_lines_of_some_names_and_of_all_others(pairs: Pairs, more: Pairs, names: list[bytes]) -> None:
    fields = Fields.of(pairs)
    for name, value in more:
        fields.append(name, value)
    lower = tuple(name.lower() for name in names)
    wanted = [pair for pair in [*pairs, *more] if pair[0].lower() in lower]
    others = [pair for pair in [*pairs, *more] if pair[0].lower() not in lower]
    assert fields.only(lower).items() == wanted
    assert Fields.trusted(fields.encode_without(lower)).items() == others
    assert fields.items() == [*pairs, *more]


def test_fields_are_true_even_when_empty() -> None:
    assert Fields.of()
    assert len(Fields.of()) == 0


def test_what_was_trusted_wrongly_is_refused_at_the_first_look() -> None:
    fields = Fields.trusted(b"A: b\nC: d\r\n")
    assert fields.encode() == b"A: b\nC: d\r\n"
    with pytest.raises(FieldError):
        fields.get(b"a")


@pytest.mark.parametrize(
    "dated", [b"", b"Date: x\r\n", b"date: x\r\n", b"A: Date: x\r\nDATE:x\r\n", b"Dates: x\r\n"]
)
@pytest.mark.parametrize("length", [-1, 0, 12345678901])
@pytest.mark.parametrize("appended", [False, True])
def test_assemble_makes_a_whole_message(dated: bytes, length: int, appended: bool) -> None:
    fields = Fields.trusted(dated)
    if appended:
        fields.append(b"Age", b"1")
        fields.append_lines(b"Via: x\r\n")
        fields.append_lines(b"")
    lines = dated + (b"Age: 1\r\nVia: x\r\n" if appended else b"")
    has_date = any(line.lower().startswith(b"date:") for line in dated.split(b"\r\n"))
    message = fields.assemble(
        b"HTTP/1.1 200 OK\r\n", b"Date: now\r\n", length, b"Connection: close\r\n", b"body"
    )
    assert message == b"".join(
        [
            b"HTTP/1.1 200 OK\r\n",
            lines,
            b"" if has_date else b"Date: now\r\n",
            b"" if length < 0 else b"Content-Length: %d\r\n" % length,
            b"Connection: close\r\n\r\nbody",
        ]
    )


def test_assemble_leaves_out_what_surrounds_parsed_lines() -> None:
    fields = Fields.parse(b"GET / HTTP/1.1\r\nA: b\r\n\r\n", 16)
    assert fields.assemble(b"S\r\n", b"D\r\n", -1, b"", b"") == b"S\r\nA: b\r\nD\r\n\r\n"


LIMITS = (100, 100, 8)  # line, header, fields

REQUEST_LINES = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~\x80-\xff]+) HTTP/1\.([01])")
LINE_PARTS = st.one_of(
    st.sampled_from(
        [b"GET", b"HEAD", b"POST", b"X", b" ", b" ", b"/", b"/a?b", b"?", b"HTTP/1.1", b"HTTP/1.0", b"\r"]
    ),
    st.binary(max_size=3),
)


@given(st.lists(LINE_PARTS, max_size=8).map(b"".join), st.binary(max_size=9), st.binary(max_size=9))
@example(b"GET / HTTP/1.1", b"", b"")
@example(b"G /a?b?c HTTP/1.0", b"junk", b"more")
@example(b"GET ? HTTP/1.1", b"", b"")
@example(b"GET  HTTP/1.1", b"", b"")
@example(b"GET / HTTP/1.11", b"", b"")
def test_a_head_is_read_as_a_naive_reader_would(line: bytes, before: bytes, behind: bytes) -> None:
    if b"\r\n" in line:
        return
    data = before + line + b"\r\nHost: a\r\n\r\n" + behind
    match = REQUEST_LINES.fullmatch(line)
    if match is None:
        with pytest.raises(LineError):
            read_head(data, len(before), 0, *LIMITS)
        return
    head = read_head(data, len(before), 0, *LIMITS)
    assert head is not None
    end, method, target, path, query, minor, fields = head
    assert data[end:] == behind
    assert (method, target, minor) == (match.group(1), match.group(2), int(match.group(3)))
    assert (path, query) == (target.partition(b"?")[0], target.partition(b"?")[2] if b"?" in target else None)
    assert fields.items() == [(b"Host", b"a")]


def test_an_incomplete_head_is_none_and_the_part_seen_is_not_searched_again() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for size in range(len(data)):
        assert read_head(data[:size], 0, size, *LIMITS) is None
        assert read_head(data, 0, size, *LIMITS) is not None
    assert read_head(b"", 0, 0, *LIMITS) is None
    assert read_head(data, len(data), 0, *LIMITS) is None
    assert read_head(data, len(data) + 5, 0, *LIMITS) is None


def test_the_parts_of_a_head_are_limited() -> None:
    def read(target: int, header: int) -> object:
        data = b"GET /%b HTTP/1.1\r\nA: %b\r\n\r\n" % (b"a" * (target - 16), b"b" * (header - 7))
        return read_head(data, 0, 0, *LIMITS)

    assert read(100, 100) is not None
    with pytest.raises(OverflowError, match="line"):
        read(101, 100)
    with pytest.raises(OverflowError, match="header"):
        read(100, 101)
    with pytest.raises(TooManyFields):
        read_head(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 9 + b"\r\n", 0, 0, *LIMITS)


PLAIN = re.compile(rb"/|(?:/(?![.])[^\x00-\x20\x7f-\xff%#?\\/]+)+/?")


@given(
    st.one_of(
        st.binary(max_size=12).map(lambda tail: b"/" + tail), st.text("/.a%\\?#é", max_size=8).map(str.encode)
    )
)
@example(b"")
@example(b"/")
@example(b"/a/")
@example(b"/a//")
def test_a_plain_path_needs_no_closer_look(path: bytes) -> None:
    assert is_plain_path(path) is (PLAIN.fullmatch(path) is not None)


def test_set_replaces_whatever_the_case_of_the_name_and_keeps_the_spelling_it_is_given():
    fields = Fields.of([(b"x-a", b"1"), (b"X-B", b"2"), (b"X-A", b"3")])
    fields.set(b"X-a", b"4")
    assert fields.items() == [(b"X-a", b"4"), (b"X-B", b"2")]
    fields.set(b"X-C", b"5")
    fields.set(b"X-C", b"6")
    assert fields.items() == [(b"X-a", b"4"), (b"X-B", b"2"), (b"X-C", b"6")]
