"""Every transformation of the WAF: bytes to bytes, the same ones each time, never much more of them,
whatever comes.

Also of a long value, which is the input again and again: what takes too long for its size is noticed.
"""

from tests.fuzz.take import Take
from worker.security.waf.transformations import TRANSFORMATIONS

SEEDS = (
    b"\0a%41%u0041%uff1c+&lt;&#x3c;&#60;\\u0041\\x41\\101/../a//b/./c",
    b"\1/*a*/--b#c<!-- d -->0x414243 QUJDRA==\n\xe4\xf0\x9f\x98\x80",
    b"\2..\\..\\/./C:\\a ^c\"'\\ , ; (x",
    b"\x1f    \r\n \r\n \xa0\t\v\f\0\0",
)
WORDS = (
    b"/*", b"*/", b"<!--", b"-->", b"--", b"#", b"%u", b"%", b"&#x", b"&#", b"&", b";", b"\\u", b"\\x", b"\\",
    b"../", b"/./", b"//", b"..\\", b" ", b"\r\n", b"0x", b"=", b"\xe0\x80", b"\xf5", b"quot", b"+", b"..",
)  # fmt: skip
MAX_BYTES = 512

LONG_BYTES = 16 * 1024
SIZES = (*[1] * 31, LONG_BYTES)
DIGESTS = {"md5": 16, "sha1": 20}
TEXT_ONLY = frozenset({"hexencode", "base64encode", "urlencode", "length"})
# Doing them twice is doing them once.
SETTLED = frozenset(
    "none lowercase uppercase trim trimleft trimright compresswhitespace removewhitespace removenulls "
    "replacenulls replacecomments parityzero7bit".split()
)


def check(data: bytes) -> None:
    value, size = Take(data).swollen(SIZES)
    for name, transform in TRANSFORMATIONS.items():
        changed = transform(value)
        assert type(changed) is bytes
        if name in DIGESTS:
            assert len(changed) == DIGESTS[name]
        else:
            assert len(changed) <= 4 * len(value) + 32, name
        assert name not in TEXT_ONLY or changed.isascii()
        if size == 1:
            assert transform(value) == changed
            assert name not in SETTLED or transform(changed) == changed, name
    assert TRANSFORMATIONS["hexdecode"](TRANSFORMATIONS["hexencode"](value)) == value
    assert TRANSFORMATIONS["base64decode"](TRANSFORMATIONS["base64encode"](value)) == value
    assert TRANSFORMATIONS["urldecode"](TRANSFORMATIONS["urlencode"](value)) == value
