"""What a certification authority answers, any of it damaged: an attempt ends in a certificate of our key, or
in one line that says why not. Nothing else comes up, tokens are such that a path may hold them, waits end.
"""

import math
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cluster.acme.authority import MOST_CHARACTERS, Authority, AuthorityError, OrderState
from cluster.acme.schedule import LONGEST_WAIT_S
from tests.fuzz.take import Take
from tests.support.scripted_authority import (
    AUTHORIZATION,
    CHAIN,
    CHALLENGE,
    GOOD,
    ISSUED,
    KEY,
    LEAF,
    NAME,
    ORDER,
    ORDERED,
    OTHER,
    PEM,
    PROBLEM,
    ScriptedAuthority,
    as_json,
)

PATHS = tuple(GOOD)
STATUSES = (200, 201, 400, 403, 409, 429, 500, 503)
WAITS = ("", "120", "-1", "nan", "Fri, 31 Dec 9999 23:59:59 GMT", "9" * 400)


def instead(path: str, body: bytes, status: int = 0, wait: int = 0) -> bytes:
    """One of its answers, as an input has it."""
    return bytes((PATHS.index(path), status, wait)) + body + b"\0"


SEEDS = (
    b"",
    *(instead(path, body) for path, (_, body) in GOOD.items()),
    instead("chain", OTHER),
    instead("chain", PEM + CHAIN + CHAIN),
    instead("order", as_json(PROBLEM), 5, 4),
    instead("account", as_json({"type": "about:blank"}), 4, 1),
    instead("order", as_json(ORDER | {"status": "invalid", "error": PROBLEM})),
    instead(
        "authz",
        as_json(AUTHORIZATION | {"status": "invalid", "challenges": [CHALLENGE | {"error": PROBLEM}]}),
    ),
)
WORDS = (
    b"null", b"[]", b"{}", b'""', b"1e999", b"-1", b"true", b'"valid"', b'"ready"', b'"token":', b'"../..',
    b'"type":', b'"error":', b'"certificate":', b'"authorizations":', b"badNonce", b"[" * 3000, b"\\u0000",
    b"\\ud800", b"https://ca.test/", b"-----BEGIN CERTIFICATE-----\n", b"0001-01-01T00:00:00", b"\x1b[2J",
)  # fmt: skip

_TOKEN = re.compile(rb"[A-Za-z0-9_-]*")

folder = TemporaryDirectory()


def check(data: bytes) -> None:
    take = Take(data)
    table = {path: (*answer, "") for path, answer in GOOD.items()}
    while take.left:
        path, status, wait = take.pick(PATHS), take.pick(STATUSES), take.pick(WAITS)
        table[path] = (status, take.piece(), wait)
    authority = ScriptedAuthority(Path(folder.name), table)
    try:
        authority.open()
        _attempt(authority)
    except AuthorityError as error:
        words = str(error)
        assert words and words.isprintable() and len(words) <= MOST_CHARACTERS
        assert 0 <= error.retry_after_s <= LONGEST_WAIT_S


def _attempt(authority: Authority) -> None:
    """From the order to the certificate, whatever the states between are said to be."""
    assert authority.new_order(NAME).url == ORDERED.url
    state = authority.look(NAME, ORDERED)
    _is_usable(state)
    for challenge in state.challenges:
        if challenge.answer:
            authority.answer(challenge)
    authority.finalize(state)
    window = authority.renewal_window(LEAF)
    if window is not None:
        assert math.isfinite(window.start_s) and window.start_s <= window.end_s < math.inf
        assert 0 <= window.retry_after_s <= LONGEST_WAIT_S
    state = authority.look(NAME, ISSUED)
    _is_usable(state)
    chain = authority.chain(state).encode()
    certificates = x509.load_pem_x509_certificates(chain)
    assert certificates[0].public_key() == KEY.public_key()
    assert b"".join(one.public_bytes(Encoding.PEM) for one in certificates) == chain


def _is_usable(state: OrderState) -> None:
    assert type(state.status) is str and type(state.error) is str
    for challenge in state.challenges:
        assert type(challenge.kind) is str
        if challenge.answer:
            assert _TOKEN.fullmatch(challenge.token)
            assert challenge.answer.startswith(challenge.token + b".")
