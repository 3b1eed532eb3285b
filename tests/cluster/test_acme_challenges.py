"""What is put into the segment to prove a name: any worker finds it, and it is taken away afterwards."""

from typing import cast

import pytest
from acme import messages

from cluster.acme.authority import AuthorityError, Challenge
from cluster.acme.challenges import HTTP_01, TLS_ALPN_01, put_down, take_away
from cluster.control.orders import _chosen
from tests.support.contexts import make_context
from tests.support.segments import cache_segment
from worker.security.challenge import PREFIX, ChallengeGate
from worker.security.challenge_certificate import find_certificate

NOBODY = cast("messages.ChallengeBody", None)


def challenge(kind: str) -> Challenge:
    return Challenge(kind, b"token", b"token.thumbprint", NOBODY)


def test_a_token_is_answered_until_it_is_taken_away() -> None:
    with cache_segment() as segment:
        gate = ChallengeGate(segment.cache)
        ctx = make_context(path=PREFIX + b"token")
        assert gate(ctx) is None
        assert put_down(segment.cache, "a.test", challenge(HTTP_01))
        answered = gate(ctx)
        assert answered is not None
        assert answered.body == b"token.thumbprint"
        take_away(segment.cache, "a.test", challenge(HTTP_01))
        assert gate(ctx) is None


def test_a_certificate_is_found_until_it_is_taken_away() -> None:
    with cache_segment() as segment:
        assert find_certificate(segment.cache, "a.test") is None
        assert put_down(segment.cache, "a.test", challenge(TLS_ALPN_01))
        assert put_down(segment.cache, "a.test", challenge(TLS_ALPN_01))  # again and again
        found = find_certificate(segment.cache, "a.test")
        assert found is not None
        certificate, key = found
        assert certificate.startswith(b"\x30")
        assert key.startswith(b"\x30")
        assert find_certificate(segment.cache, "b.test") is None
        take_away(segment.cache, "a.test", challenge(TLS_ALPN_01))
        take_away(segment.cache, "a.test", challenge(TLS_ALPN_01))
        assert find_certificate(segment.cache, "a.test") is None


def test_the_first_kind_that_is_offered_is_answered() -> None:
    offered = [challenge("dns-01"), challenge(TLS_ALPN_01), challenge(HTTP_01)]
    assert _chosen(offered, (HTTP_01, TLS_ALPN_01)).kind == HTTP_01
    assert _chosen(offered[:2], (HTTP_01, TLS_ALPN_01)).kind == TLS_ALPN_01
    with pytest.raises(AuthorityError, match="wants the name proven by dns-01; we may by http-01"):
        _chosen(offered[:1], (HTTP_01,))
