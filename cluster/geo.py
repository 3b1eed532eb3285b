"""The files that tell where clients are: opened by the supervisor, anew for every generation."""

from cluster.errors import BootError
from worker.geo import Database, Geo, GeoError
from worker.settings import GeoSettings


def open_geo(settings: GeoSettings) -> Geo | None:
    """What the workers of a generation share; None without files. Raises BootError."""
    if not settings.country:
        return None
    try:
        return Geo(Database(settings.country))
    except GeoError as error:
        raise BootError(f"geo.country: {error}") from None
