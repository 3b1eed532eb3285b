"""The access lists, read by the supervisor for every generation into memory that its workers share."""

from cluster.errors import BootError
from worker.networks import NetworkMap
from worker.security.lists import ListError, read_networks
from worker.settings import AccessSettings, WorkerSettings


def access_lists(settings: WorkerSettings) -> list[AccessSettings]:
    """Every list that the edge or some route has, each once."""
    routes = (route for site in settings.sites for route in site.routes)
    every = (settings.access, *(route.access for route in routes))
    return list(dict.fromkeys(access for access in every if access is not None))


def open_lists(settings: WorkerSettings) -> dict[AccessSettings, NetworkMap]:
    """What each list holds, its files read. Raises BootError."""
    try:
        return {access: read_networks(access) for access in access_lists(settings)}
    except ListError as error:
        raise BootError(f"cannot use an access list: {error}") from None
