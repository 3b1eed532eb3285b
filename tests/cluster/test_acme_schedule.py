"""When to ask an authority, and which: tables of waits and moments."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cluster.acme.authority import certificate_id
from cluster.acme.challenges import order_of_kinds
from cluster.acme.schedule import (
    ask_again_s,
    authority_number,
    backoff_s,
    due_s,
    moment_in,
    note_failure,
    put_off,
    renewal_s,
    retry_after_s,
    succeeded,
)
from cluster.acme.store import Progress

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC).timestamp()
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
LIFE = (NOW, NOW + 90 * DAY)


@pytest.mark.parametrize(
    ("failures", "wait_s"),
    [(1, 60), (2, 120), (3, 240), (4, 480), (10, 30_720), (11, 61_440), (12, DAY), (13, DAY), (5000, DAY)],
)
def test_waits_double_from_a_minute_to_a_day_a_fifth_more_or_less(failures: int, wait_s: float) -> None:
    assert backoff_s(failures, 0.5) == pytest.approx(wait_s)
    assert backoff_s(failures, 0.0) == pytest.approx(wait_s * 0.8)
    assert backoff_s(failures, 1.0) == pytest.approx(wait_s * 1.2)


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("120", 120),
        ("0", 0),
        ("86401", 86_401),
        ("Thu, 26 Nov 2026 12:05:00 GMT", 300),
        ("Thursday, 26-Nov-26 12:05:00 GMT", 300),  # RFC 850
        ("Thu Nov 26 12:05:00 2026", 300),  # asctime
        ("Thu, 26 Nov 2026 11:05:00 GMT", 0),
        ("9" * 400, 30 * DAY),
        ("Sat, 26 Nov 2033 12:00:00 GMT", 30 * DAY),
        (format_datetime(datetime.fromtimestamp(NOW + 60, UTC), usegmt=True), 60),
        ("", 0),
        ("-5", 0),
        ("1.5", 0),
        ("\u0662", 0),  # a digit, but not one of ASCII
        ("tomorrow", 0),
        ("Thu, 99 Nov 2026 12:05:00 GMT", 0),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(text: str, wait_s: float) -> None:
    assert retry_after_s(text, NOW) == wait_s


@pytest.mark.parametrize(
    ("authorities", "asked"), [(1, [0, 0, 0, 0, 0, 0, 0, 0]), (2, [0, 0, 0, 1, 1, 1, 0, 0])]
)
def test_after_three_failures_the_next_authority_is_asked_and_then_in_turns(
    authorities: int, asked: list[int]
) -> None:
    assert [authority_number(failures, authorities) for failures in range(8)] == asked


@pytest.mark.parametrize(
    ("kinds", "refusals", "order"),
    [
        (("http-01",), 0, ("http-01",)),
        (("http-01",), 7, ("http-01",)),
        (("http-01", "tls-alpn-01"), 0, ("http-01", "tls-alpn-01")),
        (("http-01", "tls-alpn-01"), 1, ("tls-alpn-01", "http-01")),
        (("http-01", "tls-alpn-01"), 2, ("http-01", "tls-alpn-01")),
    ],
)
def test_what_was_refused_gives_way_to_the_other_challenge(
    kinds: tuple[str, ...], refusals: int, order: tuple[str, ...]
) -> None:
    assert order_of_kinds(kinds, refusals) == order


@pytest.mark.parametrize(("draw", "moment_s"), [(0.0, 100), (0.25, 125), (1.0, 200)])
def test_a_renewal_falls_anywhere_into_the_suggested_window(draw: float, moment_s: float) -> None:
    assert moment_in(100, 200, draw) == moment_s


@pytest.mark.parametrize(
    ("asked_s", "wait_s"),
    [(0, 6 * HOUR), (1, MINUTE), (59, MINUTE), (3600, HOUR), (DAY, DAY), (9 * DAY, DAY)],
)
def test_the_window_is_asked_for_again_when_the_authority_says_within_bounds(
    asked_s: float, wait_s: float
) -> None:
    assert ask_again_s(asked_s, NOW) == NOW + wait_s


@pytest.mark.parametrize(
    ("progress", "life", "renewal", "due"),
    [
        pytest.param(Progress(), None, 0, 0, id="no certificate"),
        pytest.param(Progress(), LIFE, NOW + 60 * DAY, NOW + 60 * DAY, id="two thirds of its life"),
        pytest.param(
            Progress(renew_s=NOW + 9, ask_s=NOW + 5), LIFE, NOW + 9, NOW + 5, id="ask again before"
        ),
        pytest.param(
            Progress(renew_s=NOW + 5, ask_s=NOW + 9), LIFE, NOW + 5, NOW + 5, id="renew before asking"
        ),
        pytest.param(
            Progress(renew_s=NOW - DAY, ask_s=NOW + 9), LIFE, NOW - DAY, NOW - DAY, id="a window in the past"
        ),
        pytest.param(
            Progress(renew_s=NOW + 999 * DAY, ask_s=NOW + DAY), LIFE, LIFE[1], NOW + DAY, id="at its end"
        ),
        pytest.param(
            Progress(failures=1, error_s=NOW - 1, next_s=NOW + 59), None, 0, NOW + 59, id="after a failure"
        ),
        pytest.param(
            Progress(failures=1, error_s=NOW - 1, next_s=NOW + 59), LIFE, NOW + 60 * DAY, NOW + 59,
            id="after a failure with a certificate",
        ),
        pytest.param(
            Progress(failures=1, error_s=NOW + 300 * DAY, next_s=NOW + 301 * DAY), None, 0, 0,
            id="a failure of the future: the clock was set back",
        ),
    ],
)  # fmt: skip
def test_when_a_name_is_due(
    progress: Progress, life: tuple[float, float] | None, renewal: float, due: float
) -> None:
    assert renewal_s(progress, life) == pytest.approx(renewal)
    assert due_s(progress, life, NOW) == pytest.approx(due)


def test_a_clock_that_jumps_ahead_makes_due_what_waited() -> None:
    progress = Progress()
    note_failure(progress, "no", 0, NOW, 0.5)
    assert due_s(progress, None, NOW) > NOW
    assert due_s(progress, None, NOW + DAY) < NOW + DAY


@pytest.mark.parametrize(
    ("before", "retry_after", "wait_s"),
    [(0, 0, 60), (1, 0, 120), (0, 3600, 3600), (0, 30, 60), (11, 2 * DAY, 2 * DAY)],
)
def test_a_failure_waits_as_long_as_the_longer_of_both_asks(
    before: int, retry_after: float, wait_s: float
) -> None:
    progress = Progress(failures=before)
    assert note_failure(progress, "why", retry_after, NOW, 0.5) == pytest.approx(wait_s)
    assert (progress.failures, progress.error, progress.error_s) == (before + 1, "why", NOW)
    assert progress.next_s == pytest.approx(NOW + wait_s)


def test_what_fails_for_every_name_puts_the_others_off_by_as_much() -> None:
    cause, other = Progress(refusals=1), Progress(renew_s=5.0, refusals=3)
    note_failure(cause, "down", 7200, NOW, 0.5)
    put_off(other, cause)
    assert (other.failures, other.error, other.next_s) == (1, "down", NOW + 7200)
    assert (other.renew_s, other.refusals) == (5.0, 3)


def test_success_forgets_failures_and_keeps_the_challenge_that_worked() -> None:
    progress = Progress(failures=4, refusals=1, error="x", next_s=9.0, renew_s=5.0)
    succeeded(progress)
    assert progress == Progress(refusals=1, renew_s=5.0)


def test_a_certificate_is_called_as_in_the_rfcs_example() -> None:
    """RFC 9773 4.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example")])
    issuer = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    leaf = (
        x509.CertificateBuilder(name, name, key.public_key(), 0x87654321)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 4, 1, tzinfo=UTC))
        .add_extension(x509.AuthorityKeyIdentifier(issuer, None, None), critical=False)
        .sign(key, hashes.SHA256())
    )
    assert certificate_id(leaf) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
