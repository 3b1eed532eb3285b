"""Rate limits over a whole edge: failed logins, keys of requests, and requests that wait for their turn."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.scripted_origin import Recorded, ScriptedOrigin, answer

CONFIG = """
sites:
  - origin: {url}
    routes:
      - prefix: /login
        rate_limits:
          - {{name: logins, limit: 3/1h, key: [address, path], methods: POST, statuses: [401]}}
      - prefix: /api
        rate_limits: [{{name: keys, limit: 2/1h, key: "header:X-Api-Key"}}]
      - prefix: /slow
        cache: {{enabled: false}}
        rate_limits: [{{name: turns, rate: 10/s, burst: 1, action: delay, longest_delay: 2s}}]
      - prefix: /
"""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfiguredEdge]:
    def respond(request: Recorded) -> bytes:
        is_wrong = b"wrong" in request.head
        return answer(b"no", status="401 Unauthorized") if is_wrong else answer(b"yes")

    with (
        ScriptedOrigin(respond) as origin,
        configured_edge(tmp_path_factory.mktemp("edge"), CONFIG.format(url=origin.url)) as running,
    ):
        yield running


def test_failed_logins_are_counted_by_their_answers_in_all_workers(edge: ConfiguredEdge) -> None:
    def log_in(path: str, password: str) -> int:
        return edge.ask(path, f"Authorization: {password}", "Content-Length: 0", method="POST").status

    assert [log_in("/login/a", "right") for _ in range(6)] == [200] * 6
    assert [log_in("/login/a", "wrong") for _ in range(5)] == [401, 401, 401, 429, 429]
    assert log_in("/login/a", "right") == 429
    assert log_in("/login/b", "right") == 200


def test_a_key_from_a_field_counts_each_value_apart(edge: ConfiguredEdge) -> None:
    statuses = [edge.ask("/api", f"X-Api-Key: {key}").status for key in "aaabbb"]
    assert statuses == [200, 200, 429, 200, 200, 429]


def test_requests_wait_for_their_turn(edge: ConfiguredEdge) -> None:
    async def all_at_once() -> list[int]:
        asked = [asyncio.to_thread(edge.ask, "/slow") for _ in range(6)]
        return [reply.status for reply in await asyncio.gather(*asked)]

    begun = time.monotonic()
    assert asyncio.run(all_at_once()) == [200] * 6
    assert time.monotonic() - begun >= 0.45  # five turns of a tenth of a second: a lower bound is exact
