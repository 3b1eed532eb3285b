"""Small files in the MaxMind DB format."""

import os
from collections.abc import Mapping
from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet


def write_mmdb(path: Path, records: Mapping[str, object], *, title: str = "Test-Country") -> Path:
    """A file of networks and their records, in place of an older one as its makers do it: by a rename."""
    writer = MMDBWriter(6, title, ipv4_compatible=True)
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(os.fspath(path) + ".new")
    os.rename(os.fspath(path) + ".new", path)
    return path


def country(code: str) -> dict[str, object]:
    return {"country": {"iso_code": code, "names": {"en": "somewhere"}}, "continent": {"code": "EU"}}
