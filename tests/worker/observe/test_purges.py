"""Purges in the log and in the numbers."""

import logging

import pytest

from tests.support.cache_room import make_segment
from worker.observe.exposition import prometheus
from worker.observe.purges import Purges
from worker.reasons import PurgeKind


def test_a_purge_is_told_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    segment = make_segment()
    segment.join(0, 1)
    note = Purges(segment.statistics)
    with caplog.at_level(logging.INFO, "edgecluster.purge"):
        note(PurgeKind.URL, ["http://a/b"], soft=False, by="192.0.2.1")
        note(PurgeKind.TAG, list("abcdefgh"), soft=True, by="the admin API")
        note(PurgeKind.ALL, [], soft=False, by="the admin API")
    text = prometheus(segment.statistics.totals(), {}, {})
    segment.close()
    assert caplog.messages == [
        "purged by url, asked by 192.0.2.1: http://a/b",
        "purged softly by tag, asked by the admin API: a b c d e and 3 more",
        "purged by all, asked by the admin API: everything",
    ]
    for kind, count in {"url": 1, "prefix": 0, "host": 0, "tag": 8, "all": 1}.items():
        assert f'edgecluster_purges_total{{kind="{kind}"}} {count}\n' in text
