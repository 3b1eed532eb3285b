"""Where clients are: files of several makers, what they do not know, and what is no such file."""

from pathlib import Path

import pytest

from tests.support.mmdb import country, write_mmdb
from worker.context import Client
from worker.geo import Database, Geo, GeoError, country_of


def client(address: str) -> Client:
    return Client(address, 1, b"", "http://127.0.0.1:80")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    records = {"192.0.2.0/24": country("DE"), "2001:db8::/32": country("FR"), "198.51.100.0/24": {"x": 1}}
    return Database(str(write_mmdb(tmp_path / "country.mmdb", records)))


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("192.0.2.7", b"DE"), ("2001:db8::1", b"FR"), ("198.51.100.1", b""), ("203.0.113.1", b""),
        ("::1", b""), ("not an address", b""),
    ],
)  # fmt: skip
def test_the_country_of_an_address(database: Database, address: str, code: bytes) -> None:
    assert Geo(database).country(client(address)) == code


def test_an_address_is_looked_up_once_per_connection(database: Database) -> None:
    geo, one = Geo(database), client("192.0.2.7")
    assert one.country is None
    geo.country(one)
    assert one.country == b"DE"
    one.country = b"XX"
    assert geo.country(one) == b"XX"


RECORDS = [
    ({"country": {"iso_code": "DE"}}, b"DE"),
    ({"country_code": "de"}, b"DE"),
    ({"country": "DE"}, b"DE"),
    ({"country": {"names": {}}}, b""),
    ({"country": 7}, b""),
    ({}, b""),
]


@pytest.mark.parametrize(("record", "code"), RECORDS)
def test_records_of_several_makers(record: dict[str, object], code: bytes) -> None:
    assert country_of(record) == code


def test_a_file_says_what_it_is(database: Database) -> None:
    assert database.title == "Test-Country"
    assert database.built_s > 1_700_000_000


def test_a_file_that_is_cut_short_or_gone_does_no_harm(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "country.mmdb", {"192.0.2.0/24": country("DE")})
    geo = Geo(Database(str(path)))
    path.write_bytes(b"")
    assert geo.country(client("192.0.2.7")) == b"DE"
    path.unlink()
    assert geo.country(client("192.0.2.8")) == b"DE"


def test_what_is_no_such_file_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "text.mmdb"
    path.write_text("countries")
    with pytest.raises(GeoError, match=r"text\.mmdb is no MaxMind DB file"):
        Database(str(path))
    with pytest.raises(GeoError, match=r"cannot read .*gone\.mmdb: No such file"):
        Database(str(tmp_path / "gone.mmdb"))
