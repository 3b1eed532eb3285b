"""What smugglers send: requests, streams and answers that two readers might understand in two ways.

Tables only, from RFC 9112 2 to 7 and 11, RFC 9113 8 and 10.3, RFC 9114 4 and 10.3, and what was published of
CL.TE, TE.CL, TE.TE, TE.0, chunk terminators and downgrades from HTTP/2. Beside each family stands the
harmless sibling that must pass. `<path>` stands for a path that nobody else asks for.
"""

from dataclasses import dataclass, replace

Pairs = tuple[tuple[bytes, bytes], ...]

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: edge.test\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
EMPTY = b"0\r\n\r\n"


# --- HTTP/1 ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Bytes of a client. `forwarded`: method, target and body of every request that the origin must get of
    it, none when the edge must answer with an error (`status`, or any). `keeps`: the connection goes on."""

    name: str
    sent: bytes
    forwarded: tuple[tuple[bytes, bytes, bytes], ...] = ()
    status: int | None = None
    keeps: bool = False


def head(*lines: bytes, line: bytes = b"POST <path> HTTP/1.1", host: bytes = b"Host: edge.test") -> bytes:
    return b"\r\n".join([line, *([host] if host else []), *lines, b"", b""])


def refused(name: str, sent: bytes, status: int | None = None, *, keeps: bool = False) -> Case:
    return Case(name, sent, (), status, keeps)


def both(name: str, sent: bytes, method: bytes = b"POST", body: bytes = b"") -> Case:
    """Two requests, the second for <path>/next."""
    return Case(name, sent, ((method, b"<path>", body), (b"GET", b"<path>/next", b"")), None, True)


def passed(
    name: str,
    sent: bytes,
    method: bytes = b"POST",
    body: bytes = b"",
    *,
    target: bytes = b"<path>",
    keeps: bool = True,
) -> Case:
    return Case(name, sent, ((method, target, body),), None, keeps)


def get(*lines: bytes, line: bytes = b"GET <path> HTTP/1.1", host: bytes = b"Host: edge.test") -> bytes:
    return head(*lines, line=line, host=host)


NEXT = get(line=b"GET <path>/next HTTP/1.1")


def _by(length: int, *lines: bytes) -> bytes:
    return head(b"Content-Length: %d" % length, *lines)


_BOTH = EMPTY + SMUGGLED  # nothing to a reader of chunks, and to a reader of lengths as long as it says
BOTH = [
    refused("CL.TE", _by(len(_BOTH), CHUNKED) + _BOTH, 400),
    refused("TE.CL", head(CHUNKED, b"Content-Length: 4") + b"2c\r\n" + SMUGGLED + b"\r\n0\r\n\r\n", 400),
    refused("CL of nothing with TE", _by(0, CHUNKED) + EMPTY + SMUGGLED, 400),
    refused("TE then CL, in GET", get(CHUNKED, b"Content-Length: 5") + EMPTY + SMUGGLED, 400),
    refused(
        "CL.TE in HTTP/1.0",
        head(b"Content-Length: 5", CHUNKED, line=b"POST <path> HTTP/1.0") + EMPTY + SMUGGLED,
        400,
    ),
    passed("CL alone", _by(5) + b"hello", body=b"hello"),
    passed("TE alone", head(CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n", body=b"hello"),
    passed("a request as body", _by(len(SMUGGLED)) + SMUGGLED, body=SMUGGLED),
    passed(
        "a request as chunk",
        head(CHUNKED) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
        body=SMUGGLED,
    ),
]

# A line that some readers take for "Transfer-Encoding: chunked". By itself, and beside a Content-Length.
_DISGUISES = {
    "xchunked": b"Transfer-Encoding: xchunked",
    "chunked with a suffix": b"Transfer-Encoding: chunkedx",
    "cow": b"Transfer-Encoding: cow",
    "chunked, cow": b"Transfer-Encoding: chunked, cow",
    "cow, chunked": b"Transfer-Encoding: cow, chunked",
    "chunked, identity": b"Transfer-Encoding: chunked, identity",
    "identity, chunked": b"Transfer-Encoding: identity, chunked",
    "identity": b"Transfer-Encoding: identity",
    "chunked, chunked": b"Transfer-Encoding: chunked, chunked",
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked",
    "trailing comma": b"Transfer-Encoding: chunked,",
    "leading comma": b"Transfer-Encoding: ,chunked",
    "semicolon": b"Transfer-Encoding: chunked;",
    "parameter": b"Transfer-Encoding: chunked;ext=val",
    "in double quotes": b'Transfer-Encoding: "chunked"',
    "in single quotes": b"Transfer-Encoding: 'chunked'",
    "a quote before": b'Transfer-Encoding: "chunked',
    "in parentheses": b"Transfer-Encoding: (chunked)",
    "backslash": b"Transfer-Encoding: \\chunked",
    "vertical tab before": b"Transfer-Encoding: \x0bchunked",
    "vertical tab behind": b"Transfer-Encoding: chunked\x0b",
    "form feed before": b"Transfer-Encoding: \x0cchunked",
    "NUL before": b"Transfer-Encoding: \x00chunked",
    "NUL behind": b"Transfer-Encoding: chunked\x00",
    "DEL behind": b"Transfer-Encoding: chunked\x7f",
    "bell": b"Transfer-Encoding: \x07chunked",
    "no-break space before": b"Transfer-Encoding: \xa0chunked",
    "NEL before": b"Transfer-Encoding: \x85chunked",
    "UTF-8 no-break space": b"Transfer-Encoding: \xc2\xa0chunked",
    "byte order mark": b"Transfer-Encoding: \xef\xbb\xbfchunked",
    "obs-text inside": b"Transfer-Encoding: ch\x96nked",
    "Kelvin sign": "Transfer-Encoding: chun\u212aed".encode(),
    "escaped": b"Transfer-Encoding: chunke%64",
    "bare CR before": b"Transfer-Encoding: \rchunked",
    "bare CR behind": b"Transfer-Encoding: chunked\r",
    "bare LF before": b"Transfer-Encoding:\nchunked",
    "behind a bare LF": b"X: y\nTransfer-Encoding: chunked",
    "behind a bare CR": b"X: y\rTransfer-Encoding: chunked",
    "behind an empty CR": b"\rTransfer-Encoding: chunked",
    "folded value": b"Transfer-Encoding:\r\n chunked",
    "folded by tab": b"Transfer-Encoding:\r\n\tchunked",
    "folded behind": b"Transfer-Encoding: chunked\r\n , identity",
    "fold of the line before": b"X: y\r\n Transfer-Encoding: chunked",
    "line of white space": b"X: y\r\n \r\nTransfer-Encoding: chunked",
    "space before the colon": b"Transfer-Encoding : chunked",
    "tab before the colon": b"Transfer-Encoding\t: chunked",
    "CR before the colon": b"Transfer-Encoding\r: chunked",
    "NUL in the name": b"Transfer-Encoding\x00: chunked",
    "space in the name": b"Transfer Encoding: chunked",
    "space before the name": b" Transfer-Encoding: chunked",
    "no-break space in the name": b"Transfer-Encoding\xa0: chunked",
    "tabs all around": b"Transfer-Encoding: \t chunked \t ",
    "no colon": b"Transfer-Encoding chunked",
    "equals sign": b"Transfer-Encoding= chunked",
    "two lines": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "two lines, the second another": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "two lines, the first another": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "two lines, the first empty": b"Transfer-Encoding:\r\nTransfer-Encoding: chunked",
    "two lines, the second in capitals": b"Transfer-Encoding: chunked\r\nTRANSFER-ENCODING: cow",
    "empty": b"Transfer-Encoding:",
}
# Really that line, however it is written: fine alone, never beside a Content-Length.
_SPELLINGS = {
    "no space": b"Transfer-Encoding:chunked",
    "tab": b"Transfer-Encoding:\tchunked",
    "spaces all around": b"Transfer-Encoding:   chunked  ",
    "small letters": b"transfer-encoding: chunked",
    "capitals": b"TRANSFER-ENCODING: CHUNKED",
    "mixed case": b"tRANSFER-eNCODING: cHuNkEd",
}
# Another field to us and to the RFC, but not to every gateway to CGI or WSGI.
_LOOKALIKES = {
    "underscore": b"Transfer_Encoding: chunked",
    "underscore in capitals": b"TRANSFER_ENCODING: chunked",
    "prefix": b"X-Transfer-Encoding: chunked",
    "content coding": b"Content-Encoding: chunked",
    "TE": b"TE: chunked",
    "no hyphen": b"TransferEncoding: chunked",
    "dot": b"Transfer.Encoding: chunked",
}
_FIVE = b"0\r\n\r\n"

DISGUISES = [
    *(refused(f"TE {name}", head(line) + EMPTY + SMUGGLED) for name, line in _DISGUISES.items()),
    *(refused(f"TE {name}, CL", _by(5, line) + _FIVE) for name, line in _DISGUISES.items()),
    *(
        refused(f"CL behind TE {name}", head(line, b"Content-Length: 5") + _FIVE)
        for name, line in _DISGUISES.items()
    ),
    *(
        passed(f"TE {name}", head(line) + b"1\r\na\r\n" + EMPTY, body=b"a")
        for name, line in _SPELLINGS.items()
    ),
    *(refused(f"TE {name}, CL", _by(5, line) + _FIVE, 400) for name, line in _SPELLINGS.items()),
    *(passed(f"TE {name}, CL", _by(5, line) + _FIVE, body=_FIVE) for name, line in _LOOKALIKES.items()),
    *(
        both(f"TE {name}", head(line) + SMUGGLED.replace(b"/smuggled", b"<path>/next"))
        for name, line in _LOOKALIKES.items()
    ),
    refused(
        "TE first line with a space before",
        head(host=b" Transfer-Encoding: chunked\r\nHost: edge.test") + EMPTY,
    ),
    refused("TE in HTTP/1.0", head(CHUNKED, line=b"POST <path> HTTP/1.0") + EMPTY, 400),
    refused(
        "TE in HTTP/1.0, kept alive",
        head(CHUNKED, b"Connection: keep-alive", line=b"POST <path> HTTP/1.0") + EMPTY,
        400,
    ),
]

_LENGTHS = {
    "plus": b"+5",
    "minus": b"-5",
    "minus zero": b"-0",
    "hexadecimal": b"0x5",
    "hexadecimal digit": b"a",
    "octal": b"0o5",
    "a list": b"5, 5",
    "a list without space": b"5,5",
    "a list of two": b"5, 6",
    "trailing comma": b"5,",
    "leading comma": b",5",
    "a fraction": b"5.0",
    "an exponent": b"5e0",
    "a unit": b"5 bytes",
    "digits apart": b"1 0",
    "underscore": b"0_5",
    "apostrophe": b"1'000",
    "quotes": b'"5"',
    "semicolon": b"5;",
    "empty": b"",
    "white space": b" \t ",
    "NUL": b"5\x00",
    "vertical tab": b"\x0b5",
    "no-break space": b"\xa05",
    "Arabic digits": "\u0665".encode(),
    "superscript": b"\xb2",
    "fullwidth digit": "\uff15".encode(),
    "2^64 + 5": b"18446744073709551621",
    "2^63": b"9223372036854775808",
    "many digits": b"9" * 400,
    "too many leading zeros": b"0" * 400 + b"5",
    "true": b"true",
    "NaN": b"NaN",
    "bare CR": b"5\r",
    "folded": b"\r\n 5",
}
LENGTHS = [
    *(
        refused(f"CL {name}", head(b"Content-Length: " + value) + b"hello")
        for name, value in _LENGTHS.items()
    ),
    refused(
        "CL 2^32 + 5 is beyond the limit or waited for, never cut",
        head(b"Content-Length: 99999999999999") + b"hello",
        413,
    ),
    refused("CL twice", _by(5, b"Content-Length: 5") + b"hello", 400),
    refused("CL twice, the second nothing", _by(5, b"Content-Length: 0") + b"hello", 400),
    refused("CL twice, the first nothing", _by(0, b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED, 400),
    refused("CL twice, one in small letters", _by(5, b"content-length: 6") + b"hello!", 400),
    refused("CL twice, one empty", _by(5, b"Content-Length:") + b"hello", 400),
    refused("CL twice in GET", get(b"Content-Length: 0", b"Content-Length: 44") + SMUGGLED, 400),
    refused("CL with a space before the colon", head(b"Content-Length : 5") + b"hello", 400),
    refused("CL with a tab before the colon", head(b"Content-Length\t: 5") + b"hello", 400),
    refused("CL folded onto the line before", head(b"X: y", b" Content-Length: 5") + b"hello", 400),
    refused(
        "CL as the first line, indented", head(host=b" Content-Length: 5\r\nHost: edge.test") + b"hello", 400
    ),
    refused("CL behind a bare LF", head(b"X: y\nContent-Length: 5") + b"hello", 400),
    refused("CL behind a bare CR", head(b"X: y\rContent-Length: 5") + b"hello", 400),
    refused("CL with an empty name before", head(b": x", b"Content-Length: 5") + b"hello", 400),
    passed("CL with leading zeros", head(b"Content-Length: 0005") + b"hello", body=b"hello"),
    passed("CL among white space", head(b"Content-Length:\t 5 \t") + b"hello", body=b"hello"),
    passed("CL without a space", head(b"Content-Length:5") + b"hello", body=b"hello"),
    passed("CL in capitals", head(b"CONTENT-LENGTH: 5") + b"hello", body=b"hello"),
    passed("CL of nothing", _by(0)),
    passed("no CL in POST", head()),
    passed("CL with an underscore is none", get(b"Content_Length: 44"), b"GET"),
    passed("CL with an underscore beside one", _by(5, b"Content_Length: 0") + b"hello", body=b"hello"),
    passed("CL with a prefix", _by(5, b"X-Content-Length: 0") + b"hello", body=b"hello"),
]

BODIES = [
    *(
        passed(
            f"{method.decode()} with a body",
            head(b"Content-Length: %d" % len(SMUGGLED), line=method + b" <path> HTTP/1.1") + SMUGGLED,
            method,
            SMUGGLED,
        )
        for method in (b"GET", b"OPTIONS", b"DELETE", b"PUT", b"PATCH")
    ),
    *(
        passed(
            f"{method.decode()} with chunks",
            head(CHUNKED, line=method + b" <path> HTTP/1.1")
            + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
            method,
            SMUGGLED,
        )
        for method in (b"GET", b"OPTIONS", b"DELETE", b"PUT", b"PATCH")
    ),
    passed(
        "HEAD with a body",
        head(b"Content-Length: %d" % len(SMUGGLED), line=b"HEAD <path> HTTP/1.1") + SMUGGLED,
        b"HEAD",
        SMUGGLED,
    ),
    passed(
        "HEAD with chunks",
        head(CHUNKED, line=b"HEAD <path> HTTP/1.1") + b"5\r\nhello\r\n0\r\n\r\n",
        b"HEAD",
        b"hello",
    ),
    passed("GET with chunks of nothing", get(CHUNKED) + EMPTY, b"GET"),
    passed("GET with CL of nothing", get(b"Content-Length: 0"), b"GET"),
    passed("GET", get(), b"GET"),
    passed("HEAD", get(line=b"HEAD <path> HTTP/1.1"), b"HEAD"),
    both("two in a row", get() + NEXT, b"GET"),
    both("body, then another", _by(5) + b"hello" + NEXT, body=b"hello"),
    both("body, CRLF, then another", _by(5) + b"hello\r\n" + NEXT, body=b"hello"),
    both("chunks, then another", head(CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n" + NEXT, body=b"hello"),
    passed(
        "method override",
        get(b"X-HTTP-Method-Override: POST", b"X-HTTP-Method: PUT", b"X-Method-Override: DELETE"),
        b"GET",
    ),
]


def _chunks(data: bytes) -> bytes:
    return head(CHUNKED) + data


_LAST = b"0\r\n\r\n"
CHUNKS = [
    refused("size negative", _chunks(b"-5\r\nhello\r\n" + _LAST), 400),
    refused("size with plus", _chunks(b"+5\r\nhello\r\n" + _LAST), 400),
    refused("size with 0x", _chunks(b"0x5\r\nhello\r\n" + _LAST), 400),
    refused("size with h", _chunks(b"5h\r\nhello\r\n" + _LAST), 400),
    refused("size with underscore", _chunks(b"0_5\r\nhello\r\n" + _LAST), 400),
    refused("size with a point", _chunks(b"5.0\r\nhello\r\n" + _LAST), 400),
    refused("size with a comma", _chunks(b"5,5\r\nhello\r\n" + _LAST), 400),
    refused("size in quotes", _chunks(b'"5"\r\nhello\r\n' + _LAST), 400),
    refused("size 2^64 + 5", _chunks(b"10000000000000005\r\nhello\r\n" + _LAST), 400),
    refused("size 2^32 + 5 is no 5", _chunks(b"ffffffff00000005\r\nhello\r\n" + _LAST), 400),
    refused("size of a thousand digits", _chunks(b"0" * 1000 + b"5\r\nhello\r\n" + _LAST), 400),
    refused("size with a space before", _chunks(b" 5\r\nhello\r\n" + _LAST), 400),
    refused("size with a space behind", _chunks(b"5 \r\nhello\r\n" + _LAST), 400),
    refused("size with a tab behind", _chunks(b"5\t\r\nhello\r\n" + _LAST), 400),
    refused("size with a space before its extension", _chunks(b"5 ;a\r\nhello\r\n" + _LAST), 400),
    refused("size with NUL", _chunks(b"5\x00\r\nhello\r\n" + _LAST), 400),
    refused("size with vertical tab", _chunks(b"5\x0b\r\nhello\r\n" + _LAST), 400),
    refused("size with no-break space", _chunks(b"5\xa0\r\nhello\r\n" + _LAST), 400),
    refused("size in fullwidth digits", _chunks("\uff15\r\nhello\r\n".encode() + _LAST), 400),
    refused("no size", _chunks(b"\r\nhello\r\n" + _LAST), 400),
    refused("extension without size", _chunks(b";a\r\nhello\r\n" + _LAST), 400),
    refused("size ended by LF", _chunks(b"5\nhello\r\n" + _LAST), 400),
    refused("size ended by CR", _chunks(b"5\rhello\r\n" + _LAST), 400),
    refused("size ended by CR CR LF", _chunks(b"5\r\r\nhello\r\n" + _LAST), 400),
    refused("size ended by LF CR", _chunks(b"5\n\rhello\r\n" + _LAST), 400),
    refused("extension ended by LF (TERM.EXT)", _chunks(b"2;\nxx\r\n4c\r\n0\r\n\r\n" + SMUGGLED), 400),
    refused("extension with LF inside (EXT.TERM)", _chunks(b"5;a\nb\r\nhello\r\n" + _LAST), 400),
    refused("extension with CR inside", _chunks(b"5;a\rb\r\nhello\r\n" + _LAST), 400),
    refused("extension with CR at its end", _chunks(b"5;a\r\r\nhello\r\n" + _LAST), 400),
    refused(
        "extension with CRLF in quotes", _chunks(b'5;a="\r\nhello\r\n0\r\n\r\n"\r\nhello\r\n' + _LAST), 400
    ),
    refused("extension with LF in quotes", _chunks(b'5;a="\n"\r\nhello\r\n' + _LAST), 400),
    refused("extension with NUL", _chunks(b"5;a\x00b\r\nhello\r\n" + _LAST), 400),
    refused("extension with DEL", _chunks(b"5;a\x7f\r\nhello\r\n" + _LAST), 400),
    refused("extension too long", _chunks(b"5;" + b"a" * 5000 + b"\r\nhello\r\n" + _LAST), 400),
    refused(
        "extensions without end",
        _chunks(b"".join(b"1;%b\r\na\r\n" % (b"a" * 900) for _ in range(40)) + _LAST),
        400,
    ),
    refused("chunk ended by LF", _chunks(b"5\r\nhello\n" + _LAST), 400),
    refused("chunk ended by CR", _chunks(b"5\r\nhello\r" + _LAST), 400),
    refused("chunk ended by nothing (ONE.TWO)", _chunks(b"5\r\nhello" + _LAST), 400),
    refused("chunk ended by any two bytes (SPILL)", _chunks(b"5\r\nhelloXX0\r\n\r\n" + SMUGGLED), 400),
    refused("chunk ended by LF CR", _chunks(b"5\r\nhello\n\r" + _LAST), 400),
    refused("chunk longer than its size", _chunks(b"5\r\nhello!\r\n" + _LAST), 400),
    refused("chunk shorter than its size", _chunks(b"6\r\nhello\r\n" + _LAST + SMUGGLED), 400),
    refused("last chunk ended by LF", _chunks(b"0\n\r\n" + SMUGGLED), 400),
    refused("end by LF LF", _chunks(b"0\n\n" + SMUGGLED), 400),
    refused("end by CRLF LF", _chunks(b"0\r\n\n" + SMUGGLED), 400),
    refused("end by CRLF CR", _chunks(b"0\r\n\rX\r\n\r\n" + SMUGGLED), 400),
    refused("no end before the next request", _chunks(b"0\r\n" + SMUGGLED), 400),
    refused("trailer Content-Length", _chunks(b"0\r\nContent-Length: 44\r\n\r\n" + SMUGGLED), 400),
    refused("trailer Transfer-Encoding", _chunks(b"0\r\nTransfer-Encoding: chunked\r\n\r\n" + EMPTY), 400),
    refused("trailer Host", _chunks(b"0\r\nHost: other.test\r\n\r\n" + SMUGGLED), 400),
    refused("trailer with a space before the colon", _chunks(b"0\r\nX : y\r\n\r\n"), 400),
    refused("trailer folded", _chunks(b"0\r\nX: y\r\n z\r\n\r\n"), 400),
    refused("trailer ended by LF", _chunks(b"0\r\nX: y\n\r\n\r\n"), 400),
    refused("trailer with CR", _chunks(b"0\r\nX: y\rz\r\n\r\n"), 400),
    refused("trailer with NUL", _chunks(b"0\r\nX: \x00\r\n\r\n"), 400),
    refused("trailer that is a request line", _chunks(b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n"), 400),
    refused("trailers too large", _chunks(b"0\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"), 400),
    passed(
        "sizes in both cases, with leading zeros",
        _chunks(b"00a\r\n0123456789\r\n0A\r\n0123456789\r\n000\r\n\r\n"),
        body=b"0123456789" * 2,
    ),
    passed("extensions", _chunks(b'5;a;b=c;d="e \\"f"\r\nhello\r\n0;last\r\n\r\n'), body=b"hello"),
    passed("many chunks", _chunks(b"1\r\na\r\n" * 300 + _LAST), body=b"a" * 300),
    passed("a chunk that ends in CRLF", _chunks(b"7\r\nhello\r\n\r\n" + _LAST), body=b"hello\r\n"),
    passed("trailer", _chunks(b"5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n"), body=b"hello"),
    passed(
        "trailers that are for nobody else",
        _chunks(
            b"0\r\nConnection: close\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n"
            b"Authorization: x\r\nVia: x\r\n\r\n"
        ),
    ),
]

LINES = [
    refused("all lines ended by LF", b"GET <path> HTTP/1.1\nHost: edge.test\n\n", 400),
    refused("request line ended by LF", b"GET <path> HTTP/1.1\nHost: edge.test\r\n\r\n", 400),
    refused("request line ended by CR", b"GET <path> HTTP/1.1\rHost: edge.test\r\n\r\n", 400),
    refused("request line ended by CR CR LF", b"GET <path> HTTP/1.1\r\r\nHost: edge.test\r\n\r\n", 400),
    refused("field ended by LF", b"GET <path> HTTP/1.1\r\nHost: edge.test\nX: y\r\n\r\n", 400),
    refused("field ended by CR", b"GET <path> HTTP/1.1\r\nHost: edge.test\rX: y\r\n\r\n", 400),
    refused("field ended by CR CR LF", b"GET <path> HTTP/1.1\r\nHost: edge.test\r\r\n\r\n", 400),
    refused("end of the head by LF LF", b"GET <path> HTTP/1.1\r\nHost: edge.test\n\n" + SMUGGLED, 400),
    refused("end of the head by CRLF LF", b"GET <path> HTTP/1.1\r\nHost: edge.test\r\n\n" + SMUGGLED, 400),
    refused("end of the head by CR", b"GET <path> HTTP/1.1\r\nHost: edge.test\r\n\r" + SMUGGLED, 400),
    refused("NUL in a value", get(b"X: a\x00b"), 400),
    refused("NUL in a name", get(b"X\x00: a"), 400),
    refused("NUL before the request", b"\x00" + get(), 400),
    refused("vertical tab as a line end", get(b"X: a\x0bY: b"), 400),
    refused("folded field", get(b"X: a", b" b"), 400),
    refused("folded by tab", get(b"X: a", b"\tb"), 400),
    refused("folded Host", get(host=b"Host:\r\n edge.test"), 400),
    refused("first line indented", get(host=b" Host: edge.test"), 400),
    refused("first line indented, before Host", get(host=b" X: y\r\nHost: edge.test"), 400),
    refused("first line indented by tab", get(host=b"\tX: y\r\nHost: edge.test"), 400),
    refused("line without a colon", get(b"nonsense"), 400),
    refused("empty name", get(b": y"), 400),
    refused("space in a name", get(b"X Y: z"), 400),
    refused("colon in place of a name", get(b":method: POST"), 400),
    refused("request line as a field", get(b"GET /smuggled HTTP/1.1"), 400),
    refused("response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400),
    refused("LF before", b"\n" + get(), 400),
    refused("CR before", b"\r" + get(), 400),
    refused("space before", b" " + get(), 400),
    refused("byte order mark before", b"\xef\xbb\xbf" + get(), 400),
    passed("empty line before", b"\r\n" + get(), b"GET"),
    passed("a value of white space", get(b"X: \t "), b"GET"),
    passed("tab in a value", get(b"X: a\tb"), b"GET"),
    passed("colons in a value", get(b"X: a:b: c"), b"GET"),
    passed("escaped CRLF in a value", get(b"X: a%0d%0aTransfer-Encoding: chunked"), b"GET"),
    passed("odd names", get(b"X_Y: a", b"x.y: b", b"!#$%&'*+-.^_`|~: c"), b"GET"),
]

REQUEST_LINES = [
    refused("two spaces before the target", get(line=b"GET  <path> HTTP/1.1"), 400),
    refused("two spaces before the version", get(line=b"GET <path>  HTTP/1.1"), 400),
    refused("space at the end", get(line=b"GET <path> HTTP/1.1 "), 400),
    refused("tabs", get(line=b"GET\t<path>\tHTTP/1.1"), 400),
    refused("tab behind a space", get(line=b"GET \t<path> HTTP/1.1"), 400),
    refused("vertical tab", get(line=b"GET\x0b<path>\x0bHTTP/1.1"), 400),
    refused("form feed", get(line=b"GET\x0c<path> HTTP/1.1"), 400),
    refused("space in the target", get(line=b"GET <path> x HTTP/1.1"), 400),
    refused("two versions", get(line=b"GET <path> HTTP/1.1 HTTP/1.1"), 400),
    refused("second request in the line", get(line=b"GET <path> HTTP/1.1 GET /smuggled HTTP/1.1"), 400),
    refused("CR in the target", get(line=b"GET <path>\rx HTTP/1.1"), 400),
    refused("NUL in the target", get(line=b"GET <path>\x00 HTTP/1.1"), 400),
    refused("non-ASCII target", get(line=b"GET <path>\xe9 HTTP/1.1"), 400, keeps=True),
    refused("no-break space in the target", get(line=b"GET <path>\xa0HTTP/1.1 HTTP/1.1"), 400, keeps=True),
    refused("fragment", get(line=b"GET <path>#x HTTP/1.1"), 400, keeps=True),
    refused("backslash", get(line=b"GET <path>\\..\\x HTTP/1.1"), 400, keeps=True),
    refused("no target", get(line=b"GET HTTP/1.1"), 400),
    refused("HTTP/0.9", b"GET <path>\r\n\r\n", 400),
    refused("HTTP/0.9, with fields", get(line=b"GET <path>"), 400),
    refused("HTTP/0.9 in figures", get(line=b"GET <path> HTTP/0.9"), 505),
    refused("HTTP/2.0", get(line=b"GET <path> HTTP/2.0"), 505),
    refused("HTTP/1.2", get(line=b"GET <path> HTTP/1.2"), 400),
    refused("HTTP/1.10", get(line=b"GET <path> HTTP/1.10"), 400),
    refused("HTTP/01.1", get(line=b"GET <path> HTTP/01.1"), 400),
    refused("HTTP/1", get(line=b"GET <path> HTTP/1"), 400),
    refused("HTTP/1,1", get(line=b"GET <path> HTTP/1,1"), 400),
    refused("HTTP/ 1.1", get(line=b"GET <path> HTTP/ 1.1"), 400),
    refused("small letters", get(line=b"GET <path> http/1.1"), 400),
    refused("another protocol", get(line=b"GET <path> ICAP/1.0"), 400),
    refused("ended by a NUL", get(line=b"GET <path> HTTP/1.1\x00"), 400),
    refused("method in small letters", get(line=b"get <path> HTTP/1.1"), 501),
    refused("method with a colon", get(line=b"GET: <path> HTTP/1.1"), 400),
    refused("method with a slash", get(line=b"GET/ <path> HTTP/1.1"), 400),
    refused("method in quotes", get(line=b'"GET" <path> HTTP/1.1'), 400),
    refused("unknown method", get(line=b"SMUGGLE <path> HTTP/1.1"), 501),
    refused("CONNECT", get(line=b"CONNECT edge.test:443 HTTP/1.1") + SMUGGLED, 501),
    refused("CONNECT with a path", get(line=b"CONNECT <path> HTTP/1.1") + SMUGGLED, 501),
    refused("authority as the target", get(line=b"GET edge.test:80 HTTP/1.1"), 400),
    refused("no slash", get(line=b"GET x<path> HTTP/1.1"), 400),
    refused("an asterisk for GET", get(line=b"GET * HTTP/1.1"), 400),
    refused("@ before the path", get(line=b"GET @other.test<path> HTTP/1.1"), 400),
    refused("absolute form, another Host", get(line=b"GET http://other.test<path> HTTP/1.1"), 400),
    refused("absolute form, no Host", get(line=b"GET http://edge.test<path> HTTP/1.1", host=b""), 400),
    refused(
        "absolute form, two Hosts", get(b"Host: edge.test", line=b"GET http://edge.test<path> HTTP/1.1"), 400
    ),
    refused("absolute form, user", get(line=b"GET http://a@edge.test<path> HTTP/1.1"), 400),
    refused(
        "absolute form, another as user", get(line=b"GET http://edge.test@other.test<path> HTTP/1.1"), 400
    ),
    refused("absolute form, another port", get(line=b"GET http://edge.test:81<path> HTTP/1.1"), 400),
    refused("absolute form, https", get(line=b"GET https://edge.test<path> HTTP/1.1"), 421),
    refused("absolute form, file", get(line=b"GET file:///etc/passwd HTTP/1.1")),
    refused("absolute form, gopher", get(line=b"GET gopher://edge.test<path> HTTP/1.1"), 421),
    refused("absolute form, no authority", get(line=b"GET http://<path> HTTP/1.1"), 400),
    refused("absolute form, one slash", get(line=b"GET http:/edge.test<path> HTTP/1.1"), 400),
    refused("absolute form, backslash", get(line=b"GET http://edge.test\\@other.test<path> HTTP/1.1"), 400),
    passed("absolute form", get(line=b"GET http://edge.test<path> HTTP/1.1"), b"GET"),
    passed("absolute form in capitals", get(line=b"GET HTTP://EDGE.test:80<path> HTTP/1.1"), b"GET"),
    passed(
        "a URL as a path",
        get(line=b"GET <path>/http://other.test/ HTTP/1.1"),
        b"GET",
        target=b"<path>/http:/other.test/",
    ),
    passed("two slashes are no authority", get(line=b"GET /<path>//x HTTP/1.1"), b"GET", target=b"<path>/x"),
    passed("dot segments", get(line=b"GET /a/..<path>/./x/%2e%2e HTTP/1.1"), b"GET", target=b"<path>/"),
    passed(
        "escaped CRLF", get(line=b"GET <path>%0d%0aX:%20y HTTP/1.1"), b"GET", target=b"<path>%0D%0AX:%20y"
    ),
    passed(
        "a request in the query",
        get(line=b"GET <path>?x=HTTP/1.1%0d%0a HTTP/1.1"),
        b"GET",
        target=b"<path>?x=HTTP/1.1%0d%0a",
    ),
    passed("HTTP/1.0", get(line=b"GET <path> HTTP/1.0"), b"GET", keeps=False),
    passed("HTTP/1.0, kept alive", get(b"Connection: keep-alive", line=b"GET <path> HTTP/1.0"), b"GET"),
    passed(
        "HTTP/1.0 with a body, kept alive",
        head(b"Connection: keep-alive", b"Content-Length: 5", line=b"POST <path> HTTP/1.0") + b"hello",
        body=b"hello",
    ),
]

_HOSTS = {
    "empty": b"Host:",
    "white space": b"Host: \t",
    "with a path": b"Host: edge.test/x",
    "with a query": b"Host: edge.test?x",
    "with a fragment": b"Host: edge.test#x",
    "with a user": b"Host: a@edge.test",
    "with a user and password": b"Host: a:b@edge.test",
    "with an escape": b"Host: edge%2etest",
    "with a space": b"Host: edge.test other.test",
    "with a tab": b"Host: edge.test\tx",
    "with a comma": b"Host: edge.test, other.test",
    "with a backslash": b"Host: edge.test\\other.test",
    "with a scheme": b"Host: http://edge.test",
    "with a port that is none": b"Host: edge.test:http",
    "with a signed port": b"Host: edge.test:+80",
    "with a port of six digits": b"Host: edge.test:000080",
    "with a port above 65535": b"Host: edge.test:65616",
    "with two ports": b"Host: edge.test:80:81",
    "with an @ in the port": b"Host: edge.test:80@other.test",
    "with an unclosed bracket": b"Host: [::1",
    "with text behind a bracket": b"Host: [::1]x",
    "with a zone": b"Host: [fe80::1%25eth0]",
    "no address in brackets": b"Host: [edge.test]",
    "with an empty label": b"Host: edge..test",
    "with a dot first": b"Host: .edge.test",
    "non-ASCII": "Host: \u00e9dge.test".encode(),
    "with NUL": b"Host: edge.test\x00",
    "with vertical tab": b"Host: edge.test\x0b",
    "in quotes": b'Host: "edge.test"',
    "with a semicolon": b"Host: edge.test;x",
    "with an asterisk": b"Host: *",
    "twice": b"Host: edge.test\r\nHost: edge.test",
    "twice, another": b"Host: edge.test\r\nHost: other.test",
    "twice, in small letters": b"Host: edge.test\r\nhost: other.test",
    "twice, one empty": b"Host: edge.test\r\nHost:",
    "with a space before the colon": b"Host : edge.test",
    "twice, one with a space before the colon": b"Host: edge.test\r\nHost : other.test",
    "twice, one indented": b"Host: edge.test\r\n Host: other.test",
    "missing": b"X: y",
}
HOSTS = [
    *(refused(f"Host {name}", get(host=line), 400) for name, line in _HOSTS.items()),
    passed("Host", get(host=b"Host: edge.test"), b"GET"),
    passed("Host in capitals with a port", get(host=b"HOST: EDGE.Test:80"), b"GET"),
    passed("Host with the dot of the root", get(host=b"Host: edge.test."), b"GET"),
    passed("Host that is an IPv6 address", get(host=b"Host: [::1]:8080"), b"GET"),
    passed(
        "other names for it",
        get(b"X-Host: a", b"X-Forwarded-Host: b", b"Forwarded: host=c", b"X-Original-URL: /smuggled"),
        b"GET",
    ),
]

_UPGRADE = b"Connection: Upgrade, HTTP2-Settings"
_SETTINGS = b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"
_LISTED = (
    b"close, content-length",
    b"content-length",
    b"host",
    b"transfer-encoding",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"via, cdn-loop",
    b"x-request-id",
    b"keep-alive, Content-Length",
    b"cookie",
    b"expect",
    b"connection",
    b"te",
)
CONNECTIONS = [
    *(
        passed(
            f"Connection: {listed.decode()}",
            _by(5, b"Connection: " + listed) + b"hello",
            body=b"hello",
            keeps=b"close" not in listed,
        )
        for listed in _LISTED
    ),
    passed(
        "Connection lists chunked away",
        head(CHUNKED, b"Connection: transfer-encoding") + b"1\r\na\r\n" + EMPTY,
        body=b"a",
    ),
    passed("Connection in two lines", get(b"Connection: x", b"Connection: close"), b"GET", keeps=False),
    passed("Connection with odd commas", get(b"Connection: ,, close ,"), b"GET", keeps=False),
    passed(
        "Keep-Alive and Proxy-Connection",
        get(b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive"),
        b"GET",
    ),
    passed("h2c", get(_UPGRADE, b"Upgrade: h2c", _SETTINGS), b"GET"),
    passed(
        "h2c, Connection without HTTP2-Settings",
        get(b"Connection: Upgrade", b"Upgrade: h2c", _SETTINGS),
        b"GET",
    ),
    passed("h2c, no Connection", get(b"Upgrade: h2c", _SETTINGS), b"GET"),
    passed(
        "h2c, Connection in two lines",
        get(b"Connection: Upgrade", b"Connection: HTTP2-Settings", b"Upgrade: h2c", _SETTINGS),
        b"GET",
    ),
    passed("h2c in capitals, with a version", get(_UPGRADE, b"Upgrade: H2C/1", _SETTINGS), b"GET"),
    passed("h2c beside another", get(_UPGRADE, b"Upgrade: foo, h2c", _SETTINGS), b"GET"),
    both("h2c, then another", get(_UPGRADE, b"Upgrade: h2c", _SETTINGS) + NEXT, b"GET"),
    passed("TLS upgrade", get(b"Connection: Upgrade", b"Upgrade: TLS/1.0"), b"GET"),
    passed("HTTP upgrade", get(b"Connection: Upgrade", b"Upgrade: HTTP/2.0"), b"GET"),
    passed("WebSocket without Connection", get(b"Upgrade: websocket"), b"GET"),
    refused(
        "upgrade with a body",
        _by(len(SMUGGLED), b"Connection: Upgrade", b"Upgrade: websocket") + SMUGGLED,
        400,
    ),
    refused("HTTP/2 preface behind nothing but an empty line", b"\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    passed("TE trailers", get(b"Connection: TE", b"TE: trailers"), b"GET"),
    passed("TE chunked", get(b"Connection: TE", b"TE: chunked, trailers;q=0.5"), b"GET"),
    passed(
        "forwarding fields of a client nobody trusts",
        get(
            b"X-Forwarded-For: 6.6.6.6",
            b"X_Forwarded_For: 6.6.6.6",
            b"X-Forwarded_For: 6.6.6.6",
            b"X_FORWARDED-PROTO: https",
            b"X_Real_IP: 6.6.6.6",
            b"X-Request_Id: 1",
            b"CDN_Loop: x",
            b"Forwarded: for=6.6.6.6",
        ),
        b"GET",
    ),
]

EXPECTATIONS = [
    passed("100-continue", _by(5, b"Expect: 100-continue") + b"hello", body=b"hello"),
    passed(
        "100-continue in GET with a body",
        get(b"Expect: 100-continue", b"Content-Length: 5") + b"hello",
        b"GET",
        b"hello",
    ),
    passed(
        "100-continue with chunks",
        head(CHUNKED, b"Expect: 100-Continue") + b"5\r\nhello\r\n" + EMPTY,
        body=b"hello",
    ),
    passed("100-continue without a body", get(b"Expect: 100-continue"), b"GET"),
    passed("100-continue with a body of nothing", _by(0, b"Expect: 100-continue")),
    passed(
        "100-continue in HTTP/1.0 is ignored",
        head(b"Expect: 100-continue", b"Content-Length: 5", line=b"POST <path> HTTP/1.0") + b"hello",
        body=b"hello",
        keeps=False,
    ),
    refused("100-continue with a word before", _by(5, b"Expect: y 100-continue") + b"hello", 417),
    refused("100-continue twice", _by(5, b"Expect: 100-continue", b"Expect: 100-continue") + b"hello", 417),
    refused("100-continue in a list", _by(5, b"Expect: 100-continue, x") + b"hello", 417),
    refused("100-continue folded", _by(5, b"Expect:\r\n 100-continue") + b"hello", 400),
    refused("100-continue behind a bare LF", _by(5, b"Expect:\n100-continue") + b"hello", 400),
    refused("another expectation", _by(5, b"Expect: 200-ok") + b"hello", 417),
    refused("an empty expectation", _by(5, b"Expect:") + b"hello", 417),
    refused("100-continue with CL and TE", _by(5, CHUNKED, b"Expect: 100-continue") + EMPTY, 400),
]

FAMILIES = {
    "both framings": BOTH,
    "disguised Transfer-Encoding": DISGUISES,
    "Content-Length": LENGTHS,
    "bodies": BODIES,
    "chunks": CHUNKS,
    "lines": LINES,
    "request line": REQUEST_LINES,
    "Host": HOSTS,
    "Connection": CONNECTIONS,
    "Expect": EXPECTATIONS,
}


# --- HTTP/2 and HTTP/3 -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """A request in fields; `fine` if the origin must get it. `pseudo` changes or (None) leaves out."""

    name: str
    fields: Pairs = ()
    pseudo: tuple[tuple[bytes, bytes | None], ...] = ()
    body: bytes | None = None
    trailers: Pairs = ()
    before: Pairs = ()  # in front of the pseudo-fields
    fine: bool = False
    method: bytes = b"POST"
    target: bytes = b"<path>"

    def sent(self, scheme: bytes, path: bytes) -> list[tuple[bytes, bytes]]:
        """Its header section."""
        pseudo: dict[bytes, bytes | None] = {
            b":method": self.method, b":scheme": scheme, b":authority": b"edge.test", b":path": b"<path>",
            **dict(self.pseudo),
        }  # fmt: skip
        pairs = [(name, value) for name, value in pseudo.items() if value is not None]
        return [
            (name, value.replace(b"<path>", path).replace(b"<scheme>", scheme))
            for name, value in (*self.before, *pairs, *self.fields)
        ]


def _with(name: str, *fields: tuple[bytes, bytes]) -> Stream:
    return Stream(name, fields, body=b"hello")


def _pseudo(name: str, field: bytes, value: bytes | None) -> Stream:
    return Stream(f":{field.decode()} {name}", pseudo=((b":" + field, value),), method=b"GET")


_AS_HTTP1 = b" HTTP/1.1\r\nHost: edge.test\r\n\r\nGET /smuggled"
STREAMS = [
    # H2.CL and H2.TE
    _with("CL of nothing", (b"content-length", b"0")),
    _with("CL shorter than the body", (b"content-length", b"3")),
    _with("CL longer than the body", (b"content-length", b"6")),
    _with("CL twice", (b"content-length", b"5"), (b"content-length", b"5")),
    _with("CL twice, differing", (b"content-length", b"5"), (b"content-length", b"0")),
    _with("CL a list", (b"content-length", b"5, 5")),
    _with("CL with plus", (b"content-length", b"+5")),
    _with("CL with a space", (b"content-length", b" 5")),
    _with("CL empty", (b"content-length", b"")),
    _with("CL 2^64 + 5", (b"content-length", b"18446744073709551621")),
    Stream("CL without a body", ((b"content-length", b"44"),)),
    Stream("CL without a body, in GET", ((b"content-length", b"44"),), method=b"GET"),
    _with("TE chunked", (b"transfer-encoding", b"chunked")),
    _with("TE identity", (b"transfer-encoding", b"identity")),
    _with("TE in capitals", (b"Transfer-Encoding", b"chunked")),
    _with("TE and CL", (b"content-length", b"5"), (b"transfer-encoding", b"chunked")),
    _with("TE with a space in its name", (b"transfer-encoding ", b"chunked")),
    _with("TE with a colon in its name", (b"transfer-encoding:", b"chunked")),
    _with("TE behind a value", (b"x", b"y\r\ntransfer-encoding: chunked")),
    _with("TE behind a value and LF", (b"x", b"y\ntransfer-encoding: chunked")),
    _with("TE behind a value and CR", (b"x", b"y\rtransfer-encoding: chunked")),
    _with("TE in a name", (b"x: y\r\ntransfer-encoding", b"chunked")),
    _with("TE in a name behind LF", (b"x\ntransfer-encoding", b"chunked")),
    _with("a request in a value", (b"x", b"y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: edge.test\r\n\r\n")),
    _with("a request in a name", (b"x: y\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: edge.test\r\nx", b"y")),
    # names and values
    _with("empty name", (b"", b"x")),
    _with("colon in a name", (b"x:y", b"z")),
    _with("space in a name", (b"x y", b"z")),
    _with("NUL in a name", (b"x\x00", b"z")),
    _with("capital in a name", (b"X-y", b"z")),
    _with("obs-text in a name", (b"x\xe9", b"z")),
    _with("DEL in a name", (b"x\x7f", b"z")),
    _with("NUL in a value", (b"x", b"a\x00b")),
    _with("CR at the end of a value", (b"x", b"a\r")),
    _with("LF at the beginning of a value", (b"x", b"\na")),
    _with("white space around a value", (b"x", b" a ")),
    _with("vertical tab in a value", (b"x", b"a\x0bb")),
    # of one connection
    _with("Connection", (b"connection", b"close")),
    _with("Connection lists CL", (b"connection", b"content-length"), (b"content-length", b"5")),
    _with("Keep-Alive", (b"keep-alive", b"timeout=5")),
    _with("Proxy-Connection", (b"proxy-connection", b"keep-alive")),
    _with("Upgrade", (b"upgrade", b"websocket")),
    _with("Upgrade h2c", (b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABkAAQCAAAAAAIAAAAA")),
    _with("TE gzip", (b"te", b"gzip")),
    _with("TE chunked as te", (b"te", b"chunked")),
    _with("TE trailers and more", (b"te", b"trailers, chunked")),
    # pseudo-fields
    _pseudo("with a request line", b"method", b"GET / HTTP/1.1\r\nHost: edge.test\r\n\r\nGET"),
    _pseudo("with a space", b"method", b"GET /smuggled"),
    _pseudo("with CRLF", b"method", b"GET\r\n"),
    _pseudo("with a colon", b"method", b"GET:"),
    _pseudo("empty", b"method", b""),
    _pseudo("missing", b"method", None),
    _pseudo("unknown", b"method", b"SMUGGLE"),
    _pseudo("in small letters", b"method", b"get"),
    _pseudo("CONNECT", b"method", b"CONNECT"),
    _pseudo("with a space", b"path", b"<path> x"),
    _pseudo("with a version", b"path", b"<path> HTTP/1.1"),
    _pseudo("with a request", b"path", b"<path>" + _AS_HTTP1),
    _pseudo("with LF", b"path", b"<path>\nx"),
    _pseudo("with NUL", b"path", b"<path>\x00"),
    _pseudo("with a tab", b"path", b"<path>\tx"),
    _pseudo("with a fragment", b"path", b"<path>#x"),
    _pseudo("with a backslash", b"path", b"<path>\\x"),
    _pseudo("non-ASCII", b"path", b"<path>\xe9"),
    _pseudo("empty", b"path", b""),
    _pseudo("missing", b"path", None),
    _pseudo("without a slash", b"path", b"x<path>"),
    _pseudo("with @ first", b"path", b"@other.test<path>"),
    _pseudo("absolute", b"path", b"<scheme>://other.test<path>"),
    _pseudo("an asterisk", b"path", b"*"),
    _pseudo("with a user", b"authority", b"a@edge.test"),
    _pseudo("with a path", b"authority", b"edge.test/x"),
    _pseudo("with a space", b"authority", b"edge.test x"),
    _pseudo("with CRLF", b"authority", b"edge.test\r\nx: y"),
    _pseudo("with a comma", b"authority", b"edge.test,other.test"),
    _pseudo("with a query", b"authority", b"edge.test?x"),
    _pseudo("with a bad port", b"authority", b"edge.test:80x"),
    _pseudo("empty", b"authority", b""),
    _pseudo("missing", b"authority", None),
    _pseudo("with a URL", b"scheme", b"http://other.test/x?"),
    _pseudo("with CRLF", b"scheme", b"http\r\nx: y"),
    _pseudo("with a space", b"scheme", b"http x"),
    _pseudo("of others", b"scheme", b"ftp"),
    _pseudo("empty", b"scheme", b""),
    _pseudo("missing", b"scheme", None),
    Stream(":method twice", ((b":method", b"GET"),)),
    Stream(":path twice", ((b":path", b"/smuggled"),)),
    Stream(":authority twice", ((b":authority", b"other.test"),)),
    Stream(":scheme twice", ((b":scheme", b"<scheme>"),)),
    Stream(":path behind a field", ((b"x", b"y"), (b":path", b"/smuggled")), pseudo=((b":path", None),)),
    Stream("a field before the pseudo-fields", before=((b"x", b"y"),)),
    Stream("unknown pseudo-field", ((b":smuggled", b"x"),)),
    Stream("pseudo-field of answers", ((b":status", b"200"),)),
    Stream("pseudo-field with a space", ((b":path ", b"/smuggled"),)),
    Stream("pseudo-field in capitals", ((b":PATH", b"/smuggled"),)),
    Stream("pseudo-field without a name", ((b":", b"x"),)),
    Stream("Host that differs", ((b"host", b"other.test"),)),
    Stream("Host twice", ((b"host", b"edge.test"), (b"host", b"edge.test"))),
    Stream("Host with a user", ((b"host", b"a@edge.test"),)),
    Stream("Host with CRLF", ((b"host", b"edge.test\r\nx: y"),), pseudo=((b":authority", None),)),
    Stream(":protocol without CONNECT", ((b":protocol", b"websocket"),), method=b"GET"),
    Stream(
        "tunnel to elsewhere", pseudo=((b":path", None), (b":scheme", None)), method=b"CONNECT", body=SMUGGLED
    ),
    Stream("tunnel of another protocol", ((b":protocol", b"connect-tcp"),), method=b"CONNECT", body=SMUGGLED),
    # trailers
    Stream("pseudo-field as a trailer", body=b"hello", trailers=((b":path", b"/smuggled"),)),
    Stream("CL as a trailer", body=b"hello", trailers=((b"content-length", b"5"),)),
    Stream("TE as a trailer", body=b"hello", trailers=((b"transfer-encoding", b"chunked"),)),
    Stream("Host as a trailer", body=b"hello", trailers=((b"host", b"other.test"),)),
    Stream("Connection as a trailer", body=b"hello", trailers=((b"connection", b"close"),)),
    Stream("trailer with CRLF", body=b"hello", trailers=((b"x", b"y\r\n\r\nGET /smuggled HTTP/1.1"),)),
    Stream("trailer in capitals", body=b"hello", trailers=((b"X", b"y"),)),
    Stream("trailer without a name", body=b"hello", trailers=((b"", b"y"),)),
    # what must pass
    Stream("plain", method=b"GET", fine=True),
    Stream("body", body=b"hello", fine=True),
    Stream("a request as body", body=SMUGGLED, fine=True),
    Stream("chunks as body", body=EMPTY + SMUGGLED, fine=True),
    Stream("a request as body of GET", body=SMUGGLED, method=b"GET", fine=True),
    Stream("a request as body of HEAD", body=SMUGGLED, method=b"HEAD", fine=True),
    Stream("CL that agrees", ((b"content-length", b"5"),), body=b"hello", fine=True),
    Stream("CL of nothing, no body", ((b"content-length", b"0"),), fine=True),
    Stream("body of nothing", body=b"", fine=True),
    Stream("trailers", body=b"hello", trailers=((b"x-checksum", b"1"),), fine=True),
    Stream(
        "trailers for nobody else",
        body=b"hello",
        trailers=((b"x-forwarded-for", b"6.6.6.6"), (b"via", b"x")),
        fine=True,
    ),
    Stream("te trailers", ((b"te", b"trailers"),), method=b"GET", fine=True),
    Stream("Host that agrees", ((b"host", b"edge.test"),), method=b"GET", fine=True),
    Stream(
        "Host alone", ((b"host", b"edge.test"),), pseudo=((b":authority", None),), method=b"GET", fine=True
    ),
    Stream("cookie crumbs", ((b"cookie", b"a=1"), (b"cookie", b"b=2")), method=b"GET", fine=True),
    Stream(
        "underscores",
        ((b"transfer_encoding", b"chunked"), (b"content_length", b"44"), (b"x_forwarded_for", b"6.6.6.6")),
        method=b"GET",
        fine=True,
    ),
    Stream("dots and odd characters in a name", ((b"x.y!#$%&'*+^`|~", b"z"),), method=b"GET", fine=True),
    Stream("escaped CRLF", ((b"x", b"%0d%0aTransfer-Encoding: chunked"),), method=b"GET", fine=True),
    Stream("expectation", ((b"expect", b"100-continue"),), body=b"hello", fine=True),
    Stream("settings of h2c", ((b"http2-settings", b"AAMAAABkAAQCAAAAAAIAAAAA"),), method=b"GET", fine=True),
]


# --- what a bad origin sends -------------------------------------------------------------------------

_HELD = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nCache-Control: max-age=600\r\n\r\nSMUGGLED"


@dataclass(frozen=True)
class Reply:
    """An answer of the origin, and its status at the client; 0 when the client's must be cut short. `late`:
    bytes that follow in a segment of their own. `fine`: the connection to the origin may be used again."""

    name: str
    answer: bytes
    status: int
    body: bytes = b""
    method: bytes = b"GET"
    late: bytes = b""
    ends: bool = False
    fine: bool = False


def _ok(*lines: bytes, body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", body])


_BEHIND = [
    Reply("204", _ok(status=b"204 No Content") + _HELD, 204),
    Reply("204 with CL", _ok(b"Content-Length: %d" % len(_HELD), status=b"204 No Content") + _HELD, 204),
    Reply("204 with TE", _ok(CHUNKED, status=b"204 No Content") + b"5\r\nhello\r\n0\r\n\r\n", 204),
    Reply("304", _ok(b"Content-Length: 5", status=b"304 Not Modified") + _HELD, 304),
    Reply("304 with TE", _ok(CHUNKED, status=b"304 Not Modified") + b"5\r\nhello\r\n0\r\n\r\n", 304),
    Reply("HEAD", _ok(b"Content-Length: %d" % len(_HELD)) + _HELD, 200, method=b"HEAD"),
    Reply("HEAD with TE", _ok(CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n", 200, method=b"HEAD"),
    Reply("CL of nothing", _ok(b"Content-Length: 0") + _HELD, 200),
    Reply("CL", _ok(b"Content-Length: 5", body=b"hello") + _HELD, 200, b"hello"),
    Reply("chunks", _ok(CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n") + _HELD, 200, b"hello"),
    Reply("CRLF", _ok(b"Content-Length: 5", body=b"hello") + b"\r\n", 200, b"hello"),
]
REPLIES = [
    *(replace(one, name=f"surplus behind {one.name}") for one in _BEHIND),
    *(
        replace(
            one,
            name=f"late surplus behind {one.name}",
            answer=one.answer[: one.answer.index(_HELD)],
            late=_HELD,
        )
        for one in _BEHIND
        if _HELD in one.answer
    ),
    Reply("CL and TE", _ok(b"Content-Length: 5", CHUNKED, body=EMPTY + _HELD), 502),
    Reply("TE and CL", _ok(CHUNKED, b"Content-Length: 5", body=EMPTY + _HELD), 502),
    Reply("two CLs", _ok(b"Content-Length: 5", b"Content-Length: 0", body=b"hello"), 502),
    Reply("two equal CLs", _ok(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), 502),
    Reply("CL a list", _ok(b"Content-Length: 5, 5", body=b"hello"), 502),
    Reply("CL negative", _ok(b"Content-Length: -5", body=b"hello"), 502),
    Reply("CL with plus", _ok(b"Content-Length: +5", body=b"hello"), 502),
    Reply("CL empty", _ok(b"Content-Length:", body=b"hello"), 502),
    Reply("TE unknown", _ok(b"Transfer-Encoding: xchunked", body=b"5\r\nhello\r\n0\r\n\r\n"), 502),
    Reply(
        "TE chunked, identity",
        _ok(b"Transfer-Encoding: chunked, identity", body=b"5\r\nhello\r\n0\r\n\r\n"),
        502,
    ),
    Reply("TE twice", _ok(CHUNKED, CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"), 502),
    Reply(
        "TE with vertical tab", _ok(b"Transfer-Encoding: \x0bchunked", body=b"5\r\nhello\r\n0\r\n\r\n"), 502
    ),
    Reply("TE in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502),
    Reply("TE behind a space before the colon", _ok(b"Transfer-Encoding : chunked", body=EMPTY), 502),
    Reply("folded field", _ok(b"X: y\r\n z", b"Content-Length: 5", body=b"hello"), 502),
    Reply("LF as line end", _ok(b"X: y\nContent-Length: 5", body=b"hello"), 502),
    Reply("CR in a value", _ok(b"X: y\rz", b"Content-Length: 5", body=b"hello"), 502),
    Reply("NUL in a value", _ok(b"X: y\x00z", b"Content-Length: 5", body=b"hello"), 502),
    Reply("no status", b"HTTP/1.1  OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Reply("status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Reply("HTTP/0.9", b"hello\r\n\r\n", 502),
    Reply("HTTP/2", b"HTTP/2 200 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Reply("empty line before", b"\r\n" + _ok(b"Content-Length: 5", body=b"hello"), 502),
    Reply(
        "101 that nobody asked for",
        _ok(b"Connection: Upgrade", b"Upgrade: websocket", status=b"101 Switching Protocols") + _HELD,
        502,
    ),
    Reply(
        "100 with CL",
        _ok(b"Content-Length: 8", status=b"100 Continue")
        + b"SMUGGLED"
        + _ok(b"Content-Length: 5", body=b"hello"),
        502,
    ),
    Reply(
        "103 with TE",
        _ok(CHUNKED, status=b"103 Early Hints") + EMPTY + _ok(b"Content-Length: 5", body=b"hello"),
        502,
    ),
    Reply(
        "100 that announces an answer as its body",
        _ok(b"Content-Length: %d" % len(_HELD), status=b"100 Continue")
        + _HELD
        + _ok(b"Content-Length: 5", body=b"hello"),
        502,
    ),
    Reply("204 that announces a body", _ok(b"Content-Length: 5", status=b"204 No Content"), 204),
    Reply("204 that announces chunks", _ok(CHUNKED, status=b"204 No Content"), 204),
    Reply("304 that announces chunks", _ok(CHUNKED, status=b"304 Not Modified"), 304),
    Reply(
        "a flood of 1xx", _ok(status=b"102 Processing") * 1000 + _ok(b"Content-Length: 5", body=b"hello"), 502
    ),
    Reply("chunk size with 0x", _ok(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"), 502),
    Reply("chunk size negative", _ok(CHUNKED, body=b"-5\r\nhello\r\n0\r\n\r\n"), 502),
    Reply("chunk size 2^64 + 5", _ok(CHUNKED, body=b"10000000000000005\r\nhello\r\n0\r\n\r\n"), 502),
    Reply("chunk size ended by LF", _ok(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"), 502),
    Reply("chunk ended by LF", _ok(CHUNKED, body=b"5\r\nhello\n0\r\n\r\n"), 502),
    Reply("chunk longer than its size", _ok(CHUNKED, body=b"5\r\nhello!\r\n0\r\n\r\n"), 502),
    Reply("body cut", _ok(b"Content-Length: 50", body=b"hello"), 502, ends=True),
    Reply("chunks cut", _ok(CHUNKED, body=b"5\r\nhello\r\n"), 0, ends=True),
    Reply("CL control", _ok(b"Content-Length: 5", body=b"hello"), 200, b"hello", fine=True),
    Reply("chunks control", _ok(CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"), 200, b"hello", fine=True),
    Reply("204 control", _ok(status=b"204 No Content"), 204, fine=True),
    Reply("204 with CL of nothing", _ok(b"Content-Length: 0", status=b"204 No Content"), 204, fine=True),
    Reply("HEAD control", _ok(b"Content-Length: 5"), 200, method=b"HEAD", fine=True),
    Reply("304 control", _ok(b"Content-Length: 5", status=b"304 Not Modified"), 304, fine=True),
    Reply(
        "interim answers control",
        _ok(status=b"100 Continue")
        + _ok(b"Link: </x>", status=b"103 Early Hints")
        + _ok(b"Content-Length: 5", body=b"hello"),
        200,
        b"hello",
        fine=True,
    ),
    Reply("until the end", _ok(body=b"hello"), 200, b"hello", ends=True),
]
