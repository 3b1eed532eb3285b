"""The files that tell where clients are: opened by the supervisor, anew for every generation."""

from cluster.errors import BootError
from worker.geo import Database, Geo, GeoError
from worker.settings import GeoSettings


def open_geo(settings: GeoSettings) -> Geo | None:
    """What the workers of a generation share; None without files. Raises BootError."""
    if not settings.country and not settings.asn:
        return None
    return Geo(_open("country", settings.country), _open("asn", settings.asn))


def _open(key: str, path: str) -> Database | None:
    if not path:
        return None
    try:
        return Database(path)
    except GeoError as error:
        raise BootError(f"geo.{key}: {error}") from None
