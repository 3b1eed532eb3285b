"""What outlives a worker, and what each child is given of it.

Listening sockets, TLS contexts, the shared segment, bans and counters: made before the first fork, inherited,
replaced only by a new generation. Who is forked and when is the supervisor's business.
"""

import contextlib
import dataclasses
import logging
import os
import time
from collections.abc import Callable

import setproctitle

from cluster.contexts import Contexts
from cluster.crew import count_closed
from cluster.generation import SUPERVISOR_PLACE, Generation, Means, Post
from cluster.geo import open_geo
from cluster.inboxes import Inboxes
from cluster.judges import open_judges
from cluster.leaks import compile_leaks
from cluster.lists import open_lists
from cluster.lock import admin_socket, supervisor_socket
from cluster.process import ControlStart, Role
from cluster.segment import NamedSegment, too_large_objects
from cluster.settings import ClusterSettings
from cluster.sockets import Sockets
from cluster.trusted import trusted_hosts
from worker.networks import SharedNetworks
from worker.security.bans import MAX_BANS
from worker.security.waf.counts import RuleCounts
from worker.settings import ListenerSettings
from worker.start import Http3Start, Listening, WorkerStart

log = logging.getLogger("edgecluster.supervisor")

QUIC_SECRET_BYTES = 32  # Retry and stateless reset tokens of one worker are read by another

Body = Callable[[int, int], int]  # what a child runs, given its member and its readiness pipe


class Estate:
    """Everything that the children of one cluster inherit."""

    def __init__(
        self, worker_main: Callable[[WorkerStart], int], control_main: Callable[[ControlStart], int]
    ) -> None:
        self.worker_main = worker_main
        self.control_main = control_main
        self.sockets = Sockets()
        self.admin = Sockets()
        self.contexts = Contexts()
        self.bans = SharedNetworks(MAX_BANS)
        self.rule_counts = RuleCounts()
        self.inboxes = Inboxes()
        self.quic_secret = os.urandom(QUIC_SECRET_BYTES)
        self.cores = sorted(os.sched_getaffinity(0))

    def open(self, settings: ClusterSettings, stack: contextlib.ExitStack, patience_s: float) -> Means:
        """Make all of it, for the first generation's workers; closed by `stack`, except for the segment.

        A port somebody else has is asked for again for `patience_s` seconds. Raises BootError.
        """
        stack.callback(self.sockets.close)
        stack.callback(self.admin.close)
        stack.callback(self.inboxes.close)
        self.open_sockets(settings, settings.workers, patience_s)
        means = self.means(settings)
        if (words := too_large_objects(settings)) is not None:
            log.warning("%s", words)
        self.named = NamedSegment(settings.state_dir, settings.cache_bytes, drop=_why_drop(settings))
        return means

    def join(self) -> None:
        """Become a member of the segment, in which all processes of an earlier supervisor are dead."""
        segment = self.named.segment
        segment.join(SUPERVISOR_PLACE, time.monotonic_ns())
        count_closed(segment, segment.statistics.totals())

    def open_sockets(self, settings: ClusterSettings, lanes: int, patience_s: float = 0.0) -> None:
        """What `settings` need of sockets for that many lanes, if not open yet. Raises BootError."""
        worker = settings.worker
        self.sockets.open(worker.listeners, lanes, patience_s=patience_s, http3=worker.http3)
        if http3_listeners(settings):
            self.inboxes.open()
        if settings.admin is not None:
            self.admin.open((settings.admin,), 1, patience_s=patience_s)

    def keep_sockets(self, settings: ClusterSettings) -> None:
        """Close the sockets of all addresses but those of `settings`."""
        self.sockets.keep(settings.worker.listeners)
        self.keep_admin(settings)

    def keep_admin(self, settings: ClusterSettings) -> None:
        self.admin.keep(() if settings.admin is None else (settings.admin,))

    def means(self, settings: ClusterSettings) -> Means:
        """What is made of files and rules for workers that live by `settings`. Raises BootError."""
        worker = settings.worker
        context = self.contexts.of(settings)
        geo, lists = open_geo(worker.geo), open_lists(worker)
        judges = open_judges(settings, self.rule_counts)
        compile_leaks(worker)
        return Means(context, geo, lists, judges, self.contexts.pairs)

    def bound(self, settings: ClusterSettings) -> ClusterSettings:
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

    def let_read(self, generation: Generation, post: Post) -> None:
        """The datagrams of that lane are for that worker to read from now on."""
        if post.child is not None and post.role is Role.WORKER:
            for listener in http3_listeners(generation.settings):
                self.sockets.read_by(listener, post.lane, post.child.member)

    def body(self, post: Post, generation: Generation) -> tuple[Body, set[int]]:
        """What a child in that post runs, and which shared descriptors it needs."""
        if post.role is Role.CONTROL:
            return self._control_body(generation)
        return self._worker_body(generation, post.lane)

    def _worker_body(self, generation: Generation, lane: int) -> tuple[Body, set[int]]:
        settings, means = generation.bound.worker, generation.means
        by_udp = http3_listeners(generation.settings)
        listening = tuple(
            Listening(
                listener,
                self.sockets.of(asked, lane),
                means.context if asked.scheme == "https" else None,
                self.sockets.udp(asked, lane) if asked in by_udp else None,
            )
            for asked, listener in zip(generation.settings.worker.listeners, settings.listeners, strict=True)
        )
        pinned = generation.settings.pin_cores and generation.settings.workers <= len(self.cores)

        def body(member: int, ready: int) -> int:
            http3 = None
            if by_udp:
                inbox = self.inboxes.take(member)
                http3 = Http3Start(self.quic_secret, means.certificates, inbox, self.inboxes.writing)
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
                    geo=means.geo,
                    lists=means.lists,
                    bans=self.bans,
                    judges=means.judges,
                    count_rule=self.rule_counts.of(member),
                    http3=http3,
                )
            )

        own = {listener.socket.fileno() for listener in listening}
        own |= {listener.udp.socket.fileno() for listener in listening if listener.udp is not None}
        if by_udp:
            own |= self.inboxes.filenos()  # of which it closes the others' itself
        return body, own

    def _control_body(self, generation: Generation) -> tuple[Body, set[int]]:
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
        return body, own

    def filenos(self) -> set[int]:
        """Every descriptor that not all children may have."""
        return self.sockets.filenos() | self.admin.filenos() | self.inboxes.filenos()


def http3_listeners(settings: ClusterSettings) -> list[ListenerSettings]:
    """Those that speak HTTP/3, by UDP on the same port."""
    worker = settings.worker
    return [listener for listener in worker.listeners if worker.http3 and listener.may_have_http3]


def _why_drop(settings: ClusterSettings) -> str:
    """Why a cache that was left is not wanted; empty when it is."""
    if settings.drop_cache:
        return "--drop-cache asks for that"
    return "" if settings.keep_cache else "cache.keep is false"
