"""Paths: the normal form of a normal form is itself, has nothing left that the gate refuses, and leads
nowhere else than the path did.
"""

from urllib.parse import unquote_to_bytes

from worker.errors import EdgeError
from worker.fields import Fields, is_plain_path
from worker.message import Request
from worker.security.normalize import Normalizer

SEEDS = (
    b"/a/./b/../c//d?x=%2e",
    b"/%2e%2E/%2F..%2f/%41%zz",
    b"/a%2F../b/...;/.%2e/?a=b#c",
    b"*",
    b"//../..//a/%7Euser/%5c/\\x",
)
WORDS = (b"/", b"..", b".", b"%2e", b"%2F", b"%2f", b"%25", b"%5C", b"%00", b"//", b"\\", b"/../", b"?", b"#")

GATES = (Normalizer(), Normalizer(merge_slashes=False))


def check(data: bytes) -> None:
    path, mark, query = data.partition(b"?")
    for gate in GATES:
        request = Request(b"GET", b"http", b"h", data, path, query if mark else None, b"1.1", Fields.of(()))
        try:
            gate(request)
        except EdgeError as error:
            assert error.status == 400
            continue
        _is_normal(gate, request.path)
        assert request.query == (query if mark else None)
        if is_plain_path(path):
            assert request.path == path == GATES[0].normal_path(path)


def _is_normal(gate: Normalizer, path: bytes) -> None:
    assert gate.normal_path(path) == path
    assert path.startswith(b"/") and not set(path) - set(range(0x21, 0x7F))
    assert not gate.merge_slashes or b"//" not in path
    assert b"\\" not in path and b"#" not in path and b"?" not in path
    segments = path.split(b"/")
    assert b"." not in segments and b".." not in segments
    decoded = unquote_to_bytes(path)
    assert b"\0" not in decoded and b"\\" not in decoded
    assert not {b".", b".."}.intersection(decoded.split(b"/"))
