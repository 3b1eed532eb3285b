"""What routes look for in answers, compiled before the fork: half a second that no worker has to spend."""

from worker.security.leaks.finder import finder
from worker.settings import WorkerSettings


def compile_leaks(settings: WorkerSettings) -> None:
    """Compile it, so that this process and those it forks have it ready."""
    for route in (route for site in settings.sites for route in site.routes):
        if route.leaks is not None:
            finder(frozenset(route.leaks.kinds))
