"""Which server is chosen: by turns and weights, by load, by key; and who is a candidate at all."""

from collections import Counter
from random import Random
from typing import Any

import pytest

from worker.origin.balance import (
    Balancer,
    LeastConnections,
    Rendezvous,
    RoundRobin,
    TwoChoices,
    balancer,
    candidates,
    tiers_of,
    untried,
)
from worker.settings import GroupSettings, OriginSettings


def chosen(balance: Balancer, weights: list[float], times: int) -> list[int]:
    """The servers of so many turns in which all are available."""
    return [balance.choose(range(len(weights)), weights, b"") for _ in range(times)]


def servers(*options: dict[str, Any]) -> tuple[OriginSettings, ...]:
    return tuple(OriginSettings("http", f"s{n}.example", 80, **one) for n, one in enumerate(options))


class TestRoundRobin:
    @pytest.mark.parametrize(
        ("weights", "turns"),
        [
            ([1], [0, 0, 0]),
            ([1, 1, 1], [0, 1, 2, 0, 1, 2]),
            ([5, 1, 1], [0, 0, 1, 0, 2, 0, 0] * 2),
            ([1, 2], [1, 0, 1] * 2),
            ([0.5, 0.25], [0, 1, 0] * 2),
        ],
        ids=str,
    )
    def test_turns_follow_the_weights_and_are_spread(self, weights: list[float], turns: list[int]) -> None:
        assert chosen(RoundRobin(len(weights)), weights, len(turns)) == turns

    def test_a_server_that_was_away_does_not_catch_up(self) -> None:
        balance = RoundRobin(3)
        for _ in range(30):
            balance.choose([0, 1], [1, 1], b"")
        assert Counter(chosen(balance, [1, 1, 1], 9)) == {0: 3, 1: 3, 2: 3}

    def test_a_share_of_its_weight_is_what_a_server_gets_in_slow_start(self) -> None:
        assert Counter(chosen(RoundRobin(2), [1, 0.1], 110)) == {0: 100, 1: 10}


class TestLeastConnections:
    @pytest.mark.parametrize(
        ("in_flight", "weights", "first"),
        [
            ([3, 1, 2], [1, 1, 1], 1),
            ([0, 0], [1, 5], 1),
            ([0, 5], [1, 5], 0),
            ([1, 5], [1, 5], 1),
            ([9, 0], [1, 0.05], 0),
        ],
        ids=str,
    )
    def test_the_least_loaded_for_its_weight(
        self, in_flight: list[int], weights: list[float], first: int
    ) -> None:
        assert chosen(LeastConnections(len(weights), in_flight.__getitem__), weights, 1) == [first]

    def test_equal_ones_take_turns(self) -> None:
        assert chosen(LeastConnections(3, lambda _: 0), [1, 1, 1], 6) == [0, 1, 2, 0, 1, 2]

    def test_a_slow_server_gets_few_of_the_requests(self) -> None:
        in_flight, asked, now = [0, 0], [0, 0], 0
        ends: list[tuple[int, int]] = []
        balance = LeastConnections(2, in_flight.__getitem__)
        for now in range(1000):  # one request per tick; the first server takes 10 ticks, the second 1
            for end, server in [one for one in ends if one[0] <= now]:
                ends.remove((end, server))
                in_flight[server] -= 1
            server = balance.choose([0, 1], [1, 1], b"")
            in_flight[server] += 1
            asked[server] += 1
            ends.append((now + (10 if server == 0 else 1), server))
        assert 80 <= asked[0] <= 120


class TestTwoChoices:
    def test_the_less_loaded_of_two_wins(self) -> None:
        assert set(chosen(TwoChoices([7, 0].__getitem__, Random(1)), [1, 1], 20)) == {1}

    def test_the_most_loaded_of_three_is_never_chosen(self) -> None:
        counts = Counter(chosen(TwoChoices([1, 9, 1].__getitem__, Random(2)), [1, 1, 1], 3000))
        assert counts[1] == 0
        assert abs(counts[0] - counts[2]) < 300

    def test_idle_servers_are_asked_by_weight(self) -> None:
        counts = Counter(chosen(TwoChoices(lambda _: 0, Random(3)), [3, 1, 1, 1], 6000))
        assert counts[0] > 3000  # it wins every draw it is part of
        assert all(abs(counts[server] - counts[1]) < 300 for server in (2, 3))

    def test_one_alone_is_chosen(self) -> None:
        assert TwoChoices(lambda _: 0, Random(4)).choose([2], [1.0], b"") == 2

    def test_it_stays_even_when_every_request_lasts(self) -> None:
        in_flight = [0] * 10
        balance = TwoChoices(in_flight.__getitem__, Random(5))
        for _ in range(1000):
            in_flight[balance.choose(range(10), [1.0] * 10, b"")] += 1
        assert max(in_flight) - min(in_flight) <= 6


class TestRendezvous:
    KEYS = tuple(b"http://example.org/%d" % number for number in range(10_000))
    NAMES = tuple(f"http://s{number}.example:80" for number in range(5))

    def by_key(self, numbers: list[int], weights: list[float]) -> dict[bytes, int]:
        balance = Rendezvous(self.NAMES)
        return {key: balance.choose(numbers, weights, key) for key in self.KEYS}

    def test_keys_are_spread_evenly(self) -> None:
        counts = Counter(self.by_key([0, 1, 2, 3, 4], [1] * 5).values())
        assert all(1850 < counts[number] < 2150 for number in range(5))

    def test_keys_are_spread_by_weight(self) -> None:
        counts = Counter(self.by_key([0, 1, 2], [1, 2, 5]).values())
        assert [round(counts[number] / 1250, 1) for number in range(3)] == pytest.approx([1, 2, 5], abs=0.2)

    def test_only_the_keys_of_a_server_that_goes_move_and_they_spread_over_all(self) -> None:
        before, after = self.by_key([0, 1, 2, 3, 4], [1] * 5), self.by_key([0, 1, 3, 4], [1] * 4)
        moved = [key for key in self.KEYS if before[key] != after[key]]
        assert {before[key] for key in moved} == {2}
        counts = Counter(after[key] for key in moved)
        assert all(400 < counts[number] < 600 for number in (0, 1, 3, 4))

    def test_a_weight_that_rises_moves_keys_to_its_server_only(self) -> None:
        before, after = self.by_key([0, 1, 2], [1, 1, 0.1]), self.by_key([0, 1, 2], [1, 1, 0.5])
        assert {after[key] for key in self.KEYS if before[key] != after[key]} == {2}

    def test_the_order_in_which_servers_are_listed_does_not_matter(self) -> None:
        other = Rendezvous(reversed(self.NAMES))
        assert all(
            self.NAMES[number] == self.NAMES[::-1][other.choose(range(5), [1] * 5, key)]
            for key, number in self.by_key([0, 1, 2, 3, 4], [1] * 5).items()
        )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("round-robin", RoundRobin), ("least-connections", LeastConnections), ("two-choices", TwoChoices),
        ("hash", Rendezvous),
    ],
)  # fmt: skip
def test_the_settings_name_the_way(name: str, kind: type[Balancer]) -> None:
    settings = GroupSettings("g", servers({}, {}), balance=name)
    assert type(balancer(settings, lambda _: 0, Random(0))) is kind


@pytest.mark.parametrize(
    ("up", "tried", "expected"),
    [
        ({0, 1, 2, 3}, [], [0, 1]),
        ({1, 2, 3}, [], [1]),
        ({2, 3}, [], [2, 3]),
        ({0, 1, 2, 3}, [0], [1]),
        ({0, 1, 2, 3}, [0, 1], [2, 3]),
        ({0, 2}, [0], [2]),
        ({0}, [0], [0]),
        (set(), [], [0, 1]),
        (set(), [0], [1]),
        (set(), [0, 1], [2, 3]),
        (set(), [0, 1, 2, 3], [0, 1]),
        ({2}, [2], [2]),
    ],
    ids=[
        "backups-wait", "who-is-away-is-left-out", "backups-take-over", "not-the-same-again", "then-backups",
        "a-backup-before-the-same-again", "the-same-again-before-who-is-away", "panic", "panic-elsewhere",
        "panic-with-backups", "panic-when-all-were-tried", "the-only-one",
    ],
)  # fmt: skip
def test_who_is_a_candidate(up: set[int], tried: list[int], expected: list[int]) -> None:
    assert candidates([[0, 1], [2, 3]], up.__contains__, tried) == expected


def test_nobody_who_is_away_is_somewhere_else_to_ask() -> None:
    assert untried([[0, 1], [2]], {0}.__contains__, [0]) == ()
    assert untried([[0, 1], [2]], {0, 2}.__contains__, [0]) == [2]


@pytest.mark.parametrize(
    ("options", "tiers"),
    [
        ([{}, {}], [[0, 1]]),
        ([{}, {"backup": True}, {}], [[0, 2], [1]]),
        ([{}, {"weight": 0}], [[0]]),
        ([{"weight": 0}, {"backup": True}], [[1]]),
    ],
    ids=["all", "backup", "no-weight", "only-backups-have-weight"],
)
def test_servers_proper_come_before_backups_and_who_has_no_weight_is_out(
    options: list[dict[str, Any]], tiers: list[list[int]]
) -> None:
    assert tiers_of(GroupSettings("g", servers(*options))) == tiers
