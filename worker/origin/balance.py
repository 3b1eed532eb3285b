"""Which of a group's servers gets a request: four ways to choose, and who may be chosen at all.

Knows numbers, weights and keys; not what a server is, nor how its health comes about. All of it is one
worker's own: what the workers share is the health, which decides who is available.
"""

from collections.abc import Callable, Iterable, Sequence
from math import log
from random import Random
from typing import Protocol

from xxhash import xxh3_64_intdigest

from worker.settings import GroupSettings

Numbers = Sequence[int]
InFlight = Callable[[int], int]
_HASHES = 2.0**64


class Balancer(Protocol):
    """One of the ways to choose."""

    def choose(self, servers: Numbers, weights: Sequence[float], key: bytes) -> int:
        """One of `servers`, by `key` or by their `weights`, which are in the same order and more than 0."""
        ...


class RoundRobin:
    """Every server in turn, as often as its weight says, and as evenly spread over time as that allows.

    nginx's smooth weighted round-robin: each turn every server gains its weight, and the one that is chosen
    pays what all gained. Weights 5, 1, 1 give a a b a c a a, not a a a a a b c.
    """

    def __init__(self, count: int) -> None:
        self._gained = [0.0] * count

    def choose(self, servers: Numbers, weights: Sequence[float], key: bytes) -> int:
        gained = self._gained
        chosen, most, total = servers[0], -1e300, 0.0
        for place, server in enumerate(servers):
            weight = weights[place]
            has = gained[server] + weight
            gained[server] = has
            total += weight
            if has > most:
                chosen, most = server, has
        gained[chosen] = most - total
        return chosen


class LeastConnections:
    """The server with the fewest requests in flight for its weight; of equal ones, each in turn.

    What counts is this worker's own requests in flight. A count that all workers share would cost every
    request two atomic writes to a contended line, and would stay wrong after a worker that died with requests
    in flight. The kernel spreads the clients over the workers, so each sees a fair sample of how fast every
    server is.
    """

    def __init__(self, count: int, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._turns = RoundRobin(count)

    def choose(self, servers: Numbers, weights: Sequence[float], key: bytes) -> int:
        loads = [
            (self._in_flight(server) + 1) / weight for server, weight in zip(servers, weights, strict=True)
        ]
        least = min(loads)
        lightest = [place for place, load in enumerate(loads) if load == least]
        if len(lightest) == 1:
            return servers[lightest[0]]
        return self._turns.choose(
            [servers[place] for place in lightest], [weights[place] for place in lightest], key
        )


class TwoChoices:
    """Two servers drawn at random by weight; of these the one with fewer requests in flight for its weight.

    Nearly as even as asking the least loaded of all (Mitzenmacher 2001), and unlike that it does not send
    every worker's next request to the same server when one comes back empty.
    """

    def __init__(self, in_flight: InFlight, random: Random) -> None:
        self._in_flight = in_flight
        self._random = random.random

    def choose(self, servers: Numbers, weights: Sequence[float], key: bytes) -> int:
        if len(servers) == 1:
            return servers[0]
        one = self._draw(weights)
        other = self._draw([0.0 if place == one else weight for place, weight in enumerate(weights)])
        in_flight = self._in_flight
        one_load = (in_flight(servers[one]) + 1) / weights[one]
        other_load = (in_flight(servers[other]) + 1) / weights[other]
        return servers[other if other_load < one_load else one]

    def _draw(self, weights: Sequence[float]) -> int:
        """A place, by weight; never one whose weight is 0."""
        left = self._random() * sum(weights)
        last = 0
        for place, weight in enumerate(weights):
            if weight:
                last = place
                left -= weight
                if left < 0:
                    break
        return last


class Rendezvous:
    """The same server for the same key, for as long as that server is there.

    Weighted rendezvous hashing: each server draws a number from key and name, the best draw wins. When a
    server goes, only its keys move, spread over all others by weight; when it comes back, they return. A
    weight that rises draws keys from all others and moves none between them. Every worker and every edge with
    the same servers chooses the same.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._seeds = [xxh3_64_intdigest(name.encode()) for name in names]

    def choose(self, servers: Numbers, weights: Sequence[float], key: bytes) -> int:
        chosen, least = servers[0], float("inf")
        for server, weight in zip(servers, weights, strict=True):
            drawn = -log((xxh3_64_intdigest(key, self._seeds[server]) + 1) / _HASHES) / weight
            if drawn < least:
                chosen, least = server, drawn
        return chosen


def balancer(settings: GroupSettings, in_flight: InFlight, random: Random) -> Balancer:
    """What `settings.balance` names. `in_flight` is how many requests a server of that number has."""
    count = len(settings.servers)
    if settings.balance == "least-connections":
        return LeastConnections(count, in_flight)
    if settings.balance == "two-choices":
        return TwoChoices(in_flight, random)
    if settings.balance == "hash":
        return Rendezvous(server.url for server in settings.servers)
    return RoundRobin(count)


def untried(tiers: Sequence[Numbers], available: Callable[[int], bool], tried: Numbers) -> Numbers:
    """Who of the first tier that has any is available and was not asked for this request; () if nobody."""
    for tier in tiers:
        if found := [server for server in tier if server not in tried and available(server)]:
            return found
    return ()


def candidates(tiers: Sequence[Numbers], available: Callable[[int], bool], tried: Numbers) -> Numbers:
    """Among whom to choose, all of one of `tiers`: those are the servers proper, then the backups.

    Who is available comes first, and of these who was not tried yet. When nobody is, all are candidates as if
    they were: to ask a server that may be down is better than to fail for certain (panic routing).
    """
    return (
        untried(tiers, available, tried)
        or untried(tiers, available, ())
        or untried(tiers, _anyone, tried)
        or tiers[0]
    )


def _anyone(server: int) -> bool:
    return True


def tiers_of(settings: GroupSettings) -> list[list[int]]:
    """The servers proper and the backups by number, without those of weight 0 and without an empty tier."""
    numbered = [(number, server) for number, server in enumerate(settings.servers) if server.weight]
    tiers = [[number for number, server in numbered if server.backup is backup] for backup in (False, True)]
    return [tier for tier in tiers if tier]
