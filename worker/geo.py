"""Where a client is, by its address: files in the MaxMind DB format, opened once and shared by all workers.

Knows files and addresses; what follows from a country is for those who ask. A file is copied into memory of
our own before it is mapped: nobody can cut it short under the workers' feet.
"""

import os

import maxminddb

from worker.context import Client

_PIECE_BYTES = 1 << 20


class GeoError(Exception):
    """A file that cannot be used; the message says which and why."""


class Database:
    """One MaxMind DB file. Made before the fork, so that every worker reads the same pages."""

    def __init__(self, path: str) -> None:
        """Raises GeoError."""
        copy = os.memfd_create("geo")
        try:
            with open(path, "rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    os.write(copy, piece)
            self._reader = maxminddb.open_database(f"/proc/self/fd/{copy}")
        except OSError as error:
            raise GeoError(f"cannot read {path}: {error.strerror}") from None
        except maxminddb.InvalidDatabaseError:
            raise GeoError(f"{path} is no MaxMind DB file (.mmdb), or a damaged one") from None
        finally:
            os.close(copy)

    @property
    def title(self) -> str:
        """What it says it is: "GeoLite2-Country"."""
        return self._reader.metadata().database_type

    @property
    def built_s(self) -> int:
        """When it was made, seconds since 1970."""
        return self._reader.metadata().build_epoch

    def record(self, address: str) -> dict[str, object]:
        """What it holds of an address; empty when that is nothing, or cannot be read."""
        try:
            record = self._reader.get(address)
        except (ValueError, maxminddb.InvalidDatabaseError):  # IPv6 in a file of IPv4; a damaged record
            return {}
        return record if isinstance(record, dict) else {}


class Geo:
    """What the configured files tell of clients; each is looked up once per client."""

    def __init__(self, countries: Database | None = None, systems: Database | None = None) -> None:
        self._countries = countries
        self._systems = systems

    def country(self, client: Client) -> bytes:
        """The ISO 3166-1 code of the country of the client's address, b"DE"; b"" if nobody knows."""
        known = client.country
        if known is None:
            record = {} if self._countries is None else self._countries.record(client.address)
            known = client.country = country_of(record)
        return known

    def asn(self, client: Client) -> int:
        """The number of the autonomous system that the client's address belongs to; 0 if nobody knows."""
        known = client.asn
        if known < 0:
            record = {} if self._systems is None else self._systems.record(client.address)
            known = client.asn = asn_of(record)
        return known


def country_of(record: dict[str, object]) -> bytes:
    """The code in a record: `country.iso_code` as MaxMind has it, `country_code` or `country` elsewhere."""
    country = record.get("country")
    code = country.get("iso_code") if isinstance(country, dict) else record.get("country_code", country)
    return code.encode("ascii", "ignore").upper() if isinstance(code, str) else b""


def asn_of(record: dict[str, object]) -> int:
    """The number in a record: `autonomous_system_number` as MaxMind has it, `asn` elsewhere ("AS64500")."""
    number = record.get("autonomous_system_number", record.get("asn"))
    if isinstance(number, str):
        digits = number.upper().removeprefix("AS")
        return int(digits) if digits.isdecimal() else 0
    return number if isinstance(number, int) and number > 0 else 0
