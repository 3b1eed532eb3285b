"""Collapsed forwarding: many requests, one fetch, inside a worker and across all of them.

Inside a worker, requests for one key share a Flight. Across workers the lease in the segment says who
fetches; its ending reaches us by the doorbell, or by the sweep if that got lost.
"""

import asyncio
from collections.abc import Callable

from shmcache.core import (
    CLAIMED,
    FAILED,
    PENDING,
    TOO_SLOW,
    WAIT,
    Leases,
)
from worker.errors import EdgeError
from worker.message import Body, Response


def give_back(body: Body) -> None:
    """Release a body that nobody will read."""
    if body is None or isinstance(body, bytes):
        return
    if hasattr(body, "close"):
        body.close()
    else:
        body.release()


class Flight:
    """One running fetch, ours or another worker's, as this worker's waiters see it."""

    __slots__ = (
        "_ending", "_flights", "_landed", "_left", "_moved", "deadline_ns", "error", "head", "is_ours",
        "is_shared", "key", "ticket",
    )  # fmt: skip

    def __init__(
        self, flights: "Flights", key: bytes, ticket: int | None, deadline_ns: int, *, is_ours: bool
    ) -> None:
        self._flights = flights
        self.key = key
        self.ticket = ticket  # None: the lease table was full
        self.deadline_ns = deadline_ns  # monotonic; after it nobody waits any longer
        self.is_ours = is_ours
        self.is_shared = False  # its body can be read while it arrives
        self.error: EdgeError | None = None  # why it failed, known only for our own
        self._left = False
        self._moved: asyncio.Future[None] | None = None  # made for the first who wants more of the body
        self.head: asyncio.Future[Response] = (
            asyncio.get_running_loop().create_future()
        )  # the leading client's answer
        self._ending = PENDING
        self._landed: asyncio.Future[int] | None = None  # made for the first who waits

    @property
    def client_left(self) -> bool:
        """Is the client whose request leads gone (or was there never one)?"""
        return self._left or self.head.cancelled()

    @property
    def has_landed(self) -> bool:
        return self._ending != PENDING

    async def wait_landed(self) -> int:
        """How it ended: one of the segment's endings."""
        ending = await self.wait_shared()
        while ending == PENDING:
            await self.wait_progress()
            ending = self._ending
        return ending

    async def wait_shared(self) -> int:
        """How it ended, or PENDING as soon as its body can be read while it arrives."""
        if self._ending != PENDING or self.is_shared:
            return self._ending
        if self._landed is None:
            self._landed = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._landed)

    async def wait_head(self) -> Response:
        """The leading client's answer; raises what the fetch raised. If cancelled, the fetch goes on."""
        try:
            return await self.head  # nobody else awaits it, so it may be cancelled with us
        except asyncio.CancelledError:
            self.leave()
            raise

    def leave(self) -> None:
        """The leading client is gone: nobody will take its answer."""
        self._left = True
        if self.head.done() and not self.head.cancelled() and self.head.exception() is None:
            give_back(self.head.result().body)

    def answer(self, response: Response) -> None:
        """Give the leading client its answer; only while it is there."""
        self.head.set_result(response)

    def fail(self, error: Exception) -> None:
        """Tell the leading client, if it is still there."""
        if not self.client_left and not self.head.done():
            self.head.set_exception(error)

    def land(self, ending: int) -> None:
        if self._ending != PENDING:
            return
        self._ending = ending
        if self._landed is not None and not self._landed.done():
            self._landed.set_result(ending)
        self.progress()

    def share(self) -> None:
        """Its body can be read from now on."""
        self.is_shared = True
        if self._landed is not None and not self._landed.done():
            self._landed.set_result(PENDING)

    def listen(self) -> None:
        """Ask to be told of progress."""
        self._flights.listen(self)

    def progress(self) -> None:
        """There may be more of the body, or an end."""
        if self._moved is not None:
            self._moved.set_result(None)
            self._moved = None

    async def wait_progress(self) -> None:
        """Until there may be more, or an end; looked after by `Flights.recheck` should nobody tell."""
        if self._moved is None:
            self._moved = asyncio.get_running_loop().create_future()
        self._flights.followed.add(self)
        await asyncio.shield(self._moved)


class Flights:
    """All flights of one route in this worker."""

    def __init__(self, leases: Leases, lease_ns: int, clock: Callable[[], int]) -> None:
        self._leases = leases
        self._lease_ns = lease_ns
        self._clock = clock
        self._flights: dict[bytes, Flight] = {}
        self.followed: set[Flight] = set()  # those that somebody waits for more of

    def join(self, key: bytes) -> tuple[Flight, bool]:
        """The flight for `key`, and whether the caller leads it: it then fetches and must `land` it."""
        flight = self._flights.get(key)
        now_ns = self._clock()
        if flight is not None:
            if now_ns < flight.deadline_ns:
                return flight, False
            self._give_up(flight)
        answer, ticket = self._leases.claim(key, now_ns, self._lease_ns)
        is_ours = answer != WAIT
        flight = Flight(
            self,
            key,
            None if answer not in (CLAIMED, WAIT) else ticket,
            now_ns + self._lease_ns,
            is_ours=is_ours,
        )
        self._flights[key] = flight
        return flight, is_ours

    def land(self, flight: Flight, ending: int, error: EdgeError | None = None) -> None:
        """End a flight we lead: waiters here and in other workers go on. Only the first call counts."""
        if flight.has_landed and flight.ticket is None:
            return
        if ending == FAILED and flight.error is None:
            flight.error = error
        if flight.ticket is not None:
            self._leases.release(flight.ticket, ending)
            flight.ticket = None
        self._remove(flight)
        flight.land(ending)

    def renew(self, flight: Flight) -> None:
        """Keep a flight of ours while its body comes: nobody takes over what is not stuck."""
        now_ns = self._clock()
        if now_ns < flight.deadline_ns - self._lease_ns // 2:
            return
        if flight.ticket is not None and not self._leases.renew(flight.ticket, now_ns, self._lease_ns):
            return
        flight.deadline_ns = now_ns + self._lease_ns

    def listen(self, flight: Flight) -> None:
        """Have the doorbell rung at the next progress of another worker's flight."""
        if not flight.is_ours and flight.ticket is not None:
            self._leases.ending(flight.ticket, self._clock())

    def recheck(self, now_ns: int) -> None:
        """Let go on who waits for a fetch that ended elsewhere, has more to read, or is past its deadline."""
        for flight in list(self._flights.values()):
            if not flight.is_ours and flight.ticket is not None:
                ending = self._leases.ending(flight.ticket, now_ns)
                if ending != PENDING:
                    self._remove(flight)
                    flight.land(ending)
                    continue
                if not flight.is_shared and self._leases.note(flight.ticket):
                    flight.share()
            if now_ns >= flight.deadline_ns:
                self._give_up(flight)
        followed, self.followed = self.followed, set()
        for flight in followed:
            flight.progress()

    def _give_up(self, flight: Flight) -> None:
        """Stop waiting; a fetch of ours goes on, and still ends its lease if nobody has taken that over."""
        self._remove(flight)
        flight.land(TOO_SLOW)

    def _remove(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
