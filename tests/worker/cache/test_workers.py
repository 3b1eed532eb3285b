"""Collapsed forwarding across real worker processes, with a real origin, and a worker that dies."""

from collections import Counter

import pytest

from tests.support.cache_workers import Answer, CacheWorkers, Order
from tests.support.scripted_origin import ScriptedOrigin, answer, script
from worker.settings import CacheSettings

WORKERS = 3
CROWD = 20
FRESH = "Cache-Control: max-age=600"


def ask_everywhere(workers: CacheWorkers, origin: ScriptedOrigin, path: str = "/") -> list[Answer]:
    for member in range(WORKERS):
        workers.tell(member, Order(origin.port, [path] * CROWD))
    return [one for member in range(WORKERS) for one in workers.answers(member)]


@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_crowd_in_all_workers_makes_one_request(size: int) -> None:
    body = bytes(range(250)) * (size // 250)
    with (
        CacheWorkers(WORKERS) as workers,
        ScriptedOrigin([script(0.5, answer(body, headers=FRESH))]) as origin,
    ):
        answers = ask_everywhere(workers, origin)
        assert len(origin.requests) == 1
        assert {one.status for one in answers} == {200}
        assert {one.body for one in answers} == {body}
        outcomes = Counter(one.outcome for one in answers)
        assert outcomes["miss"] == 1
        assert {one.outcome for one in ask_everywhere(workers, origin)} == {"hit"}


def test_everybody_goes_alone_when_the_response_is_not_storable() -> None:
    with (
        CacheWorkers(WORKERS) as workers,
        ScriptedOrigin([script(0.2, answer(b"mine", headers="Cache-Control: private"))]) as origin,
    ):
        answers = ask_everywhere(workers, origin)
        assert len(origin.requests) == len(answers) == WORKERS * CROWD
        assert {one.body for one in answers} == {b"mine"}


def test_an_origin_that_dies_in_the_middle_fails_for_everybody_and_is_asked_anew_afterwards() -> None:
    cut = script(
        b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n" + FRESH.encode() + b"\r\n\r\nhel", 0.3, "reset"
    )
    with (
        CacheWorkers(WORKERS) as workers,
        ScriptedOrigin([cut, answer(b"hello", headers=FRESH)]) as origin,
    ):
        answers = ask_everywhere(workers, origin)
        assert len(origin.requests) == 1
        assert all(one.status == 502 or one.cut for one in answers), "a part was taken for the whole"
        workers.tell(0, Order(origin.port, ["/"]))
        assert [one.body for one in workers.answers(0)] == [b"hello"]
        assert len(origin.requests) == 2


def test_a_dead_worker_s_fetch_is_taken_over() -> None:
    with (
        CacheWorkers(WORKERS) as workers,
        ScriptedOrigin([script("stall"), answer(b"hello", headers=FRESH)]) as origin,
    ):
        workers.tell(0, Order(origin.port, ["/"]))
        origin.wait_for(lambda origin: len(origin.requests) == 1)
        for member in (1, 2):
            workers.tell(member, Order(origin.port, ["/"] * CROWD))
        workers.kill(0)
        answers = workers.answers(1) + workers.answers(2)
        assert {one.body for one in answers} == {b"hello"}
        assert len(origin.requests) == 2


def test_a_stuck_worker_s_fetch_is_taken_over_at_its_deadline() -> None:
    with (
        CacheWorkers(2, CacheSettings(lease_s=1.0)) as workers,
        ScriptedOrigin(
            [script("stall", answer(b"late", headers=FRESH)), answer(b"hello", headers=FRESH)]
        ) as origin,
    ):
        workers.tell(0, Order(origin.port, ["/"]))
        origin.wait_for(lambda origin: len(origin.requests) == 1)
        workers.tell(1, Order(origin.port, ["/"] * CROWD))
        assert {one.body for one in workers.answers(1)} == {b"hello"}
        origin.release()
        assert [one.body for one in workers.answers(0)] == [b"late"]
        assert len(origin.requests) == 2


def test_a_purge_in_one_worker_is_seen_by_all() -> None:
    with (
        CacheWorkers(WORKERS) as workers,
        ScriptedOrigin([answer(b"old", headers=FRESH), answer(b"new", headers=FRESH)]) as origin,
    ):
        assert {one.body for one in ask_everywhere(workers, origin)} == {b"old"}
        workers.tell(0, Order(origin.port, [], purge="http://a.example/"))
        assert workers.purged(0)
        assert {one.body for one in ask_everywhere(workers, origin)} == {b"new"}
        assert len(origin.requests) == 2
