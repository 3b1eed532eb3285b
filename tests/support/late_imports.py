"""The real worker, which says at its end what it imported after the fork. A main for `Cluster`."""

import sys

from worker.run import main as worker_main
from worker.start import WorkerStart

SAID = "imported after the fork: "


def main(start: WorkerStart) -> int:
    before = set(sys.modules)
    try:
        return worker_main(start)
    finally:
        sys.stderr.write(SAID + " ".join(sorted(set(sys.modules) - before)) + "\n")
