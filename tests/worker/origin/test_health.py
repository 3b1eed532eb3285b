"""What processes know together of a group: rules as tables over time, then several processes at once."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count

import pytest

from shmcache.core import SCORES, Segment
from tests.support.processes import kill, shared_words, spawn, wait_exit
from tests.support.regions import open_segment
from worker.origin.health import BreakerState, GroupHealth, ServerState
from worker.reasons import Fault
from worker.settings import (
    BreakerSettings,
    EjectionSettings,
    GroupSettings,
    OriginSettings,
    ProbeSettings,
    RetrySettings,
)

SECOND = 10**9
NOW = 5_000 * SECOND
EJECTION = EjectionSettings(failures=3, time_s=10.0, max_time_s=60.0, max_share=1.0)
PROBE = ProbeSettings(passes=2, failures=3)
HEALTHY, UNHEALTHY, EJECTED = ServerState
CLOSED, OPEN, HALF_OPEN = BreakerState

fresh_name = (f"group {number}" for number in count()).__next__


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        yield segment


def group(servers: int = 3, **settings: object) -> GroupSettings:
    """A group of that many servers under a name of its own."""
    whole = GroupSettings(
        fresh_name(),
        tuple(OriginSettings("http", "127.0.0.1", 9000 + number) for number in range(servers)),
        ejection=EJECTION,
    )
    return replace(whole, **settings)  # type: ignore[arg-type]


def fail(health: GroupHealth, server: int, times: int, now_ns: int = NOW) -> list[bool]:
    return [health.note_failure(server, now_ns) for _ in range(times)]


def states(health: GroupHealth, now_ns: int) -> list[ServerState]:
    servers = range(len(health.report(now_ns).servers))
    found = [health.state(server, now_ns) for server in servers]
    assert [health.is_available(server, now_ns) for server in servers] == [
        state is HEALTHY for state in found
    ]
    return found


# Ejection


def test_a_server_is_ejected_after_failures_in_a_row_and_let_back_after_a_while(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group())
    assert fail(health, 1, 3) == [False, False, True]
    for now_ns, state in (
        (NOW, EJECTED),
        (NOW + 10 * SECOND - 1_000_000, EJECTED),
        (NOW + 10 * SECOND, HEALTHY),
    ):
        assert states(health, now_ns) == [HEALTHY, state, HEALTHY]


def test_a_success_between_the_failures_begins_the_count_anew(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group())
    for _ in range(5):
        assert fail(health, 0, 2) == [False, False]
        health.note_success(0, NOW)
    assert states(health, NOW) == [HEALTHY] * 3
    assert fail(health, 0, 3) == [False, False, True]


def test_failures_of_one_server_do_not_count_for_another(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group())
    assert [health.note_failure(number % 3, NOW) for number in range(6)] == [False] * 6
    assert states(health, NOW) == [HEALTHY] * 3


@pytest.mark.parametrize(
    ("answers", "pause_s", "ejected_s"),
    [
        (True, 0, [10, 20, 40, 60, 60]),  # doubling up to the longest
        (True, 9, [10, 20, 40, 60, 60]),  # a pause shorter than the ejection forgets nothing
        (True, 10, [10, 10, 10]),
        (False, 10, [10, 20, 40]),  # nor does one in which it never answered
        (False, 1000, [10, 20, 40]),
        (True, 59, [10, 10, 10]),
    ],
)
def test_each_ejection_that_follows_lasts_twice_as_long(
    segment: Segment, answers: bool, pause_s: int, ejected_s: list[int]
) -> None:
    health, now_ns, found = GroupHealth(segment.scoreboard, group()), NOW, []
    for _ in ejected_s:
        assert fail(health, 0, 3, now_ns)[-1]
        report = health.report(now_ns).servers[0]
        found.append((report.until_ns - now_ns) // SECOND)
        assert report.since_ns == now_ns
        now_ns = report.until_ns
        if answers:
            health.note_success(0, now_ns)
        now_ns += pause_s * SECOND
    assert found == ejected_s
    assert health.report(now_ns).servers[0].ejections == len(ejected_s)


def test_past_ejections_are_forgotten_one_by_one(segment: Segment) -> None:
    """After 10, 20 and 40 s: one is forgotten after 40 s that went well, the next after 20 more."""
    for pause_s, ejected_s in ((39, 60), (40, 40), (59, 40), (60, 20), (69, 20), (70, 10), (10_000, 10)):
        health, now_ns = GroupHealth(segment.scoreboard, group()), NOW
        for _ in range(3):
            fail(health, 0, 3, now_ns)
            now_ns = health.report(now_ns).servers[0].until_ns
        health.note_success(0, now_ns)
        now_ns += pause_s * SECOND
        fail(health, 0, 3, now_ns)
        assert health.report(now_ns).servers[0].until_ns - now_ns == ejected_s * SECOND


def test_what_becomes_of_requests_on_their_way_when_it_was_ejected_changes_nothing(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group())
    fail(health, 0, 3)
    health.note_success(0, NOW + SECOND)
    assert fail(health, 0, 9, NOW + SECOND) == [False] * 9
    assert [health.state(0, NOW + s * SECOND) for s in (9, 10)] == [EJECTED, HEALTHY]
    assert fail(health, 0, 3, NOW + 10 * SECOND) == [False, False, True]
    assert health.report(NOW + 10 * SECOND).servers[0].until_ns == NOW + 30 * SECOND


@pytest.mark.parametrize(
    ("servers", "max_share", "ejected"),
    [(4, 0.5, 2), (5, 0.5, 2), (3, 0.5, 1), (3, 0.1, 1), (2, 0.0, 1), (4, 1.0, 3), (2, 1.0, 1), (1, 1.0, 0)],
)
def test_only_a_share_of_a_group_is_ejected_but_one_always_may_and_never_the_last(
    segment: Segment, servers: int, max_share: float, ejected: int
) -> None:
    settings = group(servers, ejection=replace(EJECTION, max_share=max_share))
    health = GroupHealth(segment.scoreboard, settings)
    for server in range(servers):
        fail(health, server, 5)
    assert states(health, NOW) == [EJECTED] * ejected + [HEALTHY] * (servers - ejected)


def test_a_server_that_could_not_be_ejected_is_at_its_next_failure_once_there_is_room(
    segment: Segment,
) -> None:
    settings = group(2, ejection=replace(EJECTION, max_share=0.5))
    health = GroupHealth(segment.scoreboard, settings)
    fail(health, 0, 3)
    assert fail(health, 1, 5, NOW + SECOND) == [False] * 5
    assert fail(health, 1, 1, NOW + 10 * SECOND) == [True]


def test_the_last_server_that_active_checks_left_is_not_ejected(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group(2, probe=PROBE))
    health.note_probe(0, False, NOW)
    assert fail(health, 1, 9) == [False] * 9
    assert states(health, NOW) == [UNHEALTHY, HEALTHY]


def test_a_server_is_ejected_for_its_backup(segment: Segment) -> None:
    backup = OriginSettings("http", "127.0.0.2", 80, backup=True)
    settings = group(1)
    health = GroupHealth(segment.scoreboard, replace(settings, servers=(*settings.servers, backup)))
    assert fail(health, 0, 3) == [False, False, True]
    assert fail(health, 1, 9) == [False] * 9


def test_without_ejection_nobody_is_ejected_and_who_was_is_let_back(segment: Segment) -> None:
    settings = group()
    fail(GroupHealth(segment.scoreboard, settings), 0, 3)
    never = replace(settings, ejection=replace(EJECTION, failures=0))
    health = GroupHealth(segment.scoreboard, never)
    assert states(health, NOW) == [HEALTHY] * 3
    assert fail(health, 1, 300) == [False] * 300


def test_more_failures_than_fit_a_count_are_as_many_as_fit(segment: Segment) -> None:
    settings = group(ejection=replace(EJECTION, failures=1000))
    health = GroupHealth(segment.scoreboard, settings)
    assert fail(health, 0, 255) == [False] * 254 + [True]


# Active checks


@pytest.mark.parametrize(
    ("results", "after"),
    [
        ("+", "h"),
        ("-", "u"),  # the first decides alone
        ("+--+--+--", "hhhhhhhhh"),
        ("+---", "hhhu"),
        ("+----++", "hhhuuuh"),
        ("-+-+-++---", "uuuuuuhhhu"),
    ],
)
def test_results_in_a_row_change_what_active_checks_say(segment: Segment, results: str, after: str) -> None:
    health, seen = GroupHealth(segment.scoreboard, group(probe=PROBE)), "h"
    for result in results:
        changed = health.note_probe(2, result == "+", NOW)
        seen += "u" if health.state(2, NOW) is UNHEALTHY else "h"
        assert changed == (seen[-1] != seen[-2])
    assert seen[1:] == after
    assert health.state(0, NOW) is health.state(1, NOW) is HEALTHY


def test_an_unhealthy_server_says_why_and_since_when(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group(probe=PROBE))
    health.note_probe(0, True, NOW)
    for second in range(1, 6):
        health.note_probe(0, False, NOW + second * SECOND, status=503)
    report = health.report(NOW + 9 * SECOND).servers[0]
    assert (report.state, report.reason, report.since_ns) == (UNHEALTHY, "status 503", NOW + 3 * SECOND)
    health.note_probe(0, False, NOW + 9 * SECOND, fault=Fault.CONNECT_REFUSED)
    assert health.report(NOW + 9 * SECOND).servers[0].reason == "connection_refused"
    for second in (10, 11):
        health.note_probe(0, True, NOW + second * SECOND)
    report = health.report(NOW + 12 * SECOND).servers[0]
    assert (report.state, report.reason, report.since_ns) == (HEALTHY, "", NOW + 11 * SECOND)


def test_an_ejected_server_says_why_and_until_when(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group())
    fail(health, 0, 3)
    report = health.report(NOW + SECOND).servers[0]
    assert (report.state, report.reason) == (EJECTED, "3 requests failed in a row")
    assert (report.since_ns, report.until_ns, report.ejections) == (NOW, NOW + 10 * SECOND, 1)
    report = health.report(NOW + 11 * SECOND).servers[0]
    assert (report.state, report.reason, report.since_ns) == (HEALTHY, "", NOW + 10 * SECOND)
    assert (report.until_ns, report.ejections) == (0, 1)


@pytest.mark.parametrize("failures", [3, 0], ids=["ejecting", "never-ejecting"])
def test_what_a_server_was_asked_and_what_it_failed_is_counted(segment: Segment, failures: int) -> None:
    health = GroupHealth(segment.scoreboard, group(ejection=replace(EJECTION, failures=failures)))
    for _ in range(5):
        health.note_success(1, NOW)
    fail(health, 1, 4)
    counts = [(server.requests, server.failed) for server in health.report(NOW).servers]
    assert counts == [(0, 0), (9, 4), (0, 0)]


def test_a_server_may_be_unhealthy_and_ejected_at_once(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group(probe=PROBE))
    fail(health, 0, 3)
    health.note_probe(0, False, NOW)
    assert states(health, NOW) == [UNHEALTHY, HEALTHY, HEALTHY]
    for _ in range(2):
        health.note_probe(0, True, NOW)
    assert states(health, NOW) == [EJECTED, HEALTHY, HEALTHY]
    assert states(health, NOW + 10 * SECOND) == [HEALTHY] * 3


def test_without_active_checks_what_they_said_counts_no_more(segment: Segment) -> None:
    settings = group(probe=PROBE)
    GroupHealth(segment.scoreboard, settings).note_probe(0, False, NOW)
    health = GroupHealth(segment.scoreboard, replace(settings, probe=None))
    assert states(health, NOW) == [HEALTHY] * 3
    assert not health.note_probe(0, False, NOW)


# Slow start


def shares(health: GroupHealth, at_s: list[int], now_ns: int = NOW) -> list[float]:
    return [round(health.share(0, now_ns + second * SECOND), 3) for second in at_s]


def test_a_server_that_was_let_back_gets_its_share_slowly(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group(slow_start_s=20.0))
    assert shares(health, [0, 10]) == [1.0, 1.0]
    fail(health, 0, 3)
    assert shares(health, [10, 11, 20, 30, 99]) == [0.01, 0.05, 0.5, 1.0, 1.0]


def test_a_server_that_became_healthy_gets_its_share_slowly_but_not_a_new_one(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group(slow_start_s=20.0, probe=PROBE))
    health.note_probe(0, True, NOW)
    assert shares(health, [0, 1]) == [1.0, 1.0]
    for passed in (False, False, False, True, True):
        health.note_probe(0, passed, NOW + 50 * SECOND)
    assert shares(health, [50, 55, 60, 70]) == [0.01, 0.25, 0.5, 1.0]


def test_without_slow_start_the_share_is_whole_at_once(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group())
    fail(health, 0, 3)
    assert shares(health, [10]) == [1.0]


# Circuit breaker

BREAKER = BreakerSettings(share=0.5, window_s=10, requests=10, open_s=5.0)


def note(health: GroupHealth, results: str, now_ns: int = NOW) -> str:
    """Requests that fail (-) or not (+); ! for each that changed the breaker."""
    return "".join("!" if health.note_request(result == "-", now_ns) else "." for result in results)


def broken(segment: Segment) -> GroupHealth:
    """A group whose breaker opened now."""
    health = GroupHealth(segment.scoreboard, group(breaker=BREAKER))
    assert note(health, "-" * 10) == "." * 9 + "!"
    return health


@pytest.mark.parametrize(
    ("results", "changes"),
    [
        ("-" * 10, ".........!"),
        ("+" * 5 + "-" * 5, ".........!"),
        ("-" * 5 + "+" * 5, ".........."),  # a request that went well opens nothing
        ("-" * 5 + "+" * 5 + "--", "..........!."),
        ("+" * 6 + "-" * 5, "..........."),
        ("+" * 6 + "-" * 6, "...........!"),
        ("-" * 9, "........."),  # too few to decide
    ],
)
def test_a_share_of_failed_requests_opens_the_breaker(segment: Segment, results: str, changes: str) -> None:
    health = GroupHealth(segment.scoreboard, group(breaker=BREAKER))
    assert note(health, results) == changes
    assert health.may_ask(NOW) == ("!" not in changes)


def test_failures_count_for_the_length_of_the_window(segment: Segment) -> None:
    for later_s, opens in ((0, True), (9, True), (12, True), (17, False), (20, False), (40, False)):
        health = GroupHealth(segment.scoreboard, group(breaker=replace(BREAKER, requests=12)))
        note(health, "-" * 9)
        assert ("!" in note(health, "-" * 5, NOW + later_s * SECOND)) == opens, later_s


def test_an_open_breaker_lets_one_request_at_a_time_try(segment: Segment) -> None:
    health = broken(segment)
    assert [health.may_ask(NOW + second * SECOND) for second in (0, 4)] == [False, False]
    assert [health.may_ask(NOW + 5 * SECOND) for _ in range(3)] == [True, False, False]
    assert note(health, "+", NOW + 6 * SECOND) == "!"
    assert [health.may_ask(NOW + 6 * SECOND) for _ in range(3)] == [True] * 3


def test_a_try_that_fails_opens_the_breaker_for_as_long_again(segment: Segment) -> None:
    health = broken(segment)
    for later_s in (5, 11, 17):
        assert health.may_ask(NOW + later_s * SECOND)
        note(health, "-", NOW + (later_s + 1) * SECOND)
        assert not health.may_ask(NOW + (later_s + 5) * SECOND)


def test_a_try_that_is_never_heard_of_again_blocks_nobody(segment: Segment) -> None:
    """Its worker may have died."""
    health = broken(segment)
    assert [health.may_ask(NOW + second * SECOND) for second in (5, 9, 10, 14, 15)] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_failures_of_before_do_not_open_a_breaker_that_closed(segment: Segment) -> None:
    health = broken(segment)
    assert health.may_ask(NOW + 5 * SECOND)
    assert note(health, "+" + "-" * 9, NOW + 5 * SECOND) == "!........."
    assert note(health, "-", NOW + 5 * SECOND) == "!"


def test_requests_on_their_way_when_it_opened_change_nothing(segment: Segment) -> None:
    health = broken(segment)
    assert note(health, "+-+-", NOW + 6 * SECOND) == "...."
    assert health.may_ask(NOW + 6 * SECOND)


def test_the_breaker_says_how_it_is(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group(breaker=BREAKER))

    def told(second: int) -> tuple[BreakerState, int, int]:
        report = health.report(NOW + second * SECOND).breaker
        assert report is not None
        return report.state, report.since_ns, report.openings

    assert told(0) == (CLOSED, 0, 0)
    note(health, "-" * 10)
    assert [told(0), told(4), told(5)] == [(OPEN, NOW, 1), (OPEN, NOW, 1), (HALF_OPEN, NOW, 1)]
    assert health.may_ask(NOW + 5 * SECOND)
    assert told(6) == (HALF_OPEN, NOW, 1)
    note(health, "+", NOW + 6 * SECOND)
    assert told(6) == (CLOSED, 0, 1)


def test_without_a_breaker_everybody_may_ask_whatever_fails(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group())
    assert note(health, "-" * 200) == "." * 200
    assert health.may_ask(NOW)
    assert health.report(NOW).breaker is None


# Retry budget


def retries(health: GroupHealth, now_ns: int = NOW) -> int:
    """How many more retries there are; takes them."""
    taken = 0
    while health.may_retry(now_ns):
        taken += 1
    return taken


@pytest.mark.parametrize(
    ("budget", "least", "requests", "allowed"),
    [
        (0.2, 10, 0, 10),
        (0.2, 10, 100, 30),
        (0.2, 0, 100, 20),
        (0.0, 3, 100, 3),
        (0.0, 0, 100, 0),
        (1.0, 0, 5, 5),
    ],
)
def test_retries_are_a_share_of_the_requests_and_a_few_more(
    segment: Segment, budget: float, least: int, requests: int, allowed: int
) -> None:
    settings = group(retry=RetrySettings(attempts=1, budget=budget, least=least))
    health = GroupHealth(segment.scoreboard, settings)
    note(health, "+" * requests)
    assert retries(health) == allowed
    assert retries(health) == 0


def test_requests_and_retries_are_forgotten_over_ten_seconds(segment: Segment) -> None:
    """NOW begins a window of ten seconds: of the one before half counts after five more."""
    health = GroupHealth(segment.scoreboard, group(retry=RetrySettings(attempts=1, budget=0.5, least=0)))
    note(health, "+" * 100)
    assert [retries(health, NOW + second * SECOND) for second in (0, 9, 10, 15)] == [50, 0, 0, 0]
    note(health, "+" * 10, NOW + 15 * SECOND)
    assert retries(health, NOW + 15 * SECOND) == 5
    assert retries(health, NOW + 40 * SECOND) == 0


def test_a_clock_one_window_late_takes_nothing_away(segment: Segment) -> None:
    health = GroupHealth(segment.scoreboard, group(retry=RetrySettings(attempts=1, budget=0.5, least=0)))
    note(health, "+" * 10, NOW + 20 * SECOND)
    note(health, "+" * 10, NOW + 20 * SECOND - 1)
    note(health, "+" * 10, NOW + SECOND)  # two windows late: not counted, and it clears nothing
    assert retries(health, NOW + 20 * SECOND) == 10


# The scoreboard


def test_the_state_outlives_a_reload_with_other_servers(segment: Segment) -> None:
    settings = group(breaker=BREAKER, probe=PROBE)
    before = GroupHealth(segment.scoreboard, settings)
    fail(before, 1, 3)
    before.note_probe(2, False, NOW)
    note(before, "-" * 10)
    new = OriginSettings("https", "new.example", 443)
    after = GroupHealth(segment.scoreboard, replace(settings, servers=(new, *settings.servers[1:])))
    assert states(after, NOW) == [HEALTHY, EJECTED, UNHEALTHY]
    assert not after.may_ask(NOW)


def test_a_server_in_two_groups_is_judged_in_each(segment: Segment) -> None:
    one, other = (GroupHealth(segment.scoreboard, group()) for _ in range(2))
    fail(one, 0, 3)
    assert (states(one, NOW)[0], states(other, NOW)[0]) == (EJECTED, HEALTHY)


def test_what_finds_no_room_on_the_scoreboard_counts_as_healthy(caplog: pytest.LogCaptureFixture) -> None:
    with open_segment() as (segment, _):
        for number in range(SCORES - 1):
            segment.scoreboard.claim(b"%d" % number)
        settings = group(2, breaker=BREAKER, probe=PROBE, slow_start_s=5.0)
        health = GroupHealth(segment.scoreboard, settings)
        assert "2 cells are missing" in caplog.text
        assert fail(health, 1, 20) == [False] * 20
        assert not health.note_probe(1, False, NOW)
        health.note_success(1, NOW)
        assert note(health, "-" * 100) == "." * 100
        assert health.may_ask(NOW) and health.may_retry(NOW)
        assert states(health, NOW) == [HEALTHY] * 2
        assert health.share(1, NOW) == 1.0
        assert health.report(NOW).servers[1].reason == ""
        assert fail(health, 0, 3)[-1]  # which got the last cell


# Several processes


def all_at_once(works: list[Callable[[], None]]) -> None:
    """Run each in a process of its own, from one moment on, and see them end well."""
    gate = shared_words(1 + len(works))

    def work(me: int) -> None:
        gate[1 + me] = 1
        while not gate[0]:
            pass
        works[me]()

    pids = [spawn(partial(work, me)) for me in range(len(works))]
    while sum(gate) < len(works):
        os.sched_yield()
    gate[0] = 1
    assert [wait_exit(pid) for pid in pids] == [0] * len(pids)


def test_failures_in_several_processes_are_in_a_row_together(segment: Segment) -> None:
    settings = group(ejection=replace(EJECTION, failures=201))
    health, ejected = GroupHealth(segment.scoreboard, settings), shared_words(4)

    def work(me: int, times: int) -> None:
        ejected[me] = sum(fail(GroupHealth(segment.scoreboard, settings), 0, times))

    all_at_once([partial(work, me, 50) for me in range(4)])
    assert sum(ejected) == 0
    assert fail(health, 0, 1) == [True]
    all_at_once([partial(work, me, 300) for me in range(4)])
    assert (sum(ejected), health.report(NOW).servers[0].ejections) == (0, 1)


def test_processes_that_eject_at_the_same_moment_leave_a_server(segment: Segment) -> None:
    for _ in range(20):
        settings = group(4, ejection=replace(EJECTION, failures=1, max_share=0.5))
        works = [partial(fail, GroupHealth(segment.scoreboard, settings), server, 50) for server in range(4)]
        all_at_once([lambda work=work: (work(), None)[1] for work in works])  # type: ignore[misc]
        found = states(GroupHealth(segment.scoreboard, settings), NOW)
        assert found.count(EJECTED) <= 2


def test_processes_together_retry_no_more_than_the_budget(segment: Segment) -> None:
    settings = group(retry=RetrySettings(attempts=1, budget=0.5, least=10))
    taken = shared_words(4)

    def work(me: int) -> None:
        health = GroupHealth(segment.scoreboard, settings)
        for _ in range(200):
            health.note_request(False, NOW)
            taken[me] += health.may_retry(NOW) + health.may_retry(NOW)

    all_at_once([partial(work, me) for me in range(4)])
    health = GroupHealth(segment.scoreboard, settings)
    assert sum(taken) + retries(health) == 0.5 * 4 * 200 + 10


def test_one_request_of_all_processes_tries_an_open_breaker(segment: Segment) -> None:
    settings = group(breaker=BREAKER)
    note(GroupHealth(segment.scoreboard, settings), "-" * 10)
    let = shared_words(4)

    def work(me: int) -> None:
        health = GroupHealth(segment.scoreboard, settings)
        for _ in range(500):
            let[me] += health.may_ask(NOW + 5 * SECOND)

    all_at_once([partial(work, me) for me in range(4)])
    assert sum(let) == 1


def test_a_process_killed_while_it_notes_leaves_a_state_that_others_go_on_from(segment: Segment) -> None:
    settings = group(2, breaker=BREAKER, retry=RetrySettings(attempts=1), probe=PROBE)
    progress = shared_words(1)

    def work() -> None:
        health = GroupHealth(segment.scoreboard, settings)
        for step in count():
            now_ns = NOW + step * 50_000_000
            health.note_failure(step % 2, now_ns)
            health.note_probe(step // 3 % 2, step % 5 > 2, now_ns)
            health.note_request(step % 3 > 0, now_ns)
            health.may_ask(now_ns)
            health.may_retry(now_ns)
            progress[0] += 1

    later = NOW + 100_000 * SECOND
    for _ in range(15):
        before = progress[0]
        pid = spawn(work)
        while progress[0] < before + 200:
            os.sched_yield()
        kill(pid)
    health = GroupHealth(segment.scoreboard, settings)
    for server in (0, 1):
        health.note_probe(server, True, later)
        health.note_probe(server, True, later)
        health.note_success(server, later)
    assert states(health, later) == [HEALTHY, HEALTHY]
    if not health.may_ask(later):
        assert health.may_ask(later + 5 * SECOND)
    note(health, "+", later + 5 * SECOND)
    assert health.may_ask(later + 5 * SECOND)
    assert health.may_retry(later + 20 * SECOND)
    assert fail(health, 0, 3, later + 10 * SECOND)[-1]
