"""The supervisor: opens what must outlive a worker, keeps every post filled, watches, stops.

What it has opened is the `estate`, how generations change is the business of `reloads`. One thread, no
event loop, no HTTP: a selector over the signals' wakeup socket, the control socket and the children's
readiness pipes. A signal handler only wakes the loop, which finds `handle_<signal>` and acts.
"""

import contextlib
import logging
import os
import resource
import selectors
import signal
import socket
import time
from collections.abc import Callable, Collection

import setproctitle

from cluster.crew import Crew
from cluster.errors import BootError
from cluster.estate import Body, Estate
from cluster.generation import Generation, Post
from cluster.lock import InstanceLock, admin_socket, supervisor_socket
from cluster.process import Child, ControlStart, Exit, Role, User
from cluster.reloads import Load, Reloads, stopping
from cluster.segment import end_tenants
from cluster.settings import ClusterSettings
from cluster.status import cache_status, control_status, print_ready, serving_status, worker_statuses
from cluster.version import VERSION
from cluster.wire import Answer, Reply, WireServer
from worker.start import WorkerStart

log = logging.getLogger("edgecluster.supervisor")

PAUSE_S = 0.2  # longest sleep of the loop
ASLEEP_NS = 2_000_000_000  # a longer gap means that we were stopped, and so perhaps was everyone
ONCE_NS = 500_000_000  # a terminal or a wrapper may send one wish twice
PORT_PATIENCE_S = 3.0  # for the workers of a dead supervisor to let go of the port

Announce = Callable[[Answer], None]


class Supervisor:
    """One cluster, from start to stop."""

    def __init__(
        self,
        settings: ClusterSettings,
        load: Load,
        *,
        announce: Announce = print_ready,
        worker_main: Callable[[WorkerStart], int] | None = None,
        control_main: Callable[[ControlStart], int] | None = None,
    ) -> None:
        """`load` gives the settings for a reload and may raise; `announce` gets the status when all serve."""
        self.settings = settings
        self.load = load
        self.announce = announce
        self.started_ns = time.monotonic_ns()
        self.selector = selectors.DefaultSelector()
        self.estate = Estate(worker_main or _default_worker_main(), control_main or _default_control_main())
        self.control = Post(Role.CONTROL, -1)
        self.announced = False
        self.stopping = False
        self.stopping_ns = 0
        self.failure: BootError | None = None
        self.killed = False
        self.awake_since_ns = self.last_tick_ns = self.started_ns
        self.handlers: dict[int, Callable[[], None]] = {
            signal.SIGCHLD: self.handle_sigchld,
            signal.SIGHUP: self.handle_sighup,
            signal.SIGTERM: self.handle_sigterm,
            signal.SIGINT: self.handle_sigterm,
            signal.SIGUSR1: self.handle_sigusr1,
        }

    def run(self) -> int:
        """Start, serve until told to stop; 0 when every process drained, 1 when some had to be killed.

        Raises BootError when the start is not possible; nothing is left behind then either.
        """
        with contextlib.ExitStack() as stack:
            self._open(stack)
            while self.crew or not self.stopping:
                for key, events in self.selector.select(PAUSE_S):
                    key.data(events)
                self.tick(time.monotonic_ns())
        if self.failure is not None:
            raise self.failure
        return 1 if self.killed else 0

    # --- start -------------------------------------------------------------------------------------

    def _open(self, stack: contextlib.ExitStack) -> None:
        """Make everything that the children inherit, in the order in which it can be undone."""
        settings = self.settings
        setproctitle.setproctitle("edgecluster: supervisor")
        _raise_file_limit()
        stack.callback(self.selector.close)
        self.user = User.find(settings.user)
        self.lock = InstanceLock(settings.state_dir)
        stack.callback(self.lock.release)
        if self.lock.left_behind:
            log.warning("the supervisor before this one did not end well: tidying up after it")
            admin_socket(settings.state_dir).unlink(missing_ok=True)
            end_tenants(settings.state_dir)
        means = self.estate.open(settings, stack, PORT_PATIENCE_S if self.lock.left_behind else 0.0)
        stack.callback(self._close_segment)
        self.estate.join()
        self.crew = Crew(self.estate.named.segment, self.selector, self.on_told)
        first = Generation(1, settings, self.estate.bound(settings), means)
        self.reloads = Reloads(self.estate, self.crew, self.control, first, self.load, self._fork)
        self._open_signals(stack)
        verbs = {
            "status": self.verb_status,
            "reload": self.verb_reload,
            "renew": self.verb_renew,
            "refresh": self.verb_refresh,
            "rotate": self.verb_rotate,
            "stop": self.verb_stop,
            "ping": self.verb_ping,
            "audit": self.verb_audit,
        }
        self.wire = WireServer(supervisor_socket(settings.state_dir), verbs, self.selector)
        stack.callback(self.wire.close)
        stack.callback(admin_socket(settings.state_dir).unlink, missing_ok=True)
        stack.callback(self.crew.clear)

    def _close_segment(self) -> None:
        """Remove the segment, unless we were told to stop and to keep it for the next start."""
        stopped = self.stopping and self.failure is None
        self.estate.named.close(keep=stopped and self.reloads.serving.settings.keep_cache_on_stop)

    def _open_signals(self, stack: contextlib.ExitStack) -> None:
        self.wakeup, writing = socket.socketpair()
        for end in (self.wakeup, writing):
            end.setblocking(False)
            stack.callback(end.close)
        self.signal_fds = {self.wakeup.fileno(), writing.fileno()}
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, -1)
        for number in self.handlers:
            signal.signal(number, _wake)
            # For good: an impatient Ctrl-C must not spoil the end of the process either.
            stack.callback(signal.signal, number, signal.SIG_IGN)
        self.selector.register(self.wakeup, selectors.EVENT_READ, self.on_signals)

    # --- the loop ----------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """What is due by the clock: the hung, the overdue, vacant posts, leaving lanes, waiting reloads."""
        if now_ns - self.last_tick_ns > ASLEEP_NS:
            self.awake_since_ns = now_ns
        self.last_tick_ns = now_ns
        self.handle_sigchld()  # should a signal have been lost
        settings = self.reloads.serving.settings
        self.crew.watch(now_ns, self.awake_since_ns, int(settings.heartbeat_timeout_s * 1e9))
        if self.stopping:
            return
        self.estate.contexts.tickets.turn_if_due(now_ns, settings.ticket_rotation_s)
        self.fill_posts(now_ns)
        self.reloads.tick(now_ns, may_begin=self.announced)

    def fill_posts(self, now_ns: int) -> None:
        """Fork a process into every vacant post that is due."""
        for generation in self.reloads.generations():
            for post in generation.posts:
                if post.child is None and now_ns >= post.due_ns:
                    self._fill(post, generation)
        if self.control.child is None and now_ns >= self.control.due_ns:
            self._fill(self.control, self.reloads.serving)

    def on_signals(self, _events: int) -> None:
        """Act on every signal that came, once per kind."""
        with contextlib.suppress(BlockingIOError):
            while numbers := self.wakeup.recv(4096):
                for number in dict.fromkeys(numbers):
                    self.handlers[number]()

    def handle_sigchld(self) -> None:
        """Bury the dead; their posts become vacant."""
        for child, code in self.crew.reap():
            self.on_death(child, code)

    def handle_sighup(self) -> None:
        """Reload; how it ended is in the log."""
        self.reloads.requests.append(lambda _answer: None)

    def handle_sigterm(self) -> None:
        """Drain and stop; the second time, kill at once."""
        if not self.stopping:
            log.info("stopping: finishing what is under way; once more to kill at once")
            self.stop()
        elif time.monotonic_ns() - self.stopping_ns > ONCE_NS:
            for child in self.crew:
                self.crew.kill(child)

    def handle_sigusr1(self) -> None:
        """Let the workers open their log files anew."""
        self.crew.forward(signal.SIGUSR1)

    # --- children ----------------------------------------------------------------------------------

    def _fill(self, post: Post, generation: Generation) -> None:
        body, own = self.estate.body(post, generation)
        self._fork(post, generation.number, body, own)
        if generation is self.reloads.serving:
            self.estate.let_read(generation, post)

    def _fork(self, post: Post, generation: int, body: Body, own: Collection[int] = ()) -> None:
        """Fill `post` with a process that keeps `own` of our descriptors, if the kernel has room for it."""
        close = (self._private_filenos() | self.estate.filenos()).difference(own)
        user = self.user if post.role is Role.WORKER else None
        try:
            self.crew.fork(post, generation, body, close=close, user=user)
        except OSError as error:
            log.error("cannot fork %s %d: %s; trying again in a second", post.role, post.lane, error.strerror)
            post.due_ns = time.monotonic_ns() + 1_000_000_000

    def _private_filenos(self) -> set[int]:
        """Descriptors that are the supervisor's alone."""
        assert isinstance(self.selector, selectors.EpollSelector)
        return {self.selector.fileno(), self.lock.fd, *self.signal_fds} | self.wire.filenos()

    def on_told(self, _child: Child) -> None:
        """A child serves: perhaps it was the last one somebody waits for."""
        self.reloads.change_when_ready()
        self.announce_when_ready()

    def on_death(self, child: Child, code: int) -> None:
        """Decide what a death means: nothing, a vacant post, a failed reload, or a failed start."""
        # One that crashed by itself before it ever served broke nothing off: the stop was still a clean one.
        counts = child.was_ready or code == -signal.SIGKILL
        if self.stopping and counts and code not in (Exit.DRAINED, -signal.SIGTERM):
            self.killed = True
        post = self.reloads.post_of(child)
        if post is None or self.stopping:
            return
        told = child.told[1:].decode(errors="replace")
        reason = told or f"{child} ended before it could serve (exit code {code})"
        incoming = self.reloads.incoming
        if incoming is not None and post in incoming.posts and not child.was_ready:
            self.reloads.fail(reason)
            return
        if code == Exit.COULD_NOT_BOOT and not self.announced:
            self.failure = BootError(reason)
            self.stop()
            return
        if told:
            log.error("%s", told)
        post.vacate(child, time.monotonic_ns())
        self.announce_when_ready()

    def announce_when_ready(self) -> None:
        """Say once that every worker accepts, and the control process answers or has failed to."""
        control = self.control.child
        tried = self.control.quick_deaths > 0 or (control is not None and control.was_ready)
        if not self.announced and not self.stopping and self.reloads.serving.is_ready and tried:
            self.announced = True
            self.announce(self.status())

    # --- stop --------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Let no new connection in, drain everyone; the loop ends with the last child."""
        self.stopping = True
        self.stopping_ns = time.monotonic_ns()
        self.reloads.stop()
        self.estate.sockets.close()
        for child in self.crew:
            self.crew.drain(child, self.reloads.serving.settings.worker.drain_timeout_s)

    # --- verbs -------------------------------------------------------------------------------------

    def verb_ping(self, _message: Answer, reply: Reply) -> None:
        """Answer with our pid."""
        reply({"ok": True, "pid": os.getpid()})

    def verb_audit(self, _message: Answer, reply: Reply) -> None:
        """Faults found in the segment; exact only while nobody works on it."""
        reply({"ok": True, "faults": self.estate.named.segment.audit()})

    def verb_status(self, _message: Answer, reply: Reply) -> None:
        """Answer with `status`."""
        reply({"ok": True, **self.status()})

    def verb_reload(self, _message: Answer, reply: Reply) -> None:
        """Reload; the answer comes when the new generation serves, or has failed to."""
        if self.stopping:
            reply(stopping())
        else:
            self.reloads.requests.append(reply)

    def verb_renew(self, _message: Answer, reply: Reply) -> None:
        """Serve with the certificates on disk; the answer comes as a reload's does."""
        if self.stopping:
            reply(stopping())
        else:
            self.reloads.renewals.append(reply)

    def verb_refresh(self, message: Answer, reply: Reply) -> None:
        """Serve with the access lists on disk; the answer comes as a reload's does."""
        self.reloads.are_lists_old = True
        self.verb_renew(message, reply)

    def verb_rotate(self, _message: Answer, reply: Reply) -> None:
        """Seal session tickets with a new key from now on."""
        self.estate.contexts.tickets.turn(time.monotonic_ns())
        reply({"ok": True})

    def verb_stop(self, _message: Answer, reply: Reply) -> None:
        """Begin to stop; the answer comes at once, the connection ends with the supervisor."""
        reply({"ok": True, "pid": os.getpid()})
        if not self.stopping:
            self.stop()

    def status(self) -> Answer:
        """What runs, as plain data."""
        now_ns = time.monotonic_ns()
        return {
            "pid": os.getpid(),
            "version": VERSION,
            "state": "stopping" if self.stopping else "running" if self.announced else "starting",
            "uptime_s": (now_ns - self.started_ns) / 1e9,
            "reloading": self.reloads.is_under_way,
            **serving_status(self.reloads.serving),
            "workers": worker_statuses(self.reloads.serving, self.crew, now_ns),
            **control_status(self.control),
            **cache_status(self.estate.named),
        }


def _wake(_number: int, _frame: object) -> None:
    """Nothing: the wakeup descriptor has told the loop already."""


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _default_worker_main() -> Callable[[WorkerStart], int]:
    # Imported before the first fork, so that all workers share the code's memory and start quickly.
    from worker.run import main

    return main


def _default_control_main() -> Callable[[ControlStart], int]:
    from cluster.control import run

    return run
