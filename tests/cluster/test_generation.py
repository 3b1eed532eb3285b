"""Posts: when a successor is due. Time is a parameter."""

import pytest

from cluster.generation import STEADY_NS, Places, Post
from cluster.process import Child, Role, State

SECOND = 10**9


def die(post: Post, *, lived_ns: int, now_ns: int, ready: bool = True, state: State = State.READY) -> float:
    """Let a child die at `post`; seconds until its successor is due."""
    child = Child(Role.WORKER, 0, 0, 1, 1, -1, now_ns - lived_ns, state=state, was_ready=ready)
    post.child = child
    post.vacate(child, now_ns)
    assert post.child is None
    return (post.due_ns - now_ns) / SECOND


def test_the_first_death_is_repaired_at_once() -> None:
    assert die(Post(Role.WORKER, 0), lived_ns=1, now_ns=SECOND, ready=False) == 0


@pytest.mark.parametrize(
    ("ready", "delays"),
    [
        (False, [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]),
        (True, [0, 0.1, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]),
    ],
    ids=["never-served", "served"],
)
def test_quick_deaths_in_a_row_wait_longer_and_longer(ready: bool, delays: list[float]) -> None:
    post = Post(Role.WORKER, 0)
    assert [die(post, lived_ns=SECOND, now_ns=10 * SECOND, ready=ready) for _ in delays] == delays
    assert post.restarts == len(delays)


def test_the_delay_stays_bounded_for_ever() -> None:
    post = Post(Role.WORKER, 0, quick_deaths=10**6)
    assert die(post, lived_ns=1, now_ns=SECOND, ready=False) == 5


def test_a_steady_life_is_forgiven() -> None:
    post = Post(Role.WORKER, 0, quick_deaths=5)
    assert die(post, lived_ns=STEADY_NS, now_ns=100 * SECOND) == 0
    assert die(post, lived_ns=1, now_ns=100 * SECOND) == 0.1


def test_an_end_that_was_asked_for_is_no_restart() -> None:
    post = Post(Role.CONTROL, -1, quick_deaths=5)
    assert die(post, lived_ns=1, now_ns=SECOND, state=State.DRAINING) == 0
    assert post.restarts == 0


def test_places_are_taken_in_turn_and_come_back() -> None:
    places = Places()
    first = places.take()
    everyone = {first, *(places.take() for _ in range(len(places)))}
    assert everyone == set(range(62))
    assert not len(places)
    places.give_back(first)
    assert places.take() == first
