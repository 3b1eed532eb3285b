"""The supervisor: owns what must outlive a worker, keeps every post filled, changes generations.

One thread, no event loop, no HTTP: a selector over the signals' wakeup socket, the control socket and the
children's readiness pipes. A signal handler only wakes the loop, which finds `handle_<signal>` and acts.
"""

import contextlib
import dataclasses
import logging
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import setproctitle

from cluster.contexts import Contexts
from cluster.crew import Crew, count_closed
from cluster.errors import BootError
from cluster.generation import SUPERVISOR_PLACE, Generation, Post
from cluster.geo import open_geo
from cluster.inboxes import Inboxes
from cluster.judges import open_judges, waf_words
from cluster.leaks import compile_leaks
from cluster.lists import open_lists
from cluster.lock import InstanceLock, admin_socket, supervisor_socket
from cluster.process import Child, ControlStart, Exit, Role, State, User
from cluster.segment import NamedSegment, end_tenants, too_large_objects
from cluster.settings import ClusterSettings
from cluster.sockets import Sockets
from cluster.trusted import trusted_hosts
from cluster.version import VERSION
from cluster.wire import Answer, Reply, WireServer
from worker.networks import SharedNetworks
from worker.security.bans import MAX_BANS
from worker.security.waf.counts import RuleCounts
from worker.settings import ListenerSettings
from worker.start import Http3Start, Listening, WorkerStart

log = logging.getLogger("edgecluster.supervisor")

PAUSE_S = 0.2  # longest sleep of the loop
ASLEEP_NS = 2_000_000_000  # a longer gap means that we were stopped, and so perhaps was everyone
SETTLE_NS = 1_000_000_000  # handshakes under way when a lane is closed to new ones
LEAVE_NS = 10_000_000_000  # at most, until a leaving lane's queue is empty
ONCE_NS = 500_000_000  # a terminal or a wrapper may send one wish twice
QUIC_SECRET_BYTES = 32  # Retry and stateless reset tokens of one worker are read by another
PORT_PATIENCE_S = 3.0  # for the workers of a dead supervisor to let go of the port

Load = Callable[[], ClusterSettings]
Announce = Callable[[Answer], None]


def ready_line(status: Answer) -> str:
    """The one line a start ends with: addresses, workers, cache size, config."""
    parts = [
        f"ready {' '.join(status['listeners'])}",
        f"workers {len(status['workers'])}",
        f"cache {status['cache_bytes'] / 1024**2:g} MiB",
        f"config {status['config_path'] or 'none (flags only)'}",
    ]
    if status["waf"]:
        parts.append(status["waf"])
    if status["admin"]:
        parts.insert(1, f"admin {status['admin']}")
    if status["http3"]:
        parts.insert(1, f"http/3 by udp {' '.join(status['http3'])}")
    return " | ".join(parts)


def print_ready(status: Answer) -> None:
    """Print the ready line; a reader that has left is no reason not to serve."""
    with contextlib.suppress(OSError):
        sys.stdout.write(ready_line(status) + "\n")
        sys.stdout.flush()


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
        self.worker_main = worker_main or _default_worker_main()
        self.control_main = control_main or _default_control_main()
        self.started_ns = time.monotonic_ns()
        self.selector = selectors.DefaultSelector()
        self.sockets = Sockets()
        self.admin = Sockets()
        self.contexts = Contexts()
        self.bans = SharedNetworks(MAX_BANS)
        self.rule_counts = RuleCounts()
        self.inboxes = Inboxes()
        self.quic_secret = os.urandom(QUIC_SECRET_BYTES)
        self.control = Post(Role.CONTROL, -1)
        self.incoming: Generation | None = None  # being brought up by a reload
        self.awaiting_room: ClusterSettings | None = None  # of a reload whose workers have no places yet
        self.reload_requests: list[Reply] = []  # for a reload that has not begun
        self.reload_replies: list[Reply] = []  # of the reload under way
        self.reload_notes: list[str] = []
        self.renewals: list[Reply] = []  # who asks for the certificates on disk to be served
        self.are_lists_old = False  # somebody has said that the files of the access lists have changed
        self.announced = False
        self.stopping = False
        self.stopping_ns = 0
        self.settled = True  # no lane is coming or going
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
        stack.callback(self.sockets.close)
        stack.callback(self.admin.close)
        patience_s = PORT_PATIENCE_S if self.lock.left_behind else 0.0
        stack.callback(self.inboxes.close)
        self._open_sockets(settings, settings.workers, patience_s)
        if settings.admin is not None:
            self.admin.open((settings.admin,), 1, patience_s=patience_s)
        context, geo = self.contexts.of(settings), open_geo(settings.worker.geo)
        lists = open_lists(settings.worker)
        judges = open_judges(settings, self.rule_counts)
        compile_leaks(settings.worker)
        if (words := too_large_objects(settings)) is not None:
            log.warning("%s", words)
        self.named = NamedSegment(settings.state_dir, settings.cache_bytes, drop=_why_drop(settings))
        stack.callback(self._close_segment)
        self.named.segment.join(SUPERVISOR_PLACE, time.monotonic_ns())
        count_closed(self.named.segment, self.named.segment.statistics.totals())
        self.cores = sorted(os.sched_getaffinity(0))
        self.crew = Crew(self.named.segment, self.selector, self.on_told)
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
        self.generation = Generation(
            1, settings, self._bound(settings), context, geo, lists, judges, self.contexts.pairs
        )

    def _open_sockets(self, settings: ClusterSettings, lanes: int, patience_s: float = 0.0) -> None:
        """What `settings` need of sockets for the workers. Raises BootError."""
        worker = settings.worker
        self.sockets.open(worker.listeners, lanes, patience_s=patience_s, http3=worker.http3)
        if _http3_listeners(settings):
            self.inboxes.open()

    def _close_segment(self) -> None:
        """Remove the segment, unless we were told to stop and to keep it for the next start."""
        stopped = self.stopping and self.failure is None
        self.named.close(keep=stopped and self.generation.settings.keep_cache_on_stop)

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
        timeout_ns = int(self.generation.settings.heartbeat_timeout_s * 1e9)
        self.crew.watch(now_ns, self.awake_since_ns, timeout_ns)
        if self.stopping:
            return
        self.contexts.tickets.turn_if_due(now_ns, self.generation.settings.ticket_rotation_s)
        self.fill_posts(now_ns)
        self.settle(now_ns)
        if self.awaiting_room is not None:
            self.go_on_reloading(self.bring_up)
        elif self.incoming is None and self.announced and not self.leaving():
            if self.reload_requests:
                self.begin_reload()
            elif self.renewals:
                self.begin_renewal()

    def fill_posts(self, now_ns: int) -> None:
        """Fork a process into every vacant post that is due."""
        generations = [self.generation] if self.incoming is None else [self.generation, self.incoming]
        for generation in generations:
            for post in generation.posts:
                if post.child is None and now_ns >= post.due_ns:
                    self._fork(post, generation)
        if self.control.child is None and now_ns >= self.control.due_ns:
            self._fork(self.control, self.generation)

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
        self.reload_requests.append(lambda _answer: None)

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

    def _fork(self, post: Post, generation: Generation) -> None:
        body, close = (
            self._control_body(generation)
            if post.role is Role.CONTROL
            else self._worker_body(generation, post.lane)
        )
        try:
            self.crew.fork(
                post,
                generation.number,
                body,
                close=close,
                user=self.user if post.role is Role.WORKER else None,
            )
            if generation is self.generation:
                self._let_read(generation, post)
        except OSError as error:
            log.error("cannot fork %s %d: %s; trying again in a second", post.role, post.lane, error.strerror)
            post.due_ns = time.monotonic_ns() + 1_000_000_000

    def _let_read(self, generation: Generation, post: Post) -> None:
        """The datagrams of that lane are for that worker to read from now on."""
        if post.child is not None and post.role is Role.WORKER:
            for listener in _http3_listeners(generation.settings):
                self.sockets.read_by(listener, post.lane, post.child.member)

    def _worker_body(self, generation: Generation, lane: int) -> tuple[Callable[[int, int], int], set[int]]:
        """What a worker runs, and which descriptors are none of its business."""
        settings = generation.bound.worker
        by_udp = _http3_listeners(generation.settings)
        listening = tuple(
            Listening(
                listener,
                self.sockets.of(asked, lane),
                generation.context if asked.scheme == "https" else None,
                self.sockets.udp(asked, lane) if asked in by_udp else None,
            )
            for asked, listener in zip(generation.settings.worker.listeners, settings.listeners, strict=True)
        )
        pinned = generation.settings.pin_cores and generation.settings.workers <= len(self.cores)

        def body(member: int, ready: int) -> int:
            http3 = None
            if by_udp:
                inbox = self.inboxes.take(member)
                http3 = Http3Start(self.quic_secret, generation.certificates, inbox, self.inboxes.writing)
            return self.worker_main(
                WorkerStart(
                    settings=settings,
                    segment=self.named.segment,
                    member=member,
                    lane=lane,
                    listening=listening,
                    doorbell=self.named.doorbells[member],
                    ready=ready,
                    core=self.cores[lane] if pinned else None,
                    geo=generation.geo,
                    lists=generation.lists,
                    bans=self.bans,
                    judges=generation.judges,
                    count_rule=self.rule_counts.of(member),
                    http3=http3,
                )
            )

        own = {listener.socket.fileno() for listener in listening}
        own |= {listener.udp.socket.fileno() for listener in listening if listener.udp is not None}
        if by_udp:
            own |= self.inboxes.filenos()  # of which it closes the others' itself
        return body, self._filenos() - own

    def _control_body(self, generation: Generation) -> tuple[Callable[[int, int], int], set[int]]:
        settings = generation.bound
        admin = generation.settings.admin
        listener = None if admin is None else self.admin.of(admin, 0)

        def body(member: int, ready: int) -> int:
            setproctitle.setproctitle("edgecluster: control")
            return self.control_main(
                ControlStart(
                    settings=settings,
                    segment=self.named.segment,
                    member=member,
                    supervisor_socket=supervisor_socket(settings.state_dir),
                    admin_socket=admin_socket(settings.state_dir),
                    admin_listener=listener,
                    ready=ready,
                    bans=self.bans,
                    rule_counts=self.rule_counts,
                )
            )

        own = set() if listener is None else {listener.fileno()}
        return body, self._filenos() - own

    def _filenos(self) -> set[int]:
        """Every descriptor of ours that not all children may have."""
        shared = self.sockets.filenos() | self.admin.filenos() | self.inboxes.filenos()
        return self._private_filenos() | shared

    def _private_filenos(self) -> set[int]:
        """Descriptors that are the supervisor's alone."""
        assert isinstance(self.selector, selectors.EpollSelector)
        return {self.selector.fileno(), self.lock.fd, *self.signal_fds} | self.wire.filenos()

    def _bound(self, settings: ClusterSettings) -> ClusterSettings:
        """`settings` with the ports really bound, and the hosts whose certificates are trusted by now."""
        listeners = tuple(self.sockets.bound(listener) for listener in settings.worker.listeners)
        admin = None if settings.admin is None else self.admin.bound(settings.admin)
        return dataclasses.replace(
            settings,
            admin=admin,
            worker=dataclasses.replace(
                settings.worker, listeners=listeners, trusted_hosts=trusted_hosts(settings)
            ),
        )

    def on_told(self, _child: Child) -> None:
        """A child serves: perhaps it was the last one somebody waits for."""
        if self.incoming is not None and self.incoming.is_ready:
            self.change_generation()
        self.announce_when_ready()

    def on_death(self, child: Child, code: int) -> None:
        """Decide what a death means: nothing, a vacant post, a failed reload, or a failed start."""
        # One that crashed by itself before it ever served broke nothing off: the stop was still a clean one.
        counts = child.was_ready or code == -signal.SIGKILL
        if self.stopping and counts and code not in (Exit.DRAINED, -signal.SIGTERM):
            self.killed = True
        post = self._post_of(child)
        if post is None or self.stopping:
            return
        told = child.told[1:].decode(errors="replace")
        reason = told or f"{child} ended before it could serve (exit code {code})"
        if self.incoming is not None and post in self.incoming.posts and not child.was_ready:
            self.fail_reload(reason)
            return
        if code == Exit.COULD_NOT_BOOT and not self.announced:
            self.failure = BootError(reason)
            self.stop()
            return
        if told:
            log.error("%s", told)
        post.vacate(child, time.monotonic_ns())
        self.announce_when_ready()

    def _post_of(self, child: Child) -> Post | None:
        """The post that `child` fills; None when its generation has been replaced."""
        posts = [self.control, *self.generation.posts]
        if self.incoming is not None:
            posts += self.incoming.posts
        return next((post for post in posts if post.child is child), None)

    def announce_when_ready(self) -> None:
        """Say once that every worker accepts, and the control process answers or has failed to."""
        control = self.control.child
        tried = self.control.quick_deaths > 0 or (control is not None and control.was_ready)
        if not self.announced and not self.stopping and self.generation.is_ready and tried:
            self.announced = True
            self.announce(self.status())

    # --- reload ------------------------------------------------------------------------------------

    def begin_reload(self) -> None:
        """Build the next generation from fresh settings and fork it beside the running one."""
        self.reload_replies, self.reload_requests = self.reload_requests, []
        self.reload_notes = []
        self.go_on_reloading(self._load)

    def go_on_reloading(self, step: Callable[[], None]) -> None:
        """Take a step of the reload; whatever it trips over must not end the running generation."""
        try:
            step()
        except BootError as error:
            self.fail_reload(str(error))
        except Exception as error:
            log.exception("the new settings could not be loaded")
            self.fail_reload(f"the new settings could not be loaded: {error!r}")

    def _load(self) -> None:
        self.awaiting_room = self.load()
        self.bring_up()

    def begin_renewal(self) -> None:
        """Serve with the certificates that lie on disk now, by a new generation of the settings in force."""
        self.reload_replies, self.renewals = self.renewals, []
        self.reload_notes = []
        self.go_on_reloading(self._renew)

    def _renew(self) -> None:
        running = self.generation
        if not self.are_lists_old and self.contexts.of(running.settings) is running.context:
            self._answer_reload({"ok": True, "error": "", "generation": running.number, "notes": []})
            return
        self.awaiting_room = running.settings
        self.bring_up()

    def bring_up(self) -> None:
        """Begin the generation of the settings that were loaded, if the segment has places for it.

        Workers that drain keep theirs for as long as `drain_timeout` lets them, reload after reload. Where
        they leave no room, the oldest are ended early: what they still serve is worth less than the change.
        """
        settings = self.awaiting_room
        assert settings is not None
        missing = settings.workers - len(self.crew.places)
        if missing > 0:
            self._make_room(missing)  # asked again by the next tick
            return
        self.incoming = self._next_generation(settings)
        self.awaiting_room = None

    def _make_room(self, missing: int) -> None:
        """End drains until `missing` workers, the oldest, are on their way out."""
        draining = [child for child in self.crew.workers() if child.state is State.DRAINING]
        draining.sort(key=lambda child: (child.generation, child.lane))
        missing -= sum(child.is_hurried for child in draining)
        for child in [child for child in draining if not child.is_hurried][: max(0, missing)]:
            log.warning(
                "%s of generation %d (pid %d) must end its drain early: the new generation needs its place",
                child, child.generation, child.pid,
            )  # fmt: skip
            self.crew.hurry(child)

    def _next_generation(self, settings: ClusterSettings) -> Generation:
        now = self.generation.settings
        if settings.state_dir.resolve() != now.state_dir.resolve():
            raise BootError("the state directory cannot change while the edge runs: stop and start it")
        if settings.cache_bytes != now.cache_bytes:
            self.reload_notes.append(
                f"the cache keeps its {now.cache_bytes} bytes: a new size needs a restart"
            )
            settings = dataclasses.replace(settings, cache_bytes=now.cache_bytes)
        if settings.user != now.user:
            self.reload_notes.append("the workers' user stays as it is: a change needs a restart")
            settings = dataclasses.replace(settings, user=now.user)
        if (words := too_large_objects(settings)) is not None:
            self.reload_notes.append(words)
        context, geo = self.contexts.of(settings), open_geo(settings.worker.geo)
        lists = open_lists(settings.worker)
        judges = open_judges(settings, self.rule_counts)
        compile_leaks(settings.worker)
        self.are_lists_old = False
        # Nobody accepts on the new lanes yet, and nobody will if the reload fails.
        self.settled = False
        self.sockets.steer(now.workers)
        self._open_sockets(settings, max(now.workers, settings.workers))
        if settings.admin is not None:
            self.admin.open((settings.admin,), 1)
        return Generation(
            self.generation.number + 1,
            settings,
            self._bound(settings),
            context,
            geo,
            lists,
            judges,
            self.contexts.pairs,
        )

    def change_generation(self) -> None:
        """All of the new generation serve: they are the generation now, the old one drains."""
        old, new = self.generation, self.incoming
        assert new is not None
        self.generation, self.incoming = new, None
        self.sockets.keep(new.settings.worker.listeners)
        self.sockets.steer(new.settings.workers)
        for post in new.posts:
            self._let_read(new, post)
        for child in old.children():
            if child.lane >= new.settings.workers and child.state is State.READY:
                self.crew.enter(child, State.LEAVING)
            else:
                self.crew.drain(child, old.settings.worker.drain_timeout_s)
        if new.settings is not old.settings:
            self._replace_control(new)
        log.info("generation %d serves with %d workers", new.number, new.settings.workers)
        self._answer_reload({"ok": True, "error": "", "generation": new.number, "notes": self.reload_notes})

    def _replace_control(self, new: Generation) -> None:
        self.admin.keep(() if new.settings.admin is None else (new.settings.admin,))
        if self.control.child is not None:
            self.crew.drain(self.control.child, new.settings.worker.drain_timeout_s)

    def fail_reload(self, reason: str) -> None:
        """The running generation goes on; what was built for the new one is undone."""
        self.awaiting_room = None
        log.error("reload failed, generation %d goes on: %s", self.generation.number, reason)
        if self.incoming is not None:
            for child in self.incoming.children():
                # Even one that has not said so yet may have accepted a connection: never a bare kill.
                self.crew.drain(child, self.generation.settings.worker.drain_timeout_s)
        self.incoming = None
        settings = self.generation.settings
        self.sockets.keep(settings.worker.listeners)
        self.admin.keep(() if settings.admin is None else (settings.admin,))
        self._answer_reload({"ok": False, "error": reason, "generation": self.generation.number, "notes": []})

    def _answer_reload(self, answer: Answer) -> None:
        for note in answer["notes"]:
            log.warning("reload: %s", note)
        for reply in self.reload_replies:
            reply(answer)
        self.reload_replies = []

    def leaving(self) -> list[Child]:
        return [child for child in self.crew if child.state is State.LEAVING]

    def settle(self, now_ns: int) -> None:
        """Drain the workers of leaving lanes once their queues are empty; then close those lanes.

        Connections are steered away from them, and their UDP sockets kept in place, until all workers of
        other generations are gone.
        """
        if self.settled or self.incoming is not None:
            return
        for child in self.leaving():
            waited_ns = now_ns - child.since_ns
            empty = waited_ns >= SETTLE_NS and not self.sockets.queued(child.lane)
            if empty or waited_ns >= LEAVE_NS:
                self.crew.drain(child, self.generation.settings.worker.drain_timeout_s)
        settings = self.generation.settings
        if not self.leaving():
            self.sockets.shrink(settings.workers)
        if all(self._post_of(child) is not None for child in self.crew.workers()):
            self.sockets.release()
            self.sockets.prune(settings.worker.listeners, settings.workers, http3=settings.worker.http3)
            self.settled = True

    # --- stop --------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Let no new connection in, drain everyone; the loop ends with the last child."""
        self.stopping = True
        self.stopping_ns = time.monotonic_ns()
        self.reload_replies += self.reload_requests + self.renewals
        self.reload_requests, self.renewals = [], []
        self.awaiting_room = self.incoming = None  # what was coming drains with the rest
        if self.reload_replies:
            self._answer_reload({"ok": False, "error": "the edge is stopping", "generation": 0, "notes": []})
        self.sockets.close()
        timeout_s = self.generation.settings.worker.drain_timeout_s
        for child in self.crew:
            self.crew.drain(child, timeout_s)

    # --- verbs -------------------------------------------------------------------------------------

    def verb_ping(self, _message: Answer, reply: Reply) -> None:
        """Answer with our pid."""
        reply({"ok": True, "pid": os.getpid()})

    def verb_audit(self, _message: Answer, reply: Reply) -> None:
        """Faults found in the segment; exact only while nobody works on it."""
        reply({"ok": True, "faults": self.named.segment.audit()})

    def verb_status(self, _message: Answer, reply: Reply) -> None:
        """Answer with `status`."""
        reply({"ok": True, **self.status()})

    def verb_reload(self, _message: Answer, reply: Reply) -> None:
        """Reload; the answer comes when the new generation serves, or has failed to."""
        if self.stopping:
            reply({"ok": False, "error": "the edge is stopping", "generation": 0, "notes": []})
        else:
            self.reload_requests.append(reply)

    def verb_renew(self, _message: Answer, reply: Reply) -> None:
        """Serve with the certificates on disk; the answer comes as a reload's does."""
        if self.stopping:
            reply({"ok": False, "error": "the edge is stopping", "generation": 0, "notes": []})
        else:
            self.renewals.append(reply)

    def verb_refresh(self, message: Answer, reply: Reply) -> None:
        """Serve with the access lists on disk; the answer comes as a reload's does."""
        self.are_lists_old = True
        self.verb_renew(message, reply)

    def verb_rotate(self, _message: Answer, reply: Reply) -> None:
        """Seal session tickets with a new key from now on."""
        self.contexts.tickets.turn(time.monotonic_ns())
        reply({"ok": True})

    def verb_stop(self, _message: Answer, reply: Reply) -> None:
        """Begin to stop; the answer comes at once, the connection ends with the supervisor."""
        reply({"ok": True, "pid": os.getpid()})
        if not self.stopping:
            self.stop()

    def status(self) -> Answer:
        """What runs, as plain data."""
        now_ns = time.monotonic_ns()
        settings = self.generation.settings
        bound = self.generation.bound
        control = self.control.child
        posts = {id(post.child): post for post in self.generation.posts if post.child is not None}
        workers = [self._worker_status(child, posts.get(id(child)), now_ns) for child in self.crew.workers()]
        vacant = [
            {"lane": post.lane, "member": -1, "pid": 0, "state": "down", "generation": self.generation.number,
             "restarts": post.restarts, "uptime_s": 0.0, "heartbeat_age_s": 0.0}
            for post in self.generation.posts if post.child is None
        ]  # fmt: skip
        return {
            "pid": os.getpid(),
            "version": VERSION,
            "state": "stopping" if self.stopping else "running" if self.announced else "starting",
            "uptime_s": (now_ns - self.started_ns) / 1e9,
            "generation": self.generation.number,
            "reloading": self.incoming is not None or self.awaiting_room is not None,
            "listeners": [listener.url for listener in bound.worker.listeners],
            "http3": [_udp_address(listener) for listener in _http3_listeners(bound)],
            "waf": waf_words(settings.worker),
            "admin": bound.admin.url if bound.admin is not None else None,
            "workers": sorted(workers + vacant, key=lambda worker: (worker["generation"], worker["lane"])),
            "control_pid": control.pid if control is not None else None,
            "control_state": str(control.state) if control is not None else "down",
            "control_restarts": self.control.restarts,
            "config_path": str(settings.config_path) if settings.config_path is not None else None,
            "state_dir": str(settings.state_dir),
            "cache_bytes": settings.cache_bytes,
            "cache_start": "warm" if self.named.start.is_warm else "empty",
            "cache_start_reason": self.named.start.reason,
            "cache_objects_kept": self.named.start.objects,
            "cache_objects_damaged": self.named.start.damaged,
        }

    def _worker_status(self, child: Child, post: Post | None, now_ns: int) -> dict[str, Any]:
        heartbeat_ns = self.named.segment.member_info(child.member).heartbeat_ns or child.started_ns
        return {
            "lane": child.lane,
            "member": child.member,
            "pid": child.pid,
            "state": str(child.state),
            "generation": child.generation,
            "restarts": post.restarts if post is not None else 0,
            "uptime_s": (now_ns - child.started_ns) / 1e9,
            "heartbeat_age_s": max(0, now_ns - heartbeat_ns) / 1e9,
        }


def _http3_listeners(settings: ClusterSettings) -> list[ListenerSettings]:
    """Those that speak HTTP/3, by UDP on the same port."""
    worker = settings.worker
    return [listener for listener in worker.listeners if worker.http3 and listener.may_have_http3]


def _udp_address(listener: ListenerSettings) -> str:
    return listener.url.partition("://")[2]


def _wake(_number: int, _frame: object) -> None:
    """Nothing: the wakeup descriptor has told the loop already."""


def _why_drop(settings: ClusterSettings) -> str:
    """Why a cache that was left is not wanted; empty when it is."""
    if settings.drop_cache:
        return "--drop-cache asks for that"
    return "" if settings.keep_cache else "cache.keep is false"


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
