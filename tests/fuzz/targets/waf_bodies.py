"""Bodies and heads as the WAF's rules see them: forms, multipart, JSON, XML, cookies. Whatever comes, the
variables are there, bounded in number and in size, and what is no such body is an error that rules can see.
"""

from tests.fuzz.take import Take
from worker.security.waf.arguments import pairs
from worker.security.waf.percent import decoded
from worker.security.waf.transaction import HttpRequest, Limits, Transaction, basename, cookies

SEEDS = (
    b"\0/a%20b/c?x=1&y=%zz&&=\0a=b; c = d;e\0\0a=1&b=%41+",
    (
        b'\1/\0\0multipart/form-data; boundary="b c"\0--b c\r\n'
        b'Content-Disposition: form-data; name="a\\"b"\r\n\r\nv\r\n--b c--\r\n'
    ),
    (
        b"\1/\0\0multipart/form-data;boundary=x\0--x\n"
        b"Content-Disposition: form-data; name=f;\n filename='n'\nX: y\n\nz\n--x--"
    ),
    b'\2/\0\0\0{"a": [1, {"b": null}, true, 1.5e3], "a": "\\ud800\\u00e4"}',
    b"\3/\0\0\0<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a x='1' xmlns:y='z'><d>t&b;</d></a>",
    b"\0http://h:1/p/q\\r?x\0=;;\xe4\0application/x-www-form-urlencoded\0%u0041=%",
)
WORDS = (
    b"boundary=", b"--x", b"--x--", b"\r\n", b"\n", b"Content-Disposition: form-data; ", b"name=",
    b"filename=", b'"', b"'", b"\\", b";", b"{", b"[", b"}", b"]", b":", b",", b"NaN", b"1e999", b"null",
    b"<a>", b"</a>", b"&b;", b"<![CDATA[", b"encoding='utf-16'", b"encoding='x'", b"%", b"+", b"&", b"=",
    b"\xff\xfe", b"\xed\xa0\x80", b"://", b"[" * 70, b"<!ENTITY b '&b;&b;'>",
)  # fmt: skip
PROCESSORS = (b"", b"MULTIPART", b"JSON", b"XML", b"OTHER")
LIMITS = Limits(arguments=50, depth=8, parts=8)


def check(data: bytes) -> None:
    take = Take(data)
    processor = take.pick(PROCESSORS)
    target, cookie, kind = take.piece(), take.piece(), take.piece()
    body = take.rest()
    fields = ((b"Host", b"h"), (b"Cookie", cookie), (b"Content-Type", kind))
    made = Transaction(HttpRequest(b"POST", target, b"1.1", fields, body), LIMITS)
    if processor:
        made.use_processor(processor)
    made.read_body()
    arguments = made.collections.get("ARGS", [])
    assert len(arguments) <= LIMITS.arguments
    assert len(made.collections.get("FILES", ())) <= LIMITS.parts
    for pairs_of_one in made.collections.values():
        assert all(type(name) is type(value) is bytes for name, value in pairs_of_one)
    assert all(type(value) is bytes for value in made.scalars.values())
    assert made.scalars["ARGS_COMBINED_SIZE" if arguments else "REQUEST_METHOD"]
    combined = sum(len(name) + len(value) for name, value in arguments)
    assert combined <= (LIMITS.arguments + 3) * (len(data) + 16)
    if made.body_processor in (b"JSON", b"XML", b"OTHER") and body and made.scalars["REQBODY_ERROR"] == b"0":
        assert made.body_processor != b"OTHER"
    _parts(target, cookie)


def _parts(target: bytes, cookie: bytes) -> None:
    assert basename(target) == basename(basename(target))
    assert all(name and b";" not in name + value for name, value in cookies(cookie))
    found, _ = pairs(target)
    assert sum(len(name) + len(value) for name, value in found) <= len(target)
    assert len(decoded(target)) <= len(target)
