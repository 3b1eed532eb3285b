"""When to ask an authority, and which: the arithmetic of waits, all of it pure.

Moments are wall-clock seconds, for they outlive the process on disk, and the clock may be set in between. A
`draw` is a random number from 0 to 1.
"""

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from cluster.acme.store import Progress

DAY_S: Final = 86_400.0
FIRST_RETRY_S: Final = 60.0  # then doubled, up to a day
JITTER: Final = 0.2  # of a wait, either way
PER_AUTHORITY: Final = 3  # failures in a row before the other authority is asked
LONGEST_WAIT_S: Final = 30 * DAY_S  # that an authority may ask for; certificates last for not much longer
LIFE: Final = 2 / 3  # of a certificate's life, then it is renewed
ASK_S: Final = 21_600.0  # between two questions when to renew, if the authority does not say (RFC 9773 4.3.3)
ASK_LEAST_S: Final = 60.0  # and what we believe at least and at most if it does (4.3.2)


def backoff_s(failures: int, draw: float) -> float:
    """What to wait after so many failures in a row, 1 at least."""
    wait_s: float = min(FIRST_RETRY_S * 2 ** min(failures - 1, 20), DAY_S)
    return wait_s * (1 - JITTER + 2 * JITTER * draw)


def retry_after_s(text: str, now_s: float) -> float:
    """The seconds that a Retry-After asks for, be it a number or a date (RFC 9110 10.2.3); 0: none."""
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST_WAIT_S)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if date.tzinfo is None:  # "-0000": of UTC, says RFC 5322, but without a zone
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, date.timestamp() - now_s), LONGEST_WAIT_S)


def authority_number(failures: int, authorities: int) -> int:
    """Which of so many authorities to ask after so many failures in a row."""
    return failures // PER_AUTHORITY % authorities


def moment_in(start_s: float, end_s: float, draw: float) -> float:
    """A moment of the window that an authority suggests for a renewal (RFC 9773 4.2)."""
    return start_s + (end_s - start_s) * draw


def ask_again_s(wait_s: float, now_s: float) -> float:
    """When to ask for that window again, if the authority wants us to wait so long (0: it did not say)."""
    return now_s + (min(max(wait_s, ASK_LEAST_S), DAY_S) if wait_s else ASK_S)


def renewal_s(progress: Progress, life: tuple[float, float] | None) -> float:
    """When to order; `life` is that of the certificate there is, begin and end, None: there is none."""
    if life is None:
        return 0.0
    begin_s, end_s = life
    return min(progress.renew_s or begin_s + (end_s - begin_s) * LIFE, end_s)


def due_s(progress: Progress, life: tuple[float, float] | None, now_s: float) -> float:
    """When to see to a name: to order, or to ask when to."""
    if progress.failures:
        was_set_back = now_s < progress.error_s  # the clock: nobody knows how long we have waited
        return 0.0 if was_set_back else progress.next_s
    renew_s = renewal_s(progress, life)
    return min(renew_s, progress.ask_s or renew_s)


def note_failure(progress: Progress, error: str, retry_after_s: float, now_s: float, draw: float) -> float:
    """Count a failure, and put the next try off; by how many seconds."""
    progress.failures += 1
    wait_s = max(backoff_s(progress.failures, draw), retry_after_s)
    progress.error, progress.error_s, progress.next_s = error, now_s, now_s + wait_s
    return wait_s


def put_off(progress: Progress, cause: Progress) -> None:
    """Wait as long as another name does, whose failure was not its own but the authority's."""
    progress.failures, progress.error = cause.failures, cause.error
    progress.error_s, progress.next_s = cause.error_s, cause.next_s


def succeeded(progress: Progress) -> None:
    """Nothing is wrong any more."""
    progress.failures, progress.error, progress.next_s = 0, "", 0.0
