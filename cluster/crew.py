"""The living children: forking them into their posts, ending them, burying them.

Knows processes and their places in the segment; why somebody starts or ends is the supervisor's business.
"""

import contextlib
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Collection, Iterator

from cluster.generation import CONTROL_PLACE, NO_PLACE, Places, Post
from cluster.process import Child, Exit, Role, State, User, fork
from shmcache.core import Segment
from worker.observe.counters import CONNECTIONS_CLOSED, TUNNELS_CLOSED, open_connections, open_tunnels

log = logging.getLogger("edgecluster.supervisor")

ABORT_GRACE_NS = 2_000_000_000  # for the traceback, between SIGABRT and SIGKILL
DRAIN_GRACE_NS = 5_000_000_000  # beyond the drain timeout, before SIGKILL
BOOT_NS = 60_000_000_000  # a process that does not serve by then never will


class Crew:
    """Every child that has not been buried yet."""

    def __init__(
        self, segment: Segment, selector: selectors.BaseSelector, on_told: Callable[[Child], None]
    ) -> None:
        """`on_told(child)` is called when a child has said that it serves."""
        self.segment = segment
        self.selector = selector
        self.on_told = on_told
        self.children: dict[int, Child] = {}
        self.places = Places()

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self.children.values()))

    def __len__(self) -> int:
        return len(self.children)

    def workers(self) -> list[Child]:
        return [child for child in self if child.role is Role.WORKER]

    def fork(
        self,
        post: Post,
        generation: int,
        body: Callable[[int, int], int],
        *,
        close: Collection[int],
        user: User | None,
    ) -> Child:
        """Fill `post` with a process that runs `body(member, ready)`. Raises OSError."""
        now_ns = time.monotonic_ns()
        member = self._take_place(post.role)
        try:
            pid, pipe = fork(lambda ready: body(member, ready), close={*close, *self._pipes()}, user=user)
        except OSError:
            self._give_back_place(member)
            raise
        child = Child(post.role, post.lane, member, generation, pid, pipe, now_ns, since_ns=now_ns)
        post.child = self.children[pid] = child
        self.selector.register(pipe, selectors.EVENT_READ, lambda _events: self._listen(child))
        return child

    def reap(self) -> Iterator[tuple[Child, int]]:
        """Every child found dead and its exit code (negative: the signal); what it held is given back."""
        for child in self:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._listen(child)  # its last words
                self._close_pipe(child)
                del self.children[child.pid]
                code = os.waitstatus_to_exitcode(status)
                _tell_end(child, code, self._give_back(child.member))
                yield child, code

    def enter(self, child: Child, state: State, kill_after_ns: int = 0) -> None:
        """`child` is now in `state`, and will be killed if it still lives `kill_after_ns` from now."""
        child.state = state
        child.since_ns = time.monotonic_ns()
        child.kill_ns = child.since_ns + kill_after_ns if kill_after_ns else 0

    def drain(self, child: Child, timeout_s: float) -> None:
        """Tell `child` to finish what it has begun and exit."""
        if child.state not in (State.DRAINING, State.KILLED):
            self.enter(child, State.DRAINING, int(timeout_s * 1e9) + DRAIN_GRACE_NS)
            self._signal(child, signal.SIGTERM)

    def hurry(self, child: Child) -> None:
        """Tell `child`, which drains, that its time is over: it cuts what still runs and exits."""
        self.enter(child, State.DRAINING, DRAIN_GRACE_NS)
        child.is_hurried = True
        self._signal(child, signal.SIGUSR2)

    def kill(self, child: Child) -> None:
        self.enter(child, State.KILLED)
        self._signal(child, signal.SIGKILL)

    def abort(self, child: Child) -> None:
        """End a child that hangs: it prints where, then dies; SIGKILL follows, should it not."""
        self.enter(child, State.KILLED, ABORT_GRACE_NS)
        self._signal(child, signal.SIGABRT)

    def clear(self) -> None:
        """Kill whoever is left and wait for it: the supervisor ends without having stopped."""
        for child in self:
            self.kill(child)
            os.waitpid(child.pid, 0)
            self._close_pipe(child)
            del self.children[child.pid]

    def forward(self, number: int) -> None:
        """Pass a signal on to every worker."""
        for child in self.workers():
            self._signal(child, number)

    def watch(self, now_ns: int, awake_since_ns: int, timeout_ns: int) -> None:
        """End the hung, kill the overdue. Silence counts only from `awake_since_ns` on."""
        for child in self:
            if child.kill_ns and now_ns >= child.kill_ns:
                log.warning("%s (pid %d) did not end in time: killed", child, child.pid)
                self.kill(child)
            elif child.state is State.STARTING:
                if now_ns - max(child.started_ns, awake_since_ns) > BOOT_NS:
                    log.error("%s (pid %d) does not come to serve: ended", child, child.pid)
                    self.abort(child)
            elif child.state in (State.READY, State.LEAVING):
                silent_ns = now_ns - max(self.segment.member_info(child.member).heartbeat_ns, awake_since_ns)
                if silent_ns > timeout_ns:
                    log.error(
                        "%s (pid %d) hangs: no heartbeat for %.1f s; ended", child, child.pid, silent_ns / 1e9
                    )
                    self.abort(child)

    def _pipes(self) -> set[int]:
        return {child.pipe for child in self if child.pipe >= 0}

    def _listen(self, child: Child) -> None:
        """Read what a child has to say: "+" it serves, "-reason" it cannot."""
        if child.pipe < 0:
            return
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(child.pipe, 4096):
                child.told += piece
            self._close_pipe(child)
        if child.told.startswith(b"+") and not child.was_ready:
            child.was_ready = True
            if child.state is State.STARTING:
                self.enter(child, State.READY)
            self.on_told(child)

    def _close_pipe(self, child: Child) -> None:
        if child.pipe >= 0:
            self.selector.unregister(child.pipe)
            os.close(child.pipe)
            child.pipe = -1

    def _signal(self, child: Child, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # cannot be: it is not reaped yet
            os.kill(child.pid, number)

    def _take_place(self, role: Role) -> int:
        if role is Role.WORKER:
            return self.places.take()
        return CONTROL_PLACE if role is Role.CONTROL else NO_PLACE

    def _give_back(self, member: int) -> dict[str, int]:
        """What a dead process held in the segment, and its place there; counts of the former."""
        if member == NO_PLACE:
            return {}
        count_closed(self.segment, self.segment.statistics.of(member))
        repaired = {what: count for what, count in self.segment.reap(member).items() if count}
        self._give_back_place(member)
        return repaired

    def _give_back_place(self, member: int) -> None:
        if member not in (CONTROL_PLACE, NO_PLACE):
            self.places.give_back(member)


def count_closed(segment: Segment, counters: list[int]) -> None:
    """Count the end of the connections that these counters, of processes now dead, show as open.

    The kernel has closed what a dead process had open; it did not live to count that.
    """
    segment.statistics.add(CONNECTIONS_CLOSED, open_connections(counters))
    segment.statistics.add(TUNNELS_CLOSED, open_tunnels(counters))


def _tell_end(child: Child, code: int, repaired: dict[str, int]) -> None:
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    level = logging.INFO if code == Exit.DRAINED else logging.WARNING
    log.log(level, "%s (pid %d) has ended: %s; gave back %s", child, child.pid, how, repaired or "nothing")
