"""What runs, as plain data and as the line a start ends with."""

import contextlib
import sys
from typing import Any

from cluster.crew import Crew
from cluster.estate import http3_listeners
from cluster.generation import Generation, Post
from cluster.judges import waf_words
from cluster.process import Child
from cluster.segment import NamedSegment
from cluster.wire import Answer
from worker.settings import ListenerSettings


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


def serving_status(generation: Generation) -> Answer:
    """What the generation serves, and from where."""
    settings, bound = generation.settings, generation.bound
    return {
        "generation": generation.number,
        "listeners": [listener.url for listener in bound.worker.listeners],
        "http3": [_udp_address(listener) for listener in http3_listeners(bound)],
        "waf": waf_words(settings.worker),
        "admin": bound.admin.url if bound.admin is not None else None,
        "config_path": str(settings.config_path) if settings.config_path is not None else None,
        "state_dir": str(settings.state_dir),
        "cache_bytes": settings.cache_bytes,
    }


def worker_statuses(generation: Generation, crew: Crew, now_ns: int) -> list[Answer]:
    """Every worker that lives, of other generations too, and the posts that nobody fills."""
    posts = {id(post.child): post for post in generation.posts if post.child is not None}
    living = [_worker_status(child, posts.get(id(child)), crew, now_ns) for child in crew.workers()]
    vacant: list[dict[str, Any]] = [
        {"lane": post.lane, "member": -1, "pid": 0, "state": "down", "generation": generation.number,
         "restarts": post.restarts, "uptime_s": 0.0, "heartbeat_age_s": 0.0}
        for post in generation.posts if post.child is None
    ]  # fmt: skip
    return sorted(living + vacant, key=lambda worker: (worker["generation"], worker["lane"]))


def control_status(control: Post) -> Answer:
    child = control.child
    return {
        "control_pid": child.pid if child is not None else None,
        "control_state": str(child.state) if child is not None else "down",
        "control_restarts": control.restarts,
    }


def cache_status(named: NamedSegment) -> Answer:
    """What the cache began with."""
    return {
        "cache_start": "warm" if named.start.is_warm else "empty",
        "cache_start_reason": named.start.reason,
        "cache_objects_kept": named.start.objects,
        "cache_objects_damaged": named.start.damaged,
    }


def _worker_status(child: Child, post: Post | None, crew: Crew, now_ns: int) -> Answer:
    heartbeat_ns = crew.segment.member_info(child.member).heartbeat_ns or child.started_ns
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


def _udp_address(listener: ListenerSettings) -> str:
    return listener.url.partition("://")[2]
