"""Reloads: which generation serves, which one comes, and who waits to hear how that went.

A wish (a reload, or the certificates and lists on disk) waits until nothing else is under way. The generation
it asks for is built whole before anything changes; whatever goes wrong on the way, the running one goes on.
"""

import dataclasses
import logging
from collections.abc import Callable
from functools import partial

import setproctitle

from cluster.crew import Crew
from cluster.errors import BootError
from cluster.estate import Body, Estate
from cluster.generation import Generation, Post
from cluster.judges import compile_judges, waf_settings
from cluster.process import Child, Exit, Role, State
from cluster.segment import too_large_objects
from cluster.settings import ClusterSettings
from cluster.wire import Answer, Reply

log = logging.getLogger("edgecluster.supervisor")

SETTLE_NS = 1_000_000_000  # handshakes under way when a lane is closed to new ones
LEAVE_NS = 10_000_000_000  # at most, until a leaving lane's queue is empty

COMPILE_NS = 600_000_000_000  # a set of the Core Rule Set takes seconds

Load = Callable[[], ClusterSettings]
Fork = Callable[[Post, int, Body], None]


class Reloads:
    """The generations of one cluster, from the first to the last."""

    def __init__(
        self, estate: Estate, crew: Crew, control: Post, first: Generation, load: Load, fork: Fork
    ) -> None:
        """`load` gives the settings for a reload and may raise; `fork(post, generation, body)` fills a post.

        The post `control` is emptied whenever other settings are to be lived by.
        """
        self.estate = estate
        self.crew = crew
        self.control = control
        self.load = load
        self.fork = fork
        self.compiler = Post(Role.COMPILER, -1)
        self.serving = first
        self.loaded: ClusterSettings | None = None  # these wait for the compiler, or for places
        self.incoming: Generation | None = None  # being brought up
        self.requests: list[Reply] = []  # for a reload that has not begun
        self.renewals: list[Reply] = []  # for the certificates on disk to be served
        self.are_lists_old = False  # somebody has said that the files of the access lists have changed
        self.replies: list[Reply] = []  # for the reload under way
        self.notes: list[str] = []
        self.settled = True  # no lane is coming or going

    @property
    def is_under_way(self) -> bool:
        return self.incoming is not None or self.loaded is not None

    def generations(self) -> list[Generation]:
        """Those whose posts are to be filled."""
        return [self.serving] if self.incoming is None else [self.serving, self.incoming]

    def post_of(self, child: Child) -> Post | None:
        """The post that `child` fills; None when its generation has been replaced."""
        posts = [post for generation in self.generations() for post in generation.posts]
        posts += [self.control, self.compiler]
        return next((post for post in posts if post.child is child), None)

    def tick(self, now_ns: int, *, may_begin: bool) -> None:
        """Take the next step of what is under way; with `may_begin`, begin what is wished for."""
        self._settle(now_ns)
        if self.loaded is not None:
            if self.compiler.child is None:
                self._go_on(self._bring_up)
        elif self.incoming is None and may_begin and not self._leaving():
            if self.requests:
                self.replies, self.requests = self.requests, []
                self._begin(self._load)
            elif self.renewals:
                self.replies, self.renewals = self.renewals, []
                self._begin(self._renew)

    def change_when_ready(self) -> None:
        """A child serves: once all of the new generation do, they take over and the old one drains."""
        if self.incoming is not None and self.incoming.is_ready:
            self._change(self.serving, self.incoming)

    def fail(self, reason: str) -> None:
        """The running generation goes on; what was built for the new one is undone."""
        self.loaded = None
        log.error("reload failed, generation %d goes on: %s", self.serving.number, reason)
        settings = self.serving.settings
        if self.incoming is not None:
            for child in self.incoming.children():
                # Even one that has not said so yet may have accepted a connection: never a bare kill.
                self.crew.drain(child, settings.worker.drain_timeout_s)
        self.incoming = None
        self.estate.keep_sockets(settings)
        self._answer({"ok": False, "error": reason, "generation": self.serving.number, "notes": []})

    def stop(self) -> None:
        """Nothing new comes any more: what was coming drains with the rest."""
        self.replies += self.requests + self.renewals
        self.requests, self.renewals = [], []
        self.loaded = self.incoming = None
        if self.replies:
            self._answer(stopping())

    # --- one reload --------------------------------------------------------------------------------

    def _begin(self, step: Callable[[], None]) -> None:
        self.notes = []
        self._go_on(step)

    def _go_on(self, step: Callable[[], None]) -> None:
        """Take a step of the reload; whatever it trips over must not end the running generation."""
        try:
            step()
        except BootError as error:
            self.fail(str(error))
        except Exception as error:
            log.exception("the new settings could not be loaded")
            self.fail(f"the new settings could not be loaded: {error!r}")

    def _load(self) -> None:
        """Begin with fresh settings."""
        self._compile(self._what_may_change(self.load()))

    def _renew(self) -> None:
        """Begin with the settings in force, if what lies on disk for them has changed."""
        running = self.serving
        if not self.are_lists_old and self.estate.contexts.of(running.settings) is running.means.context:
            self._answer({"ok": True, "error": "", "generation": running.number, "notes": []})
            return
        self._compile(running.settings)

    def _compile(self, settings: ClusterSettings) -> None:
        """Have another process compile the WAF's patterns: this one must watch over the workers meanwhile.

        Should that process fail, they are compiled when the generation is built.
        """
        self.loaded = settings
        if waf_settings(settings.worker):
            self.fork(self.compiler, self.serving.number + 1, partial(_compile, settings))
        if self.compiler.child is not None:
            self.crew.enter(self.compiler.child, State.WORKING, COMPILE_NS)
        else:
            self._bring_up()

    def _bring_up(self) -> None:
        """Begin the generation of the settings that were loaded, if the segment has places for it.

        Workers that drain keep theirs for as long as `drain_timeout` lets them, reload after reload. Where
        they leave no room, the oldest are ended early: what they still serve is worth less than the change.
        """
        settings = self.loaded
        assert settings is not None
        missing = settings.workers - len(self.crew.places)
        if missing > 0:
            self._make_room(missing)  # asked again by the next tick
            return
        self.incoming = self._next_generation(settings)
        self.loaded = None

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
        now = self.serving.settings
        if (words := too_large_objects(settings)) is not None:
            self.notes.append(words)
        means = self.estate.means(settings)
        self.are_lists_old = False
        # Nobody accepts on the new lanes yet, and nobody will if the reload fails.
        self.settled = False
        self.estate.sockets.steer(now.workers)
        self.estate.open_sockets(settings, max(now.workers, settings.workers))
        return Generation(self.serving.number + 1, settings, self.estate.bound(settings), means)

    def _what_may_change(self, settings: ClusterSettings) -> ClusterSettings:
        """`settings` with what must stay as it is; told in the notes. Raises BootError if it cannot be so."""
        now = self.serving.settings
        if settings.state_dir.resolve() != now.state_dir.resolve():
            raise BootError("the state directory cannot change while the edge runs: stop and start it")
        if settings.cache_bytes != now.cache_bytes:
            self.notes.append(f"the cache keeps its {now.cache_bytes} bytes: a new size needs a restart")
            settings = dataclasses.replace(settings, cache_bytes=now.cache_bytes)
        if settings.user != now.user:
            self.notes.append("the workers' user stays as it is: a change needs a restart")
            settings = dataclasses.replace(settings, user=now.user)
        return settings

    def _change(self, old: Generation, new: Generation) -> None:
        self.serving, self.incoming = new, None
        self.estate.sockets.keep(new.settings.worker.listeners)
        self.estate.sockets.steer(new.settings.workers)
        for post in new.posts:
            self.estate.let_read(new, post)
        for child in old.children():
            if child.lane >= new.settings.workers and child.state is State.READY:
                self.crew.enter(child, State.LEAVING)
            else:
                self.crew.drain(child, old.settings.worker.drain_timeout_s)
        if new.settings is not old.settings:
            self._replace_control(new.settings)
        log.info("generation %d serves with %d workers", new.number, new.settings.workers)
        self._answer({"ok": True, "error": "", "generation": new.number, "notes": self.notes})

    def _replace_control(self, settings: ClusterSettings) -> None:
        self.estate.keep_admin(settings)
        if self.control.child is not None:
            self.crew.drain(self.control.child, settings.worker.drain_timeout_s)

    def _answer(self, answer: Answer) -> None:
        for note in answer["notes"]:
            log.warning("reload: %s", note)
        for reply in self.replies:
            reply(answer)
        self.replies = []

    # --- lanes that go -----------------------------------------------------------------------------

    def _leaving(self) -> list[Child]:
        return [child for child in self.crew if child.state is State.LEAVING]

    def _settle(self, now_ns: int) -> None:
        """Drain the workers of leaving lanes once their queues are empty; then close those lanes.

        Connections are steered away from them, and their UDP sockets kept in place, until all workers of
        other generations are gone.
        """
        if self.settled or self.incoming is not None:
            return
        settings, sockets = self.serving.settings, self.estate.sockets
        for child in self._leaving():
            waited_ns = now_ns - child.since_ns
            empty = waited_ns >= SETTLE_NS and not sockets.queued(child.lane)
            if empty or waited_ns >= LEAVE_NS:
                self.crew.drain(child, settings.worker.drain_timeout_s)
        if not self._leaving():
            sockets.shrink(settings.workers)
        if all(self.post_of(child) is not None for child in self.crew.workers()):
            sockets.release()
            sockets.prune(settings.worker.listeners, settings.workers, http3=settings.worker.http3)
            self.settled = True


def _compile(settings: ClusterSettings, _member: int, _ready: int) -> int:
    setproctitle.setproctitle("edgecluster: compiler")
    compile_judges(settings)
    return Exit.DRAINED


def stopping() -> Answer:
    """What who wants a reload hears once the edge stops."""
    return {"ok": False, "error": "the edge is stopping", "generation": 0, "notes": []}
