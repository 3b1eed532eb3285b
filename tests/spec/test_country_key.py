"""Countries in cache keys, through a whole edge: told apart, read again at a reload, purged together."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.cli import main
from tests.spec.test_shared_hits import port_of
from tests.support.client import Answer, ask, ask_many
from tests.support.cluster import Cluster, settings, wait_until, with_worker
from tests.support.mmdb import country, write_mmdb
from tests.support.scripted_origin import ScriptedOrigin, answer
from worker.settings import CacheSettings, GeoSettings, KeySettings

BY_COUNTRY = CacheSettings(key=KeySettings(country=True))


def test_clients_of_one_country_share_what_is_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_mmdb(tmp_path / "c.mmdb", {"127.0.0.0/8": country("DE")})
    with ScriptedOrigin(lambda request: answer(b"page", headers="Cache-Control: max-age=600")) as origin:
        made = settings(tmp_path / "s", origin=origin.url, cache=BY_COUNTRY)
        made = with_worker(made, geo=GeoSettings(country=str(path)))
        with Cluster(made) as edge:
            port = port_of(edge)

            def outcomes() -> set[str]:
                answers: list[Answer] = asyncio.run(ask_many(port, "/p", 8))
                return {one.fields["x-cache"] for one in answers}

            asyncio.run(ask(port, "/p"))
            assert outcomes() == {"HIT"}

            write_mmdb(path, {"127.0.0.0/8": country("FR")})
            assert outcomes() == {"HIT"}, "a changed file is looked at every few seconds, or at a reload"
            assert edge.reload()["ok"]
            # Those of the old generation still take what has come to them.
            wait_until(lambda: len({worker["generation"] for worker in edge.workers}) == 1)
            assert asyncio.run(ask(port, "/p")).fields["x-cache"] == "MISS"
            assert outcomes() == {"HIT"}
            assert len(origin.requests) == 2

            purge = ["purge", "http://edge.test/p", "--state-dir", str(made.state_dir)]
            wait_until(lambda: main(purge) == 0)  # the control process changes with the generation
            assert asyncio.run(ask(port, "/p")).fields["x-cache"] == "MISS"

            path.write_bytes(b"no database")
            refused = edge.reload()
            assert not refused["ok"]
            assert "is no MaxMind DB file" in refused["error"]
            assert outcomes() == {"HIT"}
            without = replace(made, worker=replace(made.worker, geo=GeoSettings()))
            assert edge.reload(without)["ok"]
    capsys.readouterr()
