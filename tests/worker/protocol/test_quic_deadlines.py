"""Everyone is woken in time, and a deadline that moves later costs nothing."""

from hypothesis import given
from hypothesis import strategies as st

from worker.protocol.quic.deadlines import Alarm, Deadlines


class Sleeper:
    """Wants to be woken at `at_s`, and says so again when it was too early."""

    def __init__(self, deadlines: Deadlines, at_s: float) -> None:
        self.deadlines = deadlines
        self.at_s = at_s
        self.woken_s: float | None = None
        self.alarm = Alarm(self)
        deadlines.set(self.alarm, at_s)

    def wake(self, now_s: float) -> None:
        if now_s < self.at_s:
            self.deadlines.set(self.alarm, self.at_s)
        else:
            self.woken_s = now_s


def test_each_is_woken_when_its_time_has_come_and_not_before() -> None:
    deadlines = Deadlines()
    sleepers = [Sleeper(deadlines, at_s) for at_s in (3.0, 1.0, 2.0)]
    assert deadlines.next_s == 1.0
    deadlines.wake_due(2.0)
    assert [each.woken_s for each in sleepers] == [None, 2.0, 2.0]
    assert deadlines.next_s == 3.0


def test_who_wants_to_sleep_longer_has_one_entry() -> None:
    deadlines = Deadlines()
    sleeper = Sleeper(deadlines, 1.0)
    for at_s in range(2, 1000):
        deadlines.set(sleeper.alarm, float(at_s))
    assert len(deadlines) == 1


def test_short_deadlines_before_a_long_one_do_not_pile_up() -> None:
    deadlines = Deadlines()
    sleeper = Sleeper(deadlines, 60.0)
    for now_s in range(50):
        sleeper.at_s = now_s + 0.5
        deadlines.set(sleeper.alarm, sleeper.at_s)
        deadlines.wake_due(now_s + 0.6)
        sleeper.at_s = 60.0 + now_s
        deadlines.set(sleeper.alarm, sleeper.at_s)
    assert len(deadlines) == 1


def test_a_cancelled_alarm_wakes_nobody_and_holds_nobody() -> None:
    deadlines = Deadlines()
    sleeper = Sleeper(deadlines, 1.0)
    sleeper.alarm.cancel()
    assert sleeper.alarm.owner is None
    deadlines.wake_due(2.0)
    assert sleeper.woken_s is None and len(deadlines) == 0 and deadlines.next_s is None


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 10)), max_size=60))
def test_nobody_is_forgotten(moves: list[tuple[int, float]]) -> None:
    deadlines = Deadlines()
    sleepers = [Sleeper(deadlines, 20.0) for _ in range(5)]
    now_s = 0.0
    for who, later_s in moves:
        sleepers[who].at_s = now_s + later_s
        sleepers[who].woken_s = None
        deadlines.set(sleepers[who].alarm, sleepers[who].at_s)
        now_s += later_s / 3
        deadlines.wake_due(now_s)
        for sleeper in sleepers:
            assert (sleeper.woken_s is not None) == (sleeper.at_s <= now_s)
